//! Looking whom packets reach: small datagrams from one agent to another, counted where they arrive.
//!
//! A datagram tells of one direction alone, which an answered question could not. Both ends are agents, on
//! ports that the kernel chooses, so the containers need no open port, no tools and no privilege; the sockets
//! last for one look. Nothing here waits: the runner asks again until it has heard enough. Whatever else comes
//! in at the port is passed over. Start at [`Looking::ask`].

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use serde::{Deserialize, Serialize};

use super::neighbours::{self, Neighbour};
use super::netlink::Socket;

/// Datagrams remembered of one look: members times addresses, for a thousand containers.
const MAX_HEARD: usize = 16_384;
/// Bytes of a datagram: the look's number, who sent it, and to which of the receiver's addresses.
const DATAGRAM_BYTES: usize = 16;
/// Reads of one request; what comes faster waits for the next one.
const MAX_READS: usize = 65_536;

/// What the runner asks of a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    /// Open the ports, anew if they are open. Only datagrams of look `number` count.
    Open {
        /// Which look this is, drawn at random.
        number: u64,
    },
    /// Send a datagram to each of these.
    Send {
        /// Who sends them, as the receivers are to know this agent.
        from: u32,
        /// Where to.
        to: Vec<Aim>,
    },
    /// Only say what was heard.
    Listen,
    /// Have the kernel forget the neighbours that it knows of since `open`, and say what was heard.
    Forget,
    /// Do the same and close the ports.
    Close,
}

/// One datagram's way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aim {
    /// The receiver's address and port.
    pub address: SocketAddr,
    /// Which of its addresses that is, for the receiver to say.
    pub slot: u32,
}

/// The answer to an [`Ask`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The open ports for IPv4 and IPv6; nothing where a family can't be had, or after `close`.
    pub ports: [Option<u16>; 2],
    /// Sender and slot of every datagram heard since `open`, each once.
    pub from: BTreeSet<(u32, u32)>,
}

/// A look under way, or none.
#[derive(Debug, Default)]
pub struct Looking {
    number: u64,
    /// For IPv4 and IPv6.
    sockets: [Option<UdpSocket>; 2],
    heard: BTreeSet<(u32, u32)>,
    /// Whom the kernel knew before; nothing if it does not say.
    known: Option<(Socket, BTreeSet<Neighbour>)>,
}

impl Looking {
    /// Does as asked, and says what was heard so far.
    pub fn ask(&mut self, ask: &Ask) -> Result<Heard, String> {
        match ask {
            Ask::Open { number } => {
                let sockets = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()].map(open);
                if let [Err(error), Err(_)] = &sockets {
                    return Err(format!("could not open a port to listen at: {error}"));
                }
                self.forget();
                let route = Socket::open(libc::NETLINK_ROUTE).ok();
                let known =
                    route.and_then(|route| neighbours::known(&route).ok().map(|known| (route, known)));
                let sockets = sockets.map(Result::ok);
                *self = Self { number: *number, sockets, heard: BTreeSet::new(), known };
            }
            Ask::Send { from, to } => to.iter().for_each(|aim| self.send(*from, *aim)),
            Ask::Listen => {}
            Ask::Forget => self.forget(),
            Ask::Close => {
                self.forget();
                *self = Self::default();
            }
        }
        self.listen();
        let port = |socket: &Option<UdpSocket>| Some(socket.as_ref()?.local_addr().ok()?.port());
        Ok(Heard { ports: self.sockets.each_ref().map(port), from: self.heard.clone() })
    }

    /// Best effort: what is not forgotten the kernel forgets by itself, in a minute.
    fn forget(&self) {
        let Some((route, known)) = &self.known else { return };
        for new in neighbours::known(route).unwrap_or_default().difference(known) {
            let _ = neighbours::forget(route, *new);
        }
    }

    fn send(&self, from: u32, aim: Aim) {
        let socket = &self.sockets[usize::from(aim.address.is_ipv6())];
        let mut datagram = [0; DATAGRAM_BYTES];
        datagram[..8].copy_from_slice(&self.number.to_be_bytes());
        datagram[8..12].copy_from_slice(&from.to_be_bytes());
        datagram[12..].copy_from_slice(&aim.slot.to_be_bytes());
        if let Some(socket) = socket {
            // What can't be sent does not arrive: that is the answer.
            let _ = socket.send_to(&datagram, aim.address);
        }
    }

    fn listen(&mut self) {
        let mut buffer = [0; DATAGRAM_BYTES + 1];
        for socket in self.sockets.iter().flatten() {
            for _ in 0..MAX_READS {
                let len = match socket.recv(&mut buffer) {
                    Ok(len) => len,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A refusal of something sent earlier.
                    Err(_) => continue,
                };
                let word = |at: usize| u32::from_be_bytes(std::array::from_fn(|byte| buffer[at + byte]));
                let number = u64::from(word(0)) << 32 | u64::from(word(4));
                if len == DATAGRAM_BYTES && number == self.number && self.heard.len() < MAX_HEARD {
                    self.heard.insert((word(8), word(12)));
                }
            }
        }
    }
}

fn open(address: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind((address, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hears_this_look_and_nothing_else() {
        let (mut a, mut b) = (Looking::default(), Looking::default());
        let port = b.ask(&Ask::Open { number: 7 }).unwrap().ports[0].unwrap();
        a.ask(&Ask::Open { number: 7 }).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut check = |number: u64, slots: &[u32], expected: &[(u32, u32)]| {
            a.number = number;
            let to = slots.iter().map(|slot| Aim { address, slot: *slot }).collect();
            a.ask(&Ask::Send { from: 3, to }).unwrap();
            let heard = b.ask(&Ask::Listen).unwrap();
            assert_eq!(heard.from.into_iter().collect::<Vec<_>>(), expected);
        };
        check(7, &[0, 1, 1], &[(3, 0), (3, 1)]);
        check(8, &[2], &[(3, 0), (3, 1)]);
        UdpSocket::bind("127.0.0.1:0").unwrap().send_to(b"hello there, this is no look", address).unwrap();
        check(7, &[5], &[(3, 0), (3, 1), (3, 5)]);
        assert_eq!(b.ask(&Ask::Close).unwrap(), Heard::default());
    }
}
