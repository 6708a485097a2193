//! The bench's own server: one thread, one epoll, the same 100 bytes for every request.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use chaos::load::poll::Poll;

const LISTENER: u64 = 0;

/// Serves on a free port of 127.0.0.1, whose address it prints, until it is killed. `/count` answers how
/// many other requests there were.
pub fn serve() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut poll = Poll::new()?;
    poll.add(listener.as_fd(), LISTENER)?;
    let body = "x".repeat(100);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let (mut ready, mut buffer) = (Vec::new(), vec![0; 64 << 10]);
    let mut connections: HashMap<u64, TcpStream> = HashMap::new();
    let (mut next, mut count) = (LISTENER + 1, 0u64);
    loop {
        poll.wait(u64::MAX, &mut ready)?;
        for event in &ready {
            if event.token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    poll.add(stream.as_fd(), next)?;
                    connections.insert(next, stream);
                    next += 1;
                }
                continue;
            }
            let Some(stream) = connections.get_mut(&event.token) else { continue };
            // The clients' requests come whole, one at a time on each connection.
            let gone = match stream.read(&mut buffer) {
                Ok(0) => true,
                Ok(read) if buffer[..read].starts_with(b"GET /count ") => {
                    let text = count.to_string();
                    write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len()).is_err()
                }
                Ok(_) => {
                    count += 1;
                    stream.write_all(&answer).is_err()
                }
                Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
            };
            if gone || event.ending() {
                connections.remove(&event.token);
            }
        }
    }
}
