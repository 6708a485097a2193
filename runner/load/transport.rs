//! What a connection's bytes go through: a TCP or unix socket, with TLS over it or without.
//!
//! Never blocks: whatever can't be done now is `WouldBlock`, and the engine's loop says when to try again.
//! TLS is rustls without its I/O, so a handshake is a few more turns of the same loop. Start at
//! [`Transport::open`].

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use super::stamp::Stamps;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{Domain, SockAddr, Socket, Type};

/// How TLS is spoken to one server.
#[derive(Clone, Debug)]
pub struct Secure {
    /// What is trusted and shown, the same for all of a load.
    pub config: Arc<ClientConfig>,
    /// Whom the certificate must name, and what is announced where that is a name.
    pub name: ServerName<'static>,
}

/// A socket, plain or with TLS over it.
#[derive(Debug)]
pub enum Transport {
    /// The socket's own bytes.
    Plain(Socket),
    /// Encrypted; boxed, because a session is a hundred times the size of a socket.
    Tls(Box<Tls>),
}

/// A socket and the session on it.
#[derive(Debug)]
pub struct Tls {
    socket: Socket,
    session: ClientConnection,
}

impl Transport {
    /// Begins to connect.
    pub fn open(address: &SockAddr, secure: Option<&Secure>) -> io::Result<Self> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::from(i32::from(address.family())), kind, None)?;
        if !address.is_unix() {
            // A request is one write: waiting for more to send could only delay it.
            socket.set_tcp_nodelay(true)?;
        }
        match socket.connect(address) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
            Err(error) => return Err(error),
        }
        Ok(match secure {
            None => Self::Plain(socket),
            Some(Secure { config, name }) => {
                let session =
                    ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
                Self::Tls(Box::new(Tls { socket, session }))
            }
        })
    }

    const fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(tls) => &tls.socket,
        }
    }

    /// Its socket, to be watched.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket().as_fd()
    }

    /// Why connecting failed, if it did; asked once the socket is writable.
    pub fn connected(&self) -> io::Result<()> {
        self.socket().take_error()?.map_or(Ok(()), Err)
    }

    /// Goes on with the handshake, if there is one: true once requests can be sent.
    pub fn secure(&mut self) -> io::Result<bool> {
        match self {
            Self::Plain(_) => Ok(true),
            Self::Tls(tls) => tls.handshake(),
        }
    }

    /// The protocol agreed upon within TLS.
    pub fn agreed(&self) -> Option<&[u8]> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(tls) => tls.session.alpn_protocol(),
        }
    }

    /// True if a read that did not fill the buffer has taken all there was: not so where a record is read
    /// at a time.
    pub const fn drains(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Reads what is there, with when it came where `stamps` ask for it and the kernel says; 0 is the end, and an
    /// end that TLS was not told of is `UnexpectedEof`.
    #[inline]
    pub fn read(&mut self, buffer: &mut [u8], stamps: &mut Stamps) -> io::Result<usize> {
        match self {
            Self::Plain(socket) if stamps.asked() => stamps.read(socket.as_fd(), buffer),
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    /// Writes as much as is taken now. What TLS has taken but the kernel has not follows with
    /// [`Transport::flush`].
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // MSG_NOSIGNAL: a peer that is gone must not end this process.
            Self::Plain(socket) => socket.send_with_flags(bytes, libc::MSG_NOSIGNAL),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    /// Writes what TLS holds back, as far as the kernel takes it now.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

impl Tls {
    fn handshake(&mut self) -> io::Result<bool> {
        loop {
            self.flush()?;
            if !self.session.is_handshaking() {
                return Ok(true);
            }
            match self.receive() {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes what the socket has, and does what it says.
    fn receive(&mut self) -> io::Result<usize> {
        let read = self.session.read_tls(&mut self.socket)?;
        if let Err(error) = self.session.process_new_packets() {
            // The other side is told why; whether it listens is its own business.
            let _ = self.flush();
            return Err(io::Error::other(error));
        }
        Ok(read)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return done,
            }
            self.receive()?;
            self.flush()?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.session.writer().write(bytes)?;
        self.flush()?;
        // Full up to its bound: the rest when the kernel has taken some.
        if taken == 0 && !bytes.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(taken) }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            match self.session.write_tls(&mut self.socket) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
