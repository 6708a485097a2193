//! Rules, expression by expression, as the kernel's virtual machine takes them.
//!
//! An expression that does not match ends its rule; the last one says what becomes of the packet.

use std::net::IpAddr;

use super::Family;
use crate::agent::netlink::Message;
use crate::agent::nfqueue::mark::{self, Marks};
use crate::agent::wire::Net;

/// Which of the kernel's two ways hands packets to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueWay {
    /// nftables' own `queue` expression.
    Native,
    /// The NFQUEUE target of xtables.
    Xtables,
}

/// What to do when nobody listens at a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bypass {
    /// The packet goes on its way.
    Yes,
    /// It vanishes.
    No,
}

/// How packets are taken from the sockets that sent them.
///
/// A socket accounts for its packets until they have left, and stops sending when too many have not: TCP after
/// two or so (one flow held 50 ms made 0.06 MB/s, where a path with that delay makes 60), UDP after 200 KB. On a
/// real path they leave at once and are late further on. So the packet is copied on its way out, the copy,
/// which no socket knows, is held, and the packet itself ends in a queue where nobody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disown {
    /// The queue where nobody listens.
    pub nobody: u16,
    /// How to tell packets with a socket from copies.
    pub owner: OwnerKey,
    /// Only packets of connections that connection tracking knows: the first packet of one is known to it only
    /// once it has left itself.
    pub tracked: bool,
    /// Datagrams longer than this, in bytes, keep their socket: the kernel (6.18 for one) gives copies of
    /// datagrams that it has cut for fragmentation a wrong size, and their receiver throws them away.
    pub mtu: u16,
}

/// The two kinds of packets that are taken from their sockets, each by a rule of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disowned {
    /// TCP.
    Segments,
    /// Everything else, up to [`Disown::mtu`].
    Datagrams,
}

/// What can be asked about a packet's socket; asking about a packet without one ends the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnerKey {
    /// Its cgroup's network class: every socket has one.
    Cgroup = libc::NFT_META_CGROUP as isize,
    /// Its user: sockets have one until they are closed, so what a closed one still has to send stays slow.
    User = libc::NFT_META_SKUID as isize,
}

/// Which end of a packet is the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Leaving,
    Entering,
}

impl Family {
    /// Where the peer's address lies in the network header.
    const fn peer_offset(self, side: Side) -> u32 {
        match (self, side) {
            (Self::Ip, Side::Leaving) => 16,
            (Self::Ip, Side::Entering) => 12,
            (Self::Ip6, Side::Leaving) => 24,
            (Self::Ip6, Side::Entering) => 8,
        }
    }
}

/// The expressions of a rule. Register 1 holds what was looked at last.
pub struct Rule<'m>(pub(super) &'m mut Message);

