//! The proxy's sockets: queries come in by UDP and TCP, IPv4 and IPv6, all at one port of loopback.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};

use super::message::Query;
use super::resolve::{Resolver, Transport, read_message, write_message};
use crate::agent::conntrack::{self, Way};
use crate::agent::diversion::meant_for;
use crate::agent::netlink::Socket;
use crate::agent::service::{Stopping, at_a_free_port};

/// Queries under way at once. One costs a socket and a few kilobytes; a target with more than these is in a
/// storm of its own making.
const MAX_UNDER_WAY: u32 = 4_096;
/// Connections of clients at once.
const MAX_CONNECTIONS: usize = 512;
/// Answers of one connection that wait to be written.
const MAX_UNWRITTEN: usize = 64;
/// How long queries under way may take to be answered once the fault has ended.
const DRAIN: Duration = Duration::from_millis(300);
const MAX_DATAGRAM_BYTES: usize = 65_535;

/// Sockets at one port of loopback.
#[derive(Debug)]
pub struct Listeners {
    udp: Vec<std::net::UdpSocket>,
    tcp: Vec<std::net::TcpListener>,
    /// The port.
    pub port: u16,
}

impl Listeners {
    /// Listens at a free port; without IPv6 where the namespace has none.
    ///
    /// # Errors
    /// Loopback has no address, or no port is free.
    pub fn bind() -> io::Result<Self> {
        at_a_free_port(Self::try_to_bind)
    }

    fn try_to_bind() -> io::Result<Self> {
        let first = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = first.local_addr()?.port();
        let mut listeners = Self { udp: vec![first], tcp: Vec::new(), port };
        listeners.tcp.push(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port))?);
        match std::net::UdpSocket::bind((Ipv6Addr::LOCALHOST, port)) {
            Ok(udp) => {
                listeners.udp.push(udp);
                listeners.tcp.push(std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port))?);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // No IPv6 in this namespace.
            Err(_) => {}
        }
        for udp in &listeners.udp {
            udp.set_nonblocking(true)?;
        }
        for tcp in &listeners.tcp {
            tcp.set_nonblocking(true)?;
        }
        Ok(listeners)
    }

    /// Serves until told to stop; then lets what is under way end, for a moment.
    pub async fn serve(self, resolver: Arc<Resolver>, mut stopping: Stopping) {
        let under_way = Arc::new(Semaphore::new(MAX_UNDER_WAY as usize));
        for socket in self.udp {
            // Fails only outside a runtime.
            let Ok(socket) = UdpSocket::from_std(socket) else { continue };
            let desk = Desk::new(&resolver, &under_way, &stopping);
            tokio::spawn(serve_udp(socket, desk));
        }
        for listener in self.tcp {
            let Ok(listener) = TcpListener::from_std(listener) else { continue };
            let desk = Desk::new(&resolver, &under_way, &stopping);
            tokio::spawn(serve_tcp(listener, desk));
        }
        let _ = stopping.wait_for(|stopping| *stopping).await;
        let _ = tokio::time::timeout(DRAIN, under_way.acquire_many(MAX_UNDER_WAY)).await;
    }
}

/// What every listener hands its queries to.
#[derive(Clone)]
struct Desk {
    resolver: Arc<Resolver>,
    under_way: Arc<Semaphore>,
    stopping: Stopping,
}

impl Desk {
    fn new(resolver: &Arc<Resolver>, under_way: &Arc<Semaphore>, stopping: &Stopping) -> Self {
        Self { resolver: Arc::clone(resolver), under_way: Arc::clone(under_way), stopping: stopping.clone() }
    }

    /// Deals with a message in a task of its own; `done` gets the answer, if there is one. Beyond the bound it
    /// goes unanswered, and is counted.
    fn take<F>(
        &self,
        message: Vec<u8>,
        to: SocketAddr,
        transport: Transport,
        done: impl FnOnce(Vec<u8>) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send,
    {
        let Ok(permit) = Arc::clone(&self.under_way).try_acquire_owned() else {
            return self.resolver.count("overflowed_queries");
        };
        let (resolver, stopping) = (Arc::clone(&self.resolver), self.stopping.clone());
        tokio::spawn(async move {
            if let Some(answer) = resolver.answer(&message, to, transport, stopping).await {
                done(answer).await;
            }
            drop(permit);
        });
    }
}

async fn serve_udp(socket: UdpSocket, desk: Desk) {
    let socket = Arc::new(socket);
    let (Ok(here), Ok(flows)) = (socket.local_addr(), Socket::open(libc::NETLINK_NETFILTER)) else { return };
    let mut buffer = vec![0; MAX_DATAGRAM_BYTES];
    let mut stopping = desk.stopping.clone();
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        // An answer that somebody refused is reported here; the next query is none the worse for it.
        let Ok((len, client)) = received else { continue };
        let flow = conntrack::flow(&flows, Way { from: here, to: client });
        // Sent here directly, without having been led here: nobody's query.
        let Some(flow) = flow.ok().flatten().filter(|flow| flow.forth.to != here) else {
            desk.resolver.count("stray_queries");
            continue;
        };
        let socket = Arc::clone(&socket);
        desk.take(buffer[..len].to_vec(), flow.forth.to, Transport::Udp, move |answer| async move {
            // Who asked may be gone.
            let _ = socket.send_to(&answer, client).await;
        });
    }
}

async fn serve_tcp(listener: TcpListener, desk: Desk) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut stopping = desk.stopping.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        let Ok((stream, _)) = accepted else { continue };
        let meant = meant_for(&stream).filter(|meant| stream.local_addr().ok() != Some(*meant));
        let (Some(to), Ok(permit)) = (meant, Arc::clone(&connections).try_acquire_owned()) else {
            desk.resolver.count("stray_queries");
            continue;
        };
        let desk = desk.clone();
        tokio::spawn(async move {
            let mut stopping = desk.stopping.clone();
            // What it still waits for is among the queries under way.
            tokio::select! {
                () = connection(stream, to, &desk) => {}
                () = async {
                    let _ = stopping.wait_for(|stopping| *stopping).await;
                    tokio::time::sleep(DRAIN).await;
                } => {}
            }
            drop(permit);
        });
    }
}

/// Answers what comes over one connection, each query when its answer is there.
async fn connection(stream: TcpStream, to: SocketAddr, desk: &Desk) {
    let (mut incoming, mut outgoing) = stream.into_split();
    let (answers, mut ready) = mpsc::channel::<Vec<u8>>(MAX_UNWRITTEN);
    let reading = async move {
        while let Ok(message) = read_message(&mut incoming).await {
            if Query::read(&message).is_some_and(|query| query.is_transfer()) {
                return Some((message, incoming));
            }
            let answers = answers.clone();
            desk.take(message, to, Transport::Tcp, move |answer| async move {
                // The connection may have ended.
                let _ = answers.send(answer).await;
            });
        }
        None
    };
    let writing = async {
        while let Some(answer) = ready.recv().await {
            if write_message(&mut outgoing, &answer).await.is_err() {
                return;
            }
        }
    };
    let (transfer, ()) = tokio::join!(reading, writing);
    // A zone comes in as many messages as it takes: from here on the two speak to each other.
    let Some((message, mut incoming)) = transfer else { return };
    let Ok(mut resolver) = desk.resolver.connect(to).await else { return };
    if write_message(&mut resolver, &message).await.is_ok() {
        let mut client = tokio::io::join(&mut incoming, &mut outgoing);
        // Either may end it as it likes.
        let _ = tokio::io::copy_bidirectional(&mut client, &mut resolver).await;
    }
}
