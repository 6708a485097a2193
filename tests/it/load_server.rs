//! A small HTTP server with bad manners, as many as the tests need.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// How a server treats every request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// 200 after this long.
    Answer { delay_ms: u64 },
    /// 200 after 1 ms, except that nothing is answered in the last second of every ten.
    FreezeOneSecondInTen,
    /// This status, no body.
    Status(u16),
    /// A chunked body with a trailer.
    Chunked,
    /// 103 before the answer.
    Interim,
    /// Says `connection: close` and does.
    CloseEach,
    /// Closes after each answer without saying so.
    CloseSilently,
    /// A body without a length, ended by closing.
    UntilClose,
    /// More than the length says.
    Surplus,
    /// A body of this size.
    Big { bytes: usize },
    /// A length, but as it is the answer to HEAD, no body.
    HeadWithLength,
    /// Nobody listens.
    Refuse,
    /// Reads the request and resets.
    Reset,
    /// Reads the request and closes.
    CloseUnanswered,
    /// Closes inside the body.
    Truncate,
    /// No HTTP at all.
    Garbage,
    /// Two lengths that differ.
    TwoLengths,
    /// A chunk size that is no number.
    BadChunk,
    /// Headers without end.
    EndlessHeaders,
    /// Reads the request and says nothing.
    Stall,
    /// One byte at a time, too slowly to ever finish.
    Drip,
    /// Less than the length says, and then silence.
    LongLength,
    /// Never takes a connection, and its queue is full.
    NoAccept,
    /// Answers until told to hang, then says nothing.
    HangOnDemand,
}

/// A running server; dropping it ends it.
pub struct Server {
    pub address: SocketAddr,
    pub hangs: Arc<AtomicBool>,
    /// Requests as text, the first hundred.
    pub seen: Arc<std::sync::Mutex<Vec<String>>>,
    /// Requests for `/NUMBER`: the number, and when its answer was written (CLOCK_MONOTONIC nanoseconds).
    pub answered: Arc<std::sync::Mutex<Vec<(u64, u64)>>>,
    _runtime: Option<Runtime>,
    _held: Vec<std::net::TcpStream>,
    _listener: Option<std::net::TcpListener>,
}

/// Ends its tasks without waiting for them, also inside another runtime.
struct Runtime(Option<tokio::runtime::Runtime>);

impl Drop for Runtime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[derive(Clone)]
struct Shared {
    manner: Manner,
    hangs: Arc<AtomicBool>,
    seen: Arc<std::sync::Mutex<Vec<String>>>,
    answered: Arc<std::sync::Mutex<Vec<(u64, u64)>>>,
    started: Instant,
}

impl Server {
    pub fn start(manner: Manner) -> Self {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        listener.listen(if manner == Manner::NoAccept { 0 } else { 1_024 }).unwrap();
        let listener: std::net::TcpListener = listener.into();
        let address = listener.local_addr().unwrap();
        let shared = Shared {
            manner,
            hangs: Arc::default(),
            seen: Arc::default(),
            answered: Arc::default(),
            started: Instant::now(),
        };
        let mut server = Self {
            address,
            hangs: shared.hangs.clone(),
            seen: shared.seen.clone(),
            answered: shared.answered.clone(),
            _runtime: None,
            _held: Vec::new(),
            _listener: None,
        };
        match manner {
            Manner::Refuse => {}
            Manner::NoAccept => {
                // A queue of length 0 holds one connection; after it, SYNs are dropped.
                server._held.push(std::net::TcpStream::connect(address).unwrap());
                server._listener = Some(listener);
            }
            _ => {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(1)
                    .enable_all()
                    .build()
                    .unwrap();
                listener.set_nonblocking(true).unwrap();
                runtime.spawn(async move {
                    let listener = TcpListener::from_std(listener).unwrap();
                    while let Ok((stream, _)) = listener.accept().await {
                        stream.set_nodelay(true).unwrap();
                        tokio::spawn(serve(stream, shared.clone()));
                    }
                });
                server._runtime = Some(Runtime(Some(runtime)));
            }
        }
        server
    }
}