impl Rule<'_> {
    fn expression(&mut self, name: &str, body: impl FnOnce(&mut Message)) {
        self.0.nest(1, |m| {
            m.text(1, name);
            m.nest(2, body);
        });
    }

    pub(super) fn meta(&mut self, key: i32, register: u32) {
        self.expression("meta", |m| {
            m.be32(2, key.cast_unsigned());
            m.be32(1, register);
        });
    }

    pub(super) fn payload(&mut self, base: i32, offset: u32, len: u32, register: u32) {
        self.expression("payload", |m| {
            m.be32(1, register);
            m.be32(2, base.cast_unsigned());
            m.be32(3, offset);
            m.be32(4, len);
        });
    }

    pub(super) fn compare(&mut self, how: i32, value: &[u8]) {
        self.expression("cmp", |m| {
            m.be32(1, 1);
            m.be32(2, how.cast_unsigned());
            m.nest(3, |m| m.attr(1, value));
        });
    }

    pub(super) fn mask(&mut self, mask: &[u8]) {
        self.bits(mask, &vec![0; mask.len()]);
    }

    /// Keeps the bits in `mask`, then turns over those in `flip`.
    fn bits(&mut self, mask: &[u8], flip: &[u8]) {
        self.expression("bitwise", |m| {
            m.be32(1, 1);
            m.be32(2, 1);
            m.be32(3, mask.len() as u32);
            m.nest(4, |m| m.attr(1, mask));
            m.nest(5, |m| m.attr(1, flip));
        });
    }

    /// Only packets of whose mark the bits in `mask` are `bits`.
    pub(super) fn marked(&mut self, mask: u32, bits: u32) {
        self.meta(libc::NFT_META_MARK, 1);
        self.mask(&mask.to_ne_bytes());
        self.compare(libc::NFT_CMP_EQ, &bits.to_ne_bytes());
    }

    /// Only packets that are copies made by the step at `place` or by later ones.
    pub(super) fn copied_since(&mut self, place: u32) {
        self.marked(mark::OURS_MASK, mark::OURS_BITS);
        self.meta(libc::NFT_META_MARK, 1);
        // One byte of a number compares in either order of bytes.
        self.mask(&mark::STEP_MASK.to_ne_bytes());
        self.compare(libc::NFT_CMP_GTE, &(Marks::copied(place) & mark::STEP_MASK).to_ne_bytes());
    }

    /// Writes `bits` into the part of the mark that is ours.
    pub(super) fn mark(&mut self, bits: u32) {
        /// The register that is written from.
        const SREG: u16 = 3;
        self.meta(libc::NFT_META_MARK, 1);
        self.bits(&(!mark::MASK).to_ne_bytes(), &bits.to_ne_bytes());
        self.expression("meta", |m| {
            m.be32(2, libc::NFT_META_MARK.cast_unsigned());
            m.be32(SREG, 1);
        });
    }

    /// Turns the four bytes looked at last from the machine's order into the network's.
    pub(super) fn network_order(&mut self) {
        self.expression("byteorder", |m| {
            m.be32(1, 1);
            m.be32(2, 1);
            // NFT_BYTEORDER_HTON, of four bytes in words of four.
            m.be32(3, 1);
            m.be32(4, 4);
            m.be32(5, 4);
        });
    }

    /// Only packets of flows whose destination nobody translated.
    pub(super) fn untranslated(&mut self) {
        /// Bit of a flow whose destination was translated (IPS_DST_NAT).
        const TRANSLATED: u32 = 1 << 5;
        self.expression("ct", |m| {
            m.be32(1, 1);
            m.be32(2, libc::NFT_CT_STATUS.cast_unsigned());
        });
        self.mask(&TRANSLATED.to_ne_bytes());
        self.compare(libc::NFT_CMP_EQ, &[0; 4]);
    }

    /// To `port` of this very namespace, translating the whole flow.
    pub(super) fn redirect_to(&mut self, port: u16) {
        self.expression("immediate", |m| {
            m.be32(1, 1);
            m.nest(2, |m| m.attr(1, &port.to_be_bytes()));
        });
        self.expression("redir", |m| m.be32(1, 1));
    }

    /// Only the first packet of a TCP connection.
    pub(super) fn asks_for_a_connection(&mut self) {
        /// Of FIN, SYN, RST and ACK, SYN alone.
        const FLAGS: u8 = 1 | 2 | 4 | 16;
        const SYN: u8 = 2;
        self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 13, 1, 1);
        self.mask(&[FLAGS]);
        self.compare(libc::NFT_CMP_EQ, &[SYN]);
    }

    pub(super) fn l4(&mut self, protocol: u8) {
        self.meta(libc::NFT_META_L4PROTO, 1);
        self.compare(libc::NFT_CMP_EQ, &[protocol]);
    }

    pub(super) fn verdict(&mut self, code: i32, chain: Option<&str>) {
        self.expression("immediate", |m| {
            m.be32(1, 0);
            m.nest(2, |m| {
                m.nest(2, |m| {
                    m.be32(1, code.cast_unsigned());
                    if let Some(chain) = chain {
                        m.text(2, chain);
                    }
                });
            });
        });
    }

    pub(super) fn goto(&mut self, chain: &str) {
        self.verdict(libc::NFT_GOTO, Some(chain));
    }

    pub(super) fn counter(&mut self) {
        self.expression("counter", |_| {});
    }

    pub(super) fn reject(&mut self, kind: i32, code: u8) {
        self.expression("reject", |m| {
            m.be32(1, kind.cast_unsigned());
            m.attr(2, &[code]);
        });
    }

    /// To queue `number`. With nobody there: on its way if `bypass`, else it vanishes without a word.
    pub fn queue(&mut self, way: QueueWay, number: u16, bypass: Bypass) {
        let flag = u16::from(bypass == Bypass::Yes);
        match way {
            QueueWay::Native => self.expression("queue", |m| {
                m.be16(1, number);
                m.be16(2, 1);
                m.be16(3, flag);
            }),
            // struct xt_NFQ_info_v3 { u16 queuenum, queues_total, flags }, padded to eight bytes.
            QueueWay::Xtables => self.expression("target", |m| {
                m.text(1, "NFQUEUE");
                m.be32(2, 3);
                let mut info = Vec::with_capacity(8);
                for field in [number, 1, flag, 0] {
                    info.extend_from_slice(&field.to_ne_bytes());
                }
                m.attr(3, &info);
            }),
        }
    }

    /// Sends a copy of an entering packet to this host itself, over loopback.
    pub(super) fn copy_here(&mut self, family: Family) {
        self.load_destination(family);
        self.expression("dup", |m| m.be32(1, 1));
    }

    fn load_destination(&mut self, family: Family) {
        let (offset, len) = if family == Family::Ip { (16, 4) } else { (24, 16) };
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, offset, len, 1);
    }

    /// Sends a copy of the packet to where the packet goes; the copy belongs to no socket.
    pub fn copy(&mut self, family: Family) {
        self.load_destination(family);
        self.meta(libc::NFT_META_OIF, 2);
        self.expression("dup", |m| {
            m.be32(1, 1);
            m.be32(2, 2);
        });
    }

    /// Only packets that a socket of this namespace sent and still accounts for.
    fn owned(&mut self, key: OwnerKey) {
        self.meta(key as i32, 1);
        self.compare(libc::NFT_CMP_GTE, &[0; 4]);
    }

    /// Only packets of connections that connection tracking knows.
    fn tracked(&mut self) {
        /// Bits of established (2) and related (4).
        const KNOWN: u32 = 2 | 4;
        self.expression("ct", |m| {
            m.be32(1, 1);
            m.be32(2, libc::NFT_CT_STATE.cast_unsigned());
        });
        self.mask(&KNOWN.to_ne_bytes());
        self.compare(libc::NFT_CMP_NEQ, &[0; 4]);
    }

    /// Only answers of the kernel's own to the first packet of a connection, which now will never be one: the kernel
    /// (`nf_ct_drop_unconfirmed`) drops them when they are queued, so that whoever was refused would wait in vain.
    pub(super) fn refuses_a_connection(&mut self) {
        /// Bit of a packet that belongs to another's flow (`related`).
        const RELATED: u32 = 4;
        /// Bit of a flow of which a packet got through (IPS_CONFIRMED).
        const CONFIRMED: u32 = 1 << 3;
        for (key, mask, how) in [
            (libc::NFT_CT_STATE, RELATED, libc::NFT_CMP_NEQ),
            (libc::NFT_CT_STATUS, CONFIRMED, libc::NFT_CMP_EQ),
        ] {
            self.expression("ct", |m| {
                m.be32(1, 1);
                m.be32(2, key.cast_unsigned());
            });
            self.mask(&mask.to_ne_bytes());
            self.compare(how, &[0; 4]);
        }
    }

    /// Makes the packet vanish and sends a copy of it instead, which comes by here again without a socket.
    pub fn disown(&mut self, family: Family, way: QueueWay, disown: Disown, what: Disowned) {
        self.meta(libc::NFT_META_L4PROTO, 1);
        let tcp = [libc::IPPROTO_TCP as u8];
        match what {
            Disowned::Segments => self.compare(libc::NFT_CMP_EQ, &tcp),
            Disowned::Datagrams => {
                // The total length in IPv4, that of all behind the header in IPv6.
                let (offset, most) =
                    if family == Family::Ip { (2, disown.mtu) } else { (4, disown.mtu - 40) };
                self.compare(libc::NFT_CMP_NEQ, &tcp);
                self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, offset, 2, 1);
                self.compare(libc::NFT_CMP_LTE, &most.to_be_bytes());
            }
        }
        self.owned(disown.owner);
        if disown.tracked {
            self.tracked();
        }
        self.copy(family);
        self.queue(way, disown.nobody, Bypass::No);
    }

    pub(super) fn peer(&mut self, family: Family, side: Side, net: &Net) {
        let (addr, full) = match net.addr {
            IpAddr::V4(addr) => (addr.octets().to_vec(), 32),
            IpAddr::V6(addr) => (addr.octets().to_vec(), 128),
        };
        self.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, family.peer_offset(side), full / 8, 1);
        let mask = prefix_mask(addr.len(), net.prefix);
        if u32::from(net.prefix) < full {
            self.mask(&mask);
        }
        let network: Vec<u8> = addr.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
        self.compare(libc::NFT_CMP_EQ, &network);
    }
}

/// A mask of `prefix` ones in `len` bytes.
fn prefix_mask(len: usize, prefix: u8) -> Vec<u8> {
    (0..len)
        .map(|index| {
            let ones = usize::from(prefix).saturating_sub(index * 8).min(8);
            (0xff00u16 >> ones) as u8
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_as_many_ones_as_the_prefix() {
        let check = |len, prefix, expected: &[u8]| assert_eq!(prefix_mask(len, prefix), expected);
        check(4, 0, &[0, 0, 0, 0]);
        check(4, 8, &[255, 0, 0, 0]);
        check(4, 20, &[255, 255, 240, 0]);
        check(4, 32, &[255, 255, 255, 255]);
        check(16, 9, &[255, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
