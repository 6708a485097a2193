//! The bench's own server: one thread, one epoll, the same 100 bytes for every request.
//!
//! It keeps an account of its own, so that what a client did is known from the other side:
//! `/count` answers how many other requests there were, `/log` when each came and was answered (nanoseconds
//! of CLOCK_MONOTONIC, a line each), and forgets them.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

use chaos::clock::Clock;
use chaos::load::poll::Poll;
use chaos::load::stamp::{Stamps, stamp};

const LISTENER: u64 = 0;

/// How a server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers at once, and waits for what comes next.
    Plain,
    /// Answers at once, never sleeps and notes when each request came: its own wake-up is in no figure.
    Log,
    /// Answers 1 ms after the request came, but not in the last second of every ten; notes both instants.
    Freeze,
}

/// What a frozen server still owes: the connection, when its request came, and when it may be answered.
struct Owed {
    token: u64,
    came_ns: u64,
    due_ns: u64,
}

struct Server {
    manner: Manner,
    clock: Clock,
    began_ns: u64,
    answer: Vec<u8>,
    connections: HashMap<u64, TcpStream>,
    owed: VecDeque<Owed>,
    count: u64,
    log: Vec<(u64, u64)>,
    stamps: Stamps,
}

/// Serves on a free port of 127.0.0.1, whose address it prints, until it is killed.
pub fn serve(manner: Manner) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    let mut poll = Poll::new()?;
    poll.add(listener.as_fd(), LISTENER)?;
    let clock = Clock::start();
    let body = "x".repeat(100);
    let mut server = Server {
        manner,
        clock,
        began_ns: clock.now_ns(),
        answer: format!(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes(),
        connections: HashMap::new(),
        owed: VecDeque::new(),
        count: 0,
        log: Vec::new(),
        stamps: Stamps::default(),
    };
    let (mut ready, mut buffer, mut next) = (Vec::new(), vec![0; 64 << 10], LISTENER + 1);
    loop {
        poll.wait(if manner == Manner::Freeze { 0 } else { u64::MAX }, &mut ready)?;
        for event in &ready {
            if event.token == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    if manner == Manner::Log {
                        // When requests came, not when this was awake to read them.
                        stamp(stream.as_fd());
                    }
                    poll.add(stream.as_fd(), next)?;
                    server.connections.insert(next, stream);
                    next += 1;
                }
            } else if !server.attend(event.token, &mut buffer) || event.ending() {
                server.connections.remove(&event.token);
            }
        }
        if manner == Manner::Freeze {
            server.pay();
        }
    }
}

impl Server {
    /// Reads what came on a connection; false once it is of no more use. The clients' requests come whole,
    /// one at a time on each connection.
    fn attend(&mut self, token: u64, buffer: &mut [u8]) -> bool {
        let Some(stream) = self.connections.get_mut(&token) else { return true };
        let read = if self.manner == Manner::Log {
            self.stamps.ask(self.clock.now_ns());
            self.stamps.read(stream.as_fd(), buffer)
        } else {
            stream.read(buffer)
        };
        match read {
            Ok(0) => false,
            Ok(read) if buffer[..read].starts_with(b"GET /count ") => say(stream, &self.count.to_string()),
            Ok(read) if buffer[..read].starts_with(b"GET /log ") => {
                let mut text = String::with_capacity(self.log.len() * 32);
                for (came_ns, answered_ns) in self.log.drain(..) {
                    writeln!(text, "{came_ns} {answered_ns}").expect("a String takes every write");
                }
                // The reader is behind by less than a socket's buffer; waiting for it harms nobody.
                stream.set_nonblocking(false).is_ok() && say(stream, &text)
            }
            Ok(_) if self.manner == Manner::Freeze => {
                let came_ns = self.clock.now_ns();
                self.owed.push_back(Owed { token, came_ns, due_ns: came_ns + 1_000_000 });
                true
            }
            Ok(_) => {
                self.count += 1;
                if self.manner == Manner::Log {
                    let came_ns = self.stamps.came_ns(0, self.clock.now_ns());
                    self.log.push((self.clock.to_mono(came_ns), self.clock.to_mono(came_ns)));
                }
                stream.write_all(&self.answer).is_ok()
            }
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        }
    }

    /// Answers what is due, unless it is frozen.
    fn pay(&mut self) {
        let now_ns = self.clock.now_ns();
        if (now_ns - self.began_ns) % 10_000_000_000 >= 9_000_000_000 {
            return;
        }
        while let Some(owed) = self.owed.pop_front_if(|owed| owed.due_ns <= now_ns) {
            self.count += 1;
            let answered_ns = self.clock.now_ns();
            self.log.push((self.clock.to_mono(owed.came_ns), self.clock.to_mono(answered_ns)));
            if let Some(stream) = self.connections.get_mut(&owed.token) {
                // A client that is gone wants nothing.
                let _ = stream.write_all(&self.answer);
            }
        }
    }
}

fn say(stream: &mut TcpStream, text: &str) -> bool {
    write!(stream, "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}", text.len())
        .is_ok()
}
