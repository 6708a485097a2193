//! The floor: the same connections and bytes with nothing parsed, timed or counted, which no client beats.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use chaos::load::poll::Poll;

/// Sends requests on so many connections, each as soon as the last is answered, and returns how many.
pub fn floor(address: SocketAddr, connections: usize, length: Duration) -> std::io::Result<u64> {
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nuser-agent: floor\r\naccept: */*\r\n\r\n");
    let mut poll = Poll::new()?;
    let mut streams = Vec::with_capacity(connections);
    for token in 0..connections {
        let mut stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        poll.add(stream.as_fd(), token as u64)?;
        stream.write_all(request.as_bytes())?;
        streams.push(stream);
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
