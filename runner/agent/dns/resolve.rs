//! What becomes of a query: the truth, late, falsely, or nothing.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::Instant;

use super::message::Query;
use crate::agent::account::Account;
use crate::agent::service::Stopping;
use crate::agent::task::dns::{Answer, Dns};

/// How long a resolver may take: longer than any client waits.
const PATIENCE: Duration = Duration::from_secs(30);
/// The longest message, which its length in two bytes bounds.
const MAX_MESSAGE_BYTES: usize = 65_535;

/// How a query came, and so how it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram.
    Udp,
    /// Over a connection.
    Tcp,
}

/// What decides about queries, and what it has done so far.
#[derive(Debug)]
pub struct Resolver {
    rule: Dns,
    /// Of our own sockets.
    mark: u32,
    chance: Mutex<ChaCha8Rng>,
    /// What was done so far.
    pub account: Arc<Account>,
    /// Queries that went on to a resolver of this very namespace, and how often. Docker's asks others from in
    /// here, with the same message: that one is no query of the target's.
    passed_on: Mutex<HashMap<(u16, String, u16), u32>>,
}

impl Resolver {
    /// One that goes by `rule`, with sockets that bear `mark`.
    pub fn new(rule: &Dns, mark: u32) -> Self {
        Self {
            rule: rule.clone(),
            mark,
            chance: Mutex::new(ChaCha8Rng::seed_from_u64(rule.seed)),
            account: Arc::default(),
            passed_on: Mutex::default(),
        }
    }

    /// The answer to a message meant for `to`; nothing where nobody answers. Delays end when the proxy stops.
    pub async fn answer(
        &self,
        message: &[u8],
        to: SocketAddr,
        transport: Transport,
        mut stopping: Stopping,
    ) -> Option<Vec<u8>> {
        let query = Query::read(message);
        let Some(query) = query.filter(|query| !self.is_from_a_resolver(query, to)) else {
            return self.pass_on(message, None, to, transport).await;
        };
        self.count("queries");
        if !self.rule.concerns(&query) {
            return self.pass_on(message, Some(&query), to, transport).await;
        }
        self.count("matched_queries");
        if !lock(&self.chance).random_bool(self.rule.share) {
            return self.pass_on(message, Some(&query), to, transport).await;
        }
        let delay = Duration::from_nanos(self.rule.delay_ns);
        if !delay.is_zero() {
            let began = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(delay) => self.account.count_delay("delayed_queries", began.elapsed()),
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
        // What was held when the fault ended gets the truth.
        if *stopping.borrow() {
            return self.pass_on(message, Some(&query), to, transport).await;
        }
        if !delay.is_zero() || self.rule.answer != Answer::Truth {
            self.count("altered_queries");
        }
        match &self.rule.answer {
            Answer::Truth => self.pass_on(message, Some(&query), to, transport).await,
            Answer::Nothing => {
                self.count("unanswered_queries");
                None
            }
            Answer::Nxdomain => query.nxdomain().inspect(|_| self.count("nxdomain_answers")),
            Answer::Servfail => query.servfail().inspect(|_| self.count("servfail_answers")),
            Answer::Addresses(addresses) => {
                query.addresses(addresses).inspect(|_| self.count("wrong_address_answers"))
            }
        }
    }

    /// True if a resolver of this namespace, which we asked, asks on.
    fn is_from_a_resolver(&self, query: &Query<'_>, to: SocketAddr) -> bool {
        !to.ip().is_loopback() && lock(&self.passed_on).contains_key(&query.key())
    }

    /// Asks the resolver that was meant.
    async fn pass_on(
        &self,
        message: &[u8],
        query: Option<&Query<'_>>,
        to: SocketAddr,
        transport: Transport,
    ) -> Option<Vec<u8>> {
        let key = query.filter(|_| to.ip().is_loopback()).map(Query::key);
        if let Some(key) = &key {
            *lock(&self.passed_on).entry(key.clone()).or_default() += 1;
        }
        let ask = async {
            match transport {
                Transport::Udp => self.ask_by_udp(message, to).await,
                Transport::Tcp => self.ask_by_tcp(message, to).await,
            }
        };
        let answer = tokio::time::timeout(PATIENCE, ask).await;
        if let Some(key) = key {
            let mut passed_on = lock(&self.passed_on);
            let left = passed_on.get_mut(&key).map_or(0, |count| {
                *count -= 1;
                *count
            });
            if left == 0 {
                passed_on.remove(&key);
            }
        }
        // A resolver that does not answer, or can't be reached, is as silent to who asks as it is to us.
        answer.ok()?.ok()
    }

    async fn ask_by_udp(&self, message: &[u8], to: SocketAddr) -> io::Result<Vec<u8>> {
        let socket = self.socket(to, Type::DGRAM)?;
        socket.set_nonblocking(true)?;
        let socket = UdpSocket::from_std(socket.into())?;
        socket.connect(to).await?;
        socket.send(message).await?;
        let mut answer = vec![0; MAX_MESSAGE_BYTES];
        loop {
            let len = socket.recv(&mut answer).await?;
            // Of another query: somebody guesses.
            if answer[..len].get(..2) == message.get(..2) {
                answer.truncate(len);
                return Ok(answer);
            }
        }
    }

    async fn ask_by_tcp(&self, message: &[u8], to: SocketAddr) -> io::Result<Vec<u8>> {
        let mut stream = self.connect(to).await?;
        write_message(&mut stream, message).await?;
        read_message(&mut stream).await
    }

    /// A connection to a resolver, which is not led back to us.
    pub async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = self.socket(to, Type::STREAM)?;
        socket.set_nonblocking(true)?;
        TcpSocket::from_std_stream(socket.into()).connect(to).await
    }

    fn socket(&self, to: SocketAddr, kind: Type) -> io::Result<Socket> {
        let protocol = if kind == Type::DGRAM { Protocol::UDP } else { Protocol::TCP };
        let socket = Socket::new(Domain::for_address(to), kind, Some(protocol))?;
        socket.set_mark(self.mark)?;
        Ok(socket)
    }

    /// Notes that something happened once more.
    pub fn count(&self, what: &'static str) {
        self.account.count(what);
    }
}

/// Reads one message off a connection.
///
/// # Errors
/// The connection ended or broke.
pub async fn read_message(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Vec<u8>> {
    let len = stream.read_u16().await?;
    let mut message = vec![0; usize::from(len)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message to a connection.
///
/// # Errors
/// The connection broke, or the message is too long for one.
pub async fn write_message(stream: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let len = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // In one piece: some resolvers expect the length and the message in one segment.
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend_from_slice(&len.to_be_bytes());
    framed.extend_from_slice(message);
    stream.write_all(&framed).await
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
