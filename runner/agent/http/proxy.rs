//! The proxy's sockets: one port on every address of the namespace, since what comes in is redirected to the
//! address of the interface that it came by. A rule keeps everybody else away from that port; whoever gets here
//! before it stands is sent away.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::carry::carry;
use super::exchange::Exchanger;
use crate::agent::diversion::meant_for;
use crate::agent::service::{Stopping, at_a_free_port};

/// Connections at once. Each is two sockets and some kilobytes; more than these wait to be accepted.
const MAX_CONNECTIONS: u32 = 8_192;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1_024;
/// How long exchanges under way may take once the fault has ended.
const DRAIN: Duration = Duration::from_millis(300);
/// How long the target's server may take to accept a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);

/// Sockets at one port.
#[derive(Debug)]
pub struct Listeners {
    sockets: Vec<std::net::TcpListener>,
    /// The port.
    pub port: u16,
}

impl Listeners {
    /// Listens at a free port; without IPv6 where the namespace has none.
    ///
    /// # Errors
    /// No port is free.
    pub fn bind() -> io::Result<Self> {
        at_a_free_port(Self::try_to_bind)
    }

    fn try_to_bind() -> io::Result<Self> {
        let first = listen((Ipv4Addr::UNSPECIFIED, 0).into())?;
        let port = first.local_addr()?.port();
        let mut sockets = vec![first];
        match listen((Ipv6Addr::UNSPECIFIED, port).into()) {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            // No IPv6 in this namespace.
            Err(_) => {}
        }
        Ok(Self { sockets, port })
    }

    /// Serves until told to stop; then lets what is under way end, for a moment. Our own connections bear `mark`.
    pub async fn serve(self, exchanger: Arc<Exchanger>, mark: u32, mut stopping: Stopping) {
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS as usize));
        for socket in self.sockets {
            // Fails only outside a runtime.
            let Ok(listener) = TcpListener::from_std(socket) else { continue };
            let (exchanger, room) = (Arc::clone(&exchanger), Arc::clone(&room));
            tokio::spawn(accept(listener, exchanger, mark, room, stopping.clone()));
        }
        let _ = stopping.wait_for(|stopping| *stopping).await;
        let _ = tokio::time::timeout(DRAIN, room.acquire_many(MAX_CONNECTIONS)).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // IPv4 has a socket of its own, which is told more about where a connection was going.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

async fn accept(
    listener: TcpListener,
    exchanger: Arc<Exchanger>,
    mark: u32,
    room: Arc<Semaphore>,
    mut stopping: Stopping,
) {
    loop {
        let arrived = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((listener.accept().await, permit))
        };
        let (accepted, permit) = tokio::select! {
            Some(arrived) = arrived => arrived,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        // Out of descriptors, say: the next one may succeed.
        let Ok((client, _)) = accepted else { continue };
        let meant = meant_for(&client).filter(|meant| meant.port() == exchanger.port());
        let Some(meant) = meant else {
            exchanger.account.count("stray_connections");
            reset_on_close(&client);
            continue;
        };
        let (exchanger, mut ending) = (Arc::clone(&exchanger), stopping.clone());
        let stopping = stopping.clone();
        tokio::spawn(async move {
            exchanger.account.count("connections");
            let connected = tokio::time::timeout(CONNECT_LIMIT, connect(meant, mark)).await;
            if let Ok(Ok(server)) = connected {
                tokio::select! {
                    () = carry(client, server, exchanger, stopping) => {}
                    () = async {
                        let _ = ending.wait_for(|stopping| *stopping).await;
                        tokio::time::sleep(DRAIN).await;
                    } => {}
                }
            } else {
                // As the server's own kernel would have said it, had it been asked directly; a little later.
                exchanger.account.count("refused_connections");
                reset_on_close(&client);
            }
            drop(permit);
        });
    }
}

async fn connect(to: SocketAddr, mark: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_mark(mark)?;
    socket.set_nonblocking(true)?;
    tokio::net::TcpSocket::from_std_stream(socket.into()).connect(to).await
}

/// Has the connection end with a reset instead of in order.
pub fn reset_on_close(stream: &TcpStream) {
    // Fails only on a connection that is already broken.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
