//! Netlink sockets and messages of our own: what we say to the kernel, byte for byte.
//!
//! The agent runs where there are no tools, so it speaks to nftables, NFQUEUE and the traffic control layer
//! itself. Every request is carried out inside the `send` that hands it over: its answers lie in the socket
//! when `send` returns, so nothing here waits for the kernel, and a kernel that does not answer is an error
//! at once. Malformed messages are read as far as they go, never beyond.
//!
//! Start at [`Socket::transact`] and [`Message`].

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Length of a message's header, in bytes.
pub const HEADER_BYTES: usize = 16;
/// The kernel's acknowledgement or refusal.
const NLMSG_ERROR: u16 = 2;
/// The end of a dump.
const NLMSG_DONE: u16 = 3;
/// Receive buffer of one read. The kernel fills dumps up to 32 KiB at a time.
const READ_BYTES: usize = 64 << 10;
/// The most messages that one answer may have; more is a kernel gone mad, not an answer.
const MAX_ANSWERS: usize = 1 << 20;

/// Why the kernel refused: its error number and, where it gave one, its reason in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}", io::Error::from_raw_os_error(*errno), reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default())]
pub struct Refusal {
    /// The error number, positive.
    pub errno: i32,
    /// Which message of the request it answers: its sequence number.
    pub seq: u32,
    /// The kernel's own words.
    pub reason: Option<String>,
}

impl Refusal {
    fn local(error: &io::Error) -> Self {
        Self { errno: error.raw_os_error().unwrap_or(libc::EIO), seq: 0, reason: None }
    }
}

/// One or more messages, built front to back. Lengths are filled in as each message and attribute closes.
#[derive(Clone, Debug, Default)]
pub struct Message {
    bytes: Vec<u8>,
    start: usize,
    seq: u32,
}

impl Message {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a message of `kind` with `flags` (beyond REQUEST) and the fixed part `fixed`; `body` adds its
    /// attributes. Returns its sequence number, counted from 1.
    pub fn push(&mut self, kind: u16, flags: u16, fixed: &[u8], body: impl FnOnce(&mut Self)) -> u32 {
        self.seq += 1;
        let seq = self.seq;
        self.push_numbered(kind, flags, seq, fixed, body);
        seq
    }

    /// The same with a sequence number of the caller's choice.
    pub fn push_numbered(
        &mut self,
        kind: u16,
        flags: u16,
        seq: u32,
        fixed: &[u8],
        body: impl FnOnce(&mut Self),
    ) {
        self.start = self.bytes.len();
        let start = self.start;
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
        self.bytes.extend_from_slice(&seq.to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 4]);
        self.raw(fixed);
        body(self);
        let len = (self.bytes.len() - start) as u32;
        self.bytes[start..start + 4].copy_from_slice(&len.to_ne_bytes());
    }

    /// Asks for an acknowledgement of the last message. One is enough: refusals come unasked.
    pub fn acknowledge_last(&mut self) {
        if self.bytes.len() >= self.start + HEADER_BYTES {
            self.bytes[self.start + 6] |= libc::NLM_F_ACK as u8;
        }
    }

    /// Bytes as they are, padded to four.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// An attribute of bytes.
    pub fn attr(&mut self, kind: u16, value: &[u8]) {
        let len = (value.len() + 4) as u16;
        self.bytes.extend_from_slice(&len.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.raw(value);
    }

    /// An attribute of text with its closing zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attr(kind, &bytes);
    }

    /// A 32-bit number in network order, as nfnetlink likes them.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// A 16-bit number in network order.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.attr(kind, &value.to_be_bytes());
    }

    /// A 32-bit number in the machine's order, as rtnetlink likes them.
    pub fn ne32(&mut self, kind: u16, value: u32) {
        self.attr(kind, &value.to_ne_bytes());
    }

    /// An attribute of attributes.
    pub fn nest(&mut self, kind: u16, body: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 2]);
        self.bytes.extend_from_slice(&(kind | libc::NLA_F_NESTED as u16).to_ne_bytes());
        body(self);
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True if nothing was added.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Forgets what was added, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.seq = 0;
    }
}

