//! Redirects: new flows to a port are led to a port of ours in the same namespace.
//!
//! Several redirects of one port compose: each has a place, and what its proxy sends on is marked with it. A
//! redirect takes unmarked flows and those of earlier places, never its own or those of later ones, so that a
//! flow passes each proxy once and none forever. The marks mean nothing outside this namespace. TCP is taken by
//! its first packet alone: connection tracking would take the middle of an older connection for a new one.

use super::rule::Rule;
use super::{Batch, CREATE, Family, NEWCHAIN};
use crate::agent::netlink::Message;
use crate::agent::wire::Protocol;

/// Redirects alive at once in one namespace.
pub const MAX_PLACES: u32 = 60;
/// What comes before the mark of the first place; nobody else is likely to use it. In the lower half, since the
/// upper one is what queued packets are marked in.
const MARK_BASE: u32 = 0xc500;
/// The priority of the first place: before all destination NAT of others (-100), Docker's resolver's included,
/// and after connection tracking (-200), as the kernel demands of NAT.
const FIRST_PRIORITY: i32 = -190;
/// Beside the usual filters.
const GUARD_PRIORITY: i32 = 0;
/// Loopback's interface index, the same in every network namespace.
const LOOPBACK: u32 = 1;
const TABLE_OWNER: u32 = 2;

/// Which flows are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Those that begin in this namespace, to wherever they go, loopback included.
    Inside,
    /// Those that come in by another interface than loopback.
    Outside,
}

/// A redirect's tables, to be made.
#[derive(Clone, Copy, Debug)]
pub struct Redirect<'a> {
    /// Their name.
    pub name: &'a str,
    /// Should they vanish with the socket?
    pub owner: Owner,
    /// Place among this namespace's redirects, below [`MAX_PLACES`]; earlier ones see flows first.
    pub place: u32,
    /// Which flows.
    pub origin: Origin,
    /// TCP, UDP or both.
    pub protocols: &'a [Protocol],
    /// The port they are meant for.
    pub port: u16,
    /// The port they are led to.
    pub to: u16,
}

/// Whether tables vanish with the socket that made them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// They do.
    Socket,
    /// They stay until somebody removes them: kernels before 5.12.
    Nobody,
}

/// The mark of what the proxy at `place` sends on.
pub const fn mark(place: u32) -> u32 {
    MARK_BASE + 1 + place
}

/// The chains that hold rules, other than those that only guard.
const CHAINS: [&str; 2] = ["enter", "leave"];

impl Batch {
    /// Puts a redirect into effect in `families`.
    pub fn redirect(&mut self, families: &[Family], redirect: &Redirect<'_>) {
        let flags = if redirect.owner == Owner::Socket { TABLE_OWNER } else { 0 };
        for family in families {
            self.add_table(*family as u8, redirect.name, flags);
            match redirect.origin {
                Origin::Inside => self.take_leaving(*family, redirect),
                Origin::Outside => self.take_entering(*family, redirect),
            }
        }
    }

    /// Lets new flows go where they were meant to; flows that were redirected go on as they do.
    pub fn stop_redirecting(&mut self, families: &[Family], redirect: &Redirect<'_>) {
        for family in families {
            for chain in CHAINS.iter().skip(usize::from(redirect.origin == Origin::Inside)) {
                self.clear_chain(*family, redirect.name, chain);
            }
        }
    }

    fn hook(&mut self, family: Family, table: &str, chain: &str, kind: &str, hook: i32, priority: i32) {
        self.push(NEWCHAIN, CREATE, family as u8, |m: &mut Message| {
            m.text(1, table);
            m.text(3, chain);
            m.nest(4, |m| {
                m.be32(1, hook.cast_unsigned());
                m.be32(2, priority.cast_unsigned());
            });
            m.be32(5, libc::NF_ACCEPT.cast_unsigned());
            m.text(7, kind);
        });
    }

