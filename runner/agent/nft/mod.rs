//! nftables: the rules that pick a step's packets, and what becomes of those that need no queue of ours.
//!
//! [`Batch`] is what we ask of the kernel at once, [`rule`] the expressions of a rule, [`tables`] which rules a
//! step comes to. This never names a table that is not ours, but to list them.

mod chains;
pub mod redirect;
pub mod rule;
pub mod tables;

use std::net::IpAddr;

use super::netlink::{Message, Refusal, Socket, attr, attrs, be32_of, be64_of, text_of};
use super::wire::Protocol;
use rule::Rule;
use tables::{COPY_CHAINS, INNER_CHAINS};

const SUBSYS: u16 = (libc::NFNL_SUBSYS_NFTABLES as u16) << 8;
const NEWTABLE: u16 = SUBSYS;
const GETTABLE: u16 = SUBSYS | 1;
const DELTABLE: u16 = SUBSYS | 2;
const NEWCHAIN: u16 = SUBSYS | 3;
const NEWRULE: u16 = SUBSYS | 6;
const GETRULE: u16 = SUBSYS | 7;
const DELRULE: u16 = SUBSYS | 8;
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const APPEND: u16 = (libc::NLM_F_CREATE | libc::NLM_F_APPEND) as u16;

/// An address family that has tables of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    Ip = libc::NFPROTO_IPV4 as isize,
    /// IPv6.
    Ip6 = libc::NFPROTO_IPV6 as isize,
}

/// Both families.
pub const FAMILIES: [Family; 2] = [Family::Ip, Family::Ip6];

impl Family {
    const fn has(self, addr: IpAddr) -> bool {
        matches!((self, addr), (Self::Ip, IpAddr::V4(_)) | (Self::Ip6, IpAddr::V6(_)))
    }

    const fn protocol(self, protocol: Protocol) -> u8 {
        match (self, protocol) {
            (_, Protocol::Tcp) => libc::IPPROTO_TCP as u8,
            (_, Protocol::Udp) => libc::IPPROTO_UDP as u8,
            (Self::Ip, Protocol::Icmp) => libc::IPPROTO_ICMP as u8,
            (Self::Ip6, Protocol::Icmp) => libc::IPPROTO_ICMPV6 as u8,
        }
    }
}

/// A batch that will be carried out whole or not at all.
#[derive(Debug)]
pub struct Batch {
    messages: Message,
    is_empty: bool,
}

impl Batch {
    /// An empty one.
    pub fn begin() -> Self {
        let mut messages = Message::new();
        edge(&mut messages, libc::NFNL_MSG_BATCH_BEGIN as u16);
        Self { messages, is_empty: true }
    }

    /// Adds a message for the family numbered `family`.
    fn push(&mut self, kind: u16, flags: u16, family: u8, body: impl FnOnce(&mut Message)) -> u32 {
        self.is_empty = false;
        self.messages.push(kind, flags, &[family, 0, 0, 0], body)
    }

    /// True if there is nothing to carry out.
    pub const fn is_empty(&self) -> bool {
        self.is_empty
    }

    /// Carries it out on `socket`. An empty one is no error.
    pub fn commit(mut self, socket: &Socket) -> Result<(), Refusal> {
        if self.is_empty {
            return Ok(());
        }
        self.messages.acknowledge_last();
        edge(&mut self.messages, libc::NFNL_MSG_BATCH_END as u16);
        socket.transact(&self.messages)
    }

    /// Tries it without carrying it out: a last message that must fail makes the kernel take all of it back.
    /// The refusal is that of the first message which would have failed by itself.
    pub fn try_out(mut self, socket: &Socket) -> Result<(), Refusal> {
        let last = self.push(DELTABLE, 0, Family::Ip as u8, |m| m.text(1, "chaos_there_is_no_such_table"));
        match self.commit(socket) {
            Err(refusal) if refusal.seq != last => Err(refusal),
            _ => Ok(()),
        }
    }

    /// Adds the table `name` to the family numbered `family`.
    pub fn add_table(&mut self, family: u8, name: &str, flags: u32) {
        self.push(NEWTABLE, CREATE, family, |m| {
            m.text(1, name);
            m.be32(2, flags);
        });
    }

    /// Adds a chain that other chains go to.
    pub fn add_chain(&mut self, family: u8, table: &str, chain: &str) {
        self.push(NEWCHAIN, CREATE, family, |m| {
            m.text(1, table);
            m.text(3, chain);
        });
    }