/// One message as received.
#[derive(Clone, Copy, Debug)]
pub struct Received<'b> {
    /// Its type.
    pub kind: u16,
    /// Its flags.
    pub flags: u16,
    /// The sequence number of the request it answers.
    pub seq: u32,
    /// What follows the header.
    pub payload: &'b [u8],
}

/// The messages in `bytes`, up to the first that is malformed.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Received<'_>> {
    std::iter::from_fn(move || {
        let len = u32_at(bytes, 0)? as usize;
        let whole = bytes.get(..len)?;
        let message = Received {
            kind: u16_at(whole, 4)?,
            flags: u16_at(whole, 6)?,
            seq: u32_at(whole, 8)?,
            payload: whole.get(HEADER_BYTES..)?,
        };
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in `bytes` as type (without its flag bits) and value, up to the first malformed one.
pub fn attrs(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let len = usize::from(u16_at(bytes, 0)?);
        let kind = u16_at(bytes, 2)? & libc::NLA_TYPE_MASK as u16;
        let value = bytes.get(4..len)?;
        bytes = bytes.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// The first attribute of type `kind`.
pub fn attr(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attrs(bytes).find(|(found, _)| *found == kind).map(|(_, value)| value)
}

/// Text up to its closing zero.
pub fn text_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// The 32-bit number at byte `at`, in the machine's order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The 16-bit number at byte `at`, in the machine's order.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.try_into().ok().map(u16::from_ne_bytes)
}

/// The 64-bit number in network order that `value` is.
pub fn be64_of(value: &[u8]) -> Option<u64> {
    value.try_into().ok().map(u64::from_be_bytes)
}

/// The 32-bit number in network order that `value` is.
pub fn be32_of(value: &[u8]) -> Option<u32> {
    value.try_into().ok().map(u32::from_be_bytes)
}

/// What an error message says: nothing for an acknowledgement, the refusal otherwise.
pub fn refusal(message: &Received<'_>) -> Option<Refusal> {
    /// The header of the refused message was sent back without its body.
    const CAPPED: u16 = 0x100;
    /// Attributes with the kernel's words follow.
    const TLVS: u16 = 0x200;
    const MSG: u16 = 1;
    let errno = u32_at(message.payload, 0).map_or(libc::EIO, |code| code.cast_signed().wrapping_neg());
    if errno == 0 {
        return None;
    }
    let echoed = if message.flags & CAPPED != 0 {
        HEADER_BYTES
    } else {
        u32_at(message.payload, 4).unwrap_or_default().next_multiple_of(4) as usize
    };
    let words = (message.flags & TLVS != 0)
        .then(|| message.payload.get(4 + echoed..))
        .flatten()
        .and_then(|rest| attr(rest, MSG))
        .map(text_of);
    Some(Refusal { errno, seq: message.seq, reason: words })
}

/// A netlink socket of this process.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Opens one for `protocol`: `libc::NETLINK_NETFILTER` or `libc::NETLINK_ROUTE`.
    pub fn open(protocol: i32) -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no pointers; the returned descriptor is checked before it is owned.
        let fd = unsafe { libc::socket(libc::AF_NETLINK, kind, protocol) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let socket = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        // SAFETY: sockaddr_nl is plain data; all zeroes is a valid value.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as u16;
        let len = size_of::<libc::sockaddr_nl>() as u32;
        // SAFETY: `address` is a valid sockaddr_nl of the length given.
        let failed = unsafe { libc::bind(fd, (&raw const address).cast(), len) };
        if failed != 0 {
            return Err(io::Error::last_os_error());
        }
        // Old kernels lack these; refusals are then shorter, not fewer.
        let _ = socket.option(libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, 1);
        let _ = socket.option(libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, 1);
        Ok(socket)
    }

    /// Sets a socket option.
    pub fn option(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        let len = size_of::<i32>() as u32;
        // SAFETY: the option value is an i32 that outlives the call.
        let failed =
            unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, name, (&raw const value).cast(), len) };
        if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Hands `bytes` to the kernel.
    pub fn send(&self, bytes: &[u8]) -> io::Result<()> {
        // SAFETY: pointer and length describe `bytes`.
        let sent = unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Reads one datagram into `buffer`; nothing if none is there.
    pub fn receive<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Option<&'b [u8]>> {
        loop {
            // SAFETY: pointer and length describe `buffer`.
            let read =
                unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            if let Ok(len) = usize::try_from(read) {
                return Ok(Some(&buffer[..len]));
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                Some(libc::EAGAIN) => return Ok(None),
                _ => return Err(error),
            }
        }
    }

    /// Sends a request whose last message asks for an acknowledgement, and reads what comes back. The first
    /// refusal, if any, is the answer; no answer at all is one too.
    pub fn transact(&self, request: &Message) -> Result<(), Refusal> {
        self.drain();
        self.send(request.bytes()).map_err(|error| Refusal::local(&error))?;
        let mut buffer = vec![0; READ_BYTES];
        let mut answered = false;
        let mut first = None;
        while let Some(bytes) = self.receive(&mut buffer).map_err(|error| Refusal::local(&error))? {
            for message in messages(bytes).filter(|message| message.kind == NLMSG_ERROR) {
                answered = true;
                first = first.or_else(|| refusal(&message));
            }
        }
        match first {
            Some(refusal) => Err(refusal),
            None if !answered => {
                Err(Refusal { errno: libc::EIO, seq: 0, reason: Some("the kernel did not answer".into()) })
            }
            None => Ok(()),
        }
    }

    /// Sends a dump request and hands every message of the answer to `each`.
    pub fn dump(&self, request: &Message, mut each: impl FnMut(&Received<'_>)) -> Result<(), Refusal> {
        self.drain();
        self.send(request.bytes()).map_err(|error| Refusal::local(&error))?;
        let mut buffer = vec![0; READ_BYTES];
        for _ in 0..MAX_ANSWERS {
            let Some(bytes) = self.receive(&mut buffer).map_err(|error| Refusal::local(&error))? else {
                return Err(Refusal { errno: libc::EIO, seq: 0, reason: Some("the dump broke off".into()) });
            };
            for message in messages(bytes) {
                match message.kind {
                    NLMSG_DONE | NLMSG_ERROR => return refusal(&message).map_or(Ok(()), Err),
                    _ => each(&message),
                }
            }
        }
        Err(Refusal { errno: libc::EMSGSIZE, seq: 0, reason: Some("the dump has no end".into()) })
    }

    /// Throws away what lies in the socket, so that an answer is never taken for another's.
    fn drain(&self) {
        let mut buffer = [0; 4096];
        for _ in 0..MAX_ANSWERS {
            if !matches!(self.receive(&mut buffer), Ok(Some(_))) {
                return;
            }
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_built_reads_back() {
        let mut message = Message::new();
        message.push(7, 0, &[1, 2, 3], |m| {
            m.nest(4, |m| m.text(1, "lo"));
            m.be32(5, 9);
        });
        message.push(8, 0, &[], |_| {});
        message.acknowledge_last();
        let read: Vec<_> = messages(message.bytes()).collect();
        assert_eq!(read.iter().map(|m| (m.kind, m.seq)).collect::<Vec<_>>(), [(7, 1), (8, 2)]);
        assert_eq!(read[1].flags, (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16);
        let body = &read[0].payload[4..];
        assert_eq!(attr(attr(body, 4).unwrap(), 1).map(text_of).as_deref(), Some("lo"));
        assert_eq!(attr(body, 5).and_then(be32_of), Some(9));
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = refusal(&message);
                for (_, value) in attrs(message.payload) {
                    let _ = text_of(value);
                }
            }
        }
    }
}