    fn take_leaving(&mut self, family: Family, redirect: &Redirect<'_>) {
        let (table, priority) = (redirect.name, FIRST_PRIORITY + redirect.place.cast_signed());
        self.hook(family, table, "leave", "nat", libc::NF_INET_LOCAL_OUT, priority);
        self.add_rule(family as u8, table, "leave", |rule| {
            rule.marked_between(mark(redirect.place), mark(MAX_PLACES));
            rule.verdict(libc::NF_ACCEPT, None);
        });
        self.add_takes(family, "leave", redirect);
    }

    fn take_entering(&mut self, family: Family, redirect: &Redirect<'_>) {
        let (table, priority) = (redirect.name, FIRST_PRIORITY + redirect.place.cast_signed());
        self.hook(family, table, "enter", "nat", libc::NF_INET_PRE_ROUTING, priority);
        self.add_rule(family as u8, table, "enter", |rule| {
            rule.meta(libc::NFT_META_IIF, 1);
            rule.compare(libc::NFT_CMP_EQ, &LOOPBACK.to_ne_bytes());
            rule.verdict(libc::NF_ACCEPT, None);
        });
        self.add_takes(family, "enter", redirect);
        // What earlier proxies send on begins in this namespace.
        self.hook(family, table, "leave", "nat", libc::NF_INET_LOCAL_OUT, priority);
        if redirect.place > 0 {
            for protocol in redirect.protocols {
                self.add_rule(family as u8, table, "leave", |rule| {
                    rule.marked_between(mark(0), mark(redirect.place - 1));
                    rule.take(family, *protocol, redirect.port, redirect.to);
                });
            }
        }
        // The proxy must listen where packets come in, but is nobody's business but the redirect's.
        self.hook(family, table, "guard", "filter", libc::NF_INET_LOCAL_IN, GUARD_PRIORITY);
        for protocol in redirect.protocols {
            self.add_rule(family as u8, table, "guard", |rule| {
                rule.for_port(family, *protocol, redirect.to);
                rule.untranslated();
                rule.verdict(libc::NF_DROP, None);
            });
        }
    }

    fn add_takes(&mut self, family: Family, chain: &str, redirect: &Redirect<'_>) {
        if family == Family::Ip6 {
            // A link-local address says nothing without its interface, which the proxy is not told.
            self.add_rule(family as u8, redirect.name, chain, |rule| {
                rule.payload(libc::NFT_PAYLOAD_NETWORK_HEADER, 24, 2, 1);
                rule.mask(&[0xff, 0xc0]);
                rule.compare(libc::NFT_CMP_EQ, &[0xfe, 0x80]);
                rule.verdict(libc::NF_ACCEPT, None);
            });
        }
        for protocol in redirect.protocols {
            self.add_rule(family as u8, redirect.name, chain, |rule| {
                rule.take(family, *protocol, redirect.port, redirect.to);
            });
        }
    }
}

impl Rule<'_> {
    /// Only packets with a mark from `first` to `last`.
    fn marked_between(&mut self, first: u32, last: u32) {
        self.meta(libc::NFT_META_MARK, 1);
        // Marks are in the machine's order; comparisons go byte by byte.
        self.network_order();
        self.compare(libc::NFT_CMP_GTE, &first.to_be_bytes());
        self.compare(libc::NFT_CMP_LTE, &last.to_be_bytes());
    }

    fn for_port(&mut self, family: Family, protocol: Protocol, port: u16) {
        self.l4(family.protocol(protocol));
        self.payload(libc::NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 1);
        self.compare(libc::NFT_CMP_EQ, &port.to_be_bytes());
    }

    /// Takes the first packet of a flow to `port`, and so the flow, to the port `to`.
    fn take(&mut self, family: Family, protocol: Protocol, port: u16, to: u16) {
        self.for_port(family, protocol, port);
        if protocol == Protocol::Tcp {
            self.asks_for_a_connection();
        }
        self.counter();
        self.redirect_to(to);
    }
}