    /// Adds a rule at the end of a chain.
    pub fn add_rule(&mut self, family: u8, table: &str, chain: &str, body: impl FnOnce(&mut Rule<'_>)) {
        self.push(NEWRULE, APPEND, family, |m| {
            m.text(1, table);
            m.text(2, chain);
            m.nest(4, |m| body(&mut Rule(m)));
        });
    }

    /// Removes every rule of a chain.
    fn clear_chain(&mut self, family: Family, table: &str, chain: &str) {
        self.push(DELRULE, 0, family as u8, |m| {
            m.text(1, table);
            m.text(2, chain);
        });
    }

    /// Removes the table `name` of the family numbered `family`.
    pub fn remove_table(&mut self, family: u8, name: &str) {
        self.push(DELTABLE, 0, family, |m| m.text(1, name));
    }
}

fn edge(message: &mut Message, kind: u16) {
    let subsystem = (libc::NFNL_SUBSYS_NFTABLES as u16).to_be_bytes();
    message.push(kind, 0, &[0, 0, subsystem[0], subsystem[1]], |_| {});
}

/// A table of this namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The family's number.
    pub family: u8,
    /// Its name.
    pub name: String,
    /// The port of the socket that owns it, if one does.
    pub owner: Option<u32>,
}

/// Every table of this namespace, of all families.
pub fn tables(socket: &Socket) -> Result<Vec<Table>, Refusal> {
    let mut request = Message::new();
    request.push(GETTABLE, libc::NLM_F_DUMP as u16, &[0; 4], |_| {});
    let mut found = Vec::new();
    socket.dump(&request, |message| {
        if let [family, _, _, _, body @ ..] = message.payload {
            found.push(Table {
                family: *family,
                name: attr(body, 1).map(text_of).unwrap_or_default(),
                owner: attr(body, 7).and_then(be32_of),
            });
        }
    })?;
    Ok(found)
}

/// Removes the tables whose names begin with `prefix` and that nobody owns: those with an owner have a live
/// one. How many.
pub fn purge(socket: &Socket, prefix: &str) -> Result<u32, String> {
    let found = tables(socket).map_err(|refusal| format!("could not list the tables: {refusal}"))?;
    let mut removed = 0;
    for table in found.iter().filter(|table| table.name.starts_with(prefix) && table.owner.is_none()) {
        let mut batch = Batch::begin();
        batch.remove_table(table.family, &table.name);
        match batch.commit(socket) {
            Ok(()) => removed += 1,
            Err(refusal) if refusal.errno == libc::ENOENT => {}
            Err(refusal) => return Err(format!("could not remove table {}: {refusal}", table.name)),
        }
    }
    Ok(removed)
}

/// What the counters of a table say, over both families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rules in base chains: as long as there are any, packets are impaired.
    pub attached: u32,
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// Packets that were sent twice.
    pub copied: u64,
}

/// Reads the counters of the tables called `name`; zeroes if there are none.
pub fn read(socket: &Socket, name: &str) -> Result<Counted, Refusal> {
    let mut total = Counted::default();
    for family in FAMILIES {
        let mut request = Message::new();
        request.push(GETRULE, libc::NLM_F_DUMP as u16, &[family as u8, 0, 0, 0], |m| m.text(1, name));
        let answer = socket.dump(&request, |message| {
            let body = message.payload.get(4..).unwrap_or_default();
            if attr(body, 1).map(text_of).as_deref() != Some(name) {
                return;
            }
            let chain = attr(body, 2).map(text_of).unwrap_or_default();
            total.attached += u32::from(!INNER_CHAINS.contains(&chain.as_str()));
            for (_, expression) in attr(body, 4).into_iter().flat_map(attrs) {
                if attr(expression, 1).map(text_of).as_deref() == Some("counter") {
                    let data = attr(expression, 2).unwrap_or_default();
                    let number = |kind| attr(data, kind).and_then(be64_of).unwrap_or_default();
                    if COPY_CHAINS.contains(&chain.as_str()) {
                        total.copied += number(2);
                    } else {
                        total.bytes += number(1);
                        total.packets += number(2);
                    }
                }
            }
        });
        match answer {
            Err(refusal) if refusal.errno != libc::ENOENT => return Err(refusal),
            _ => {}
        }
    }
    Ok(total)
}
