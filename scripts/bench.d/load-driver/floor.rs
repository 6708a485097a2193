//! The floor: the same connections and bytes with nothing parsed, timed or counted, which no client beats; as fast
//! as it goes, and at a constant rate with a wake-up for each request.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use chaos::clock::Clock;
use chaos::load::poll::{self, Poll};

/// So many connections that are watched by their number, and the request that goes over them.
fn connect(address: SocketAddr, connections: usize) -> std::io::Result<(String, Poll, Vec<TcpStream>)> {
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nuser-agent: floor\r\naccept: */*\r\n\r\n");
    let poll = Poll::new()?;
    let mut streams = Vec::with_capacity(connections);
    for token in 0..connections {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poll.add(stream.as_fd(), token as u64)?;
        streams.push(stream);
    }
    Ok((request, poll, streams))
}

/// Sends a request every `1 / rate_per_s` on so many connections in turn, and returns how many: what a client pays
/// that sleeps until the next is due and reads answers then, and does nothing else.
pub fn paced(
    address: SocketAddr,
    connections: usize,
    rate_per_s: f64,
    length: Duration,
) -> std::io::Result<u64> {
    let (request, mut poll, mut streams) = connect(address, connections)?;
    poll::precise_timers();
    let clock = Clock::start();
    let (mut ready, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let total = (rate_per_s * length.as_secs_f64()) as u64;
    for number in 0..total {
        let due_ns = (number as f64 * 1e9 / rate_per_s) as u64;
        poll.nap(clock.to_mono(due_ns));
        streams[number as usize % connections].write_all(request.as_bytes())?;
        poll.wait(0, &mut ready)?;
        for event in &ready {
            // Nothing to read is as good as an answer here: nothing is counted by it.
            let _ = streams[event.token as usize].read(&mut buffer);
        }
    }
    Ok(total)
}

/// Sends requests on so many connections, each as soon as the last is answered, and returns how many.
pub fn floor(address: SocketAddr, connections: usize, length: Duration) -> std::io::Result<u64> {
    let (request, mut poll, mut streams) = connect(address, connections)?;
    for stream in &mut streams {
        stream.write_all(request.as_bytes())?;
    }
    let (mut ready, mut buffer, mut count) = (Vec::new(), vec![0; 64 << 10], 0);
    let until = Instant::now() + length;
    while Instant::now() < until {
        poll.wait(u64::MAX, &mut ready)?;
        for event in &ready {
            let stream = &mut streams[event.token as usize];
            // Answers come whole: the bench's server writes each at once.
            if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
                count += 1;
                stream.write_all(request.as_bytes())?;
            }
        }
    }
    Ok(count)
}