/// Answers requests on one connection until it ends. Its errors are the client's to see.
async fn serve(mut stream: TcpStream, shared: Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let Some(request) = request(&mut stream, &mut buffer).await? else {
            return Ok(());
        };
        let path = request.split(' ').nth(1).unwrap_or_default();
        let number: Option<u64> = path.strip_prefix('/').and_then(|number| number.parse().ok());
        {
            let mut seen = shared.seen.lock().unwrap();
            if seen.len() < 100 {
                seen.push(request);
            }
        }
        let again = answer(&mut stream, &shared).await?;
        if let Some(number) = number {
            shared.answered.lock().unwrap().push((number, chaos::clock::mono_ns()));
        }
        if !again {
            return Ok(());
        }
    }
}

/// The next request with its body, or nothing at the end.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        let end = buffer[..buffer.len().min(8_192)].windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let length = String::from_utf8_lossy(&buffer[..end])
                .lines()
                .find_map(|line| line.strip_prefix("content-length:").map(|value| value.trim().to_owned()))
                .map_or(0, |value| value.parse::<usize>().unwrap());
            let whole = end + 4 + length;
            if buffer.len() >= whole {
                let request = String::from_utf8_lossy(&buffer[..whole]).into_owned();
                buffer.drain(..whole);
                return Ok(Some(request));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Answers one request; false ends the connection.
async fn answer(stream: &mut TcpStream, shared: &Shared) -> std::io::Result<bool> {
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    const FOREVER: Duration = Duration::from_secs(3_600);
    let (bytes, again): (&[u8], bool) = match shared.manner {
        Manner::Answer { delay_ms } => {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            (OK, true)
        }
        Manner::FreezeOneSecondInTen => {
            let at_ms = shared.started.elapsed().as_millis() as u64 % 10_000;
            let frozen_ms = if at_ms >= 9_000 { 10_000 - at_ms } else { 0 };
            tokio::time::sleep(Duration::from_millis(frozen_ms + 1)).await;
            (OK, true)
        }
        Manner::HangOnDemand => {
            if shared.hangs.load(Ordering::Relaxed) {
                tokio::time::sleep(FOREVER).await;
            }
            (OK, true)
        }
        Manner::Status(status) => {
            let head = format!("HTTP/1.1 {status} Whatever\r\n{}\r\n", if status == 204 { "" } else { "content-length: 0\r\n" });
            stream.write_all(head.as_bytes()).await?;
            return Ok(true);
        }
        Manner::Chunked => (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n6\r\n world\r\n0\r\nx: y\r\n\r\n",
            true,
        ),
        Manner::Interim => (
            b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            true,
        ),
        Manner::CloseEach => {
            (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", false)
        }
        Manner::CloseSilently => (OK, false),
        Manner::UntilClose => (b"HTTP/1.1 200 OK\r\n\r\nhello", false),
        Manner::Surplus => (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello world", true),
        Manner::Big { bytes } => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
            let piece = vec![b'x'; bytes.min(1 << 20)];
            let mut left = bytes;
            while left > 0 {
                stream.write_all(&piece[..left.min(piece.len())]).await?;
                left -= left.min(piece.len());
            }
            return Ok(true);
        }
        Manner::HeadWithLength => (b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n", true),
        Manner::Reset => {
            socket2::SockRef::from(&*stream).set_linger(Some(Duration::ZERO))?;
            return Ok(false);
        }
        Manner::CloseUnanswered => return Ok(false),
        Manner::Truncate => (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", false),
        Manner::Garbage => (b"\x16\x03\x01 what is this", true),
        Manner::TwoLengths => {
            (b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!", true)
        }
        Manner::BadChunk => {
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfive\r\nhello\r\n0\r\n\r\n", true)
        }
        Manner::EndlessHeaders => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            loop {
                stream.write_all(&b"x-more: and more\r\n".repeat(500)).await?;
            }
        }
        Manner::Stall => {
            tokio::time::sleep(FOREVER).await;
            return Ok(false);
        }
        Manner::Drip => {
            for byte in OK {
                stream.write_all(std::slice::from_ref(byte)).await?;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            return Ok(true);
        }
        Manner::LongLength => (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", true),
        Manner::Refuse | Manner::NoAccept => unreachable!("nothing is served"),
    };
    stream.write_all(bytes).await?;
    Ok(again)
}
