//! Which packets wait their turn: a step's filter as a program of the kernel's classic packet filter.
//!
//! `cls_bpf` runs such a program without more privilege than traffic control asks anyway, and every kernel that
//! runs containers has it. It reads from the network header on, so it is the same on every kind of interface.
//! Start at [`program`].

use std::net::IpAddr;

use crate::agent::netlink::Message;
use crate::agent::wire::{Impairment, Net, Protocol};

/// The longest program that the kernel takes, in instructions.
const MAX_INSTRUCTIONS: usize = 4_096;

/// Offsets from the network header, and the packet's protocol beside it.
const NETWORK: u32 = 0xfff0_0000;
const PROTOCOL: u32 = 0xffff_f000;

const LOAD_WORD: u16 = 0x20;
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_INDEXED: u16 = 0x48;
const LOAD_INDEX: u16 = 0x01;
const LOAD_HEADER_LENGTH: u16 = 0xb1;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// The answer for packets that match: on to the filter's action.
const MATCH: u32 = u32::MAX;
/// The answer for all others.
const PASS: u32 = 0;

/// Which end of a packet is the peer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The destination.
    Leaving,
    /// The source.
    Entering,
}

/// One instruction: code, jumps if true and if false, operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction(u16, u8, u8, u32);

/// A program being written.
#[derive(Debug, Default)]
struct Program(Vec<Instruction>);

impl Program {
    fn push(&mut self, code: u16, operand: u32) {
        self.0.push(Instruction(code, 0, 0, operand));
    }

    /// Skips `skipped` instructions unless the last value looked at is `value`.
    fn unless(&mut self, value: u32, skipped: u8) {
        self.0.push(Instruction(JUMP_EQUAL, 0, skipped, value));
    }

    fn answer(&mut self, answer: u32) {
        self.push(RETURN, answer);
    }

    /// Adds `piece`, gone through only if the value is `value`.
    fn only_if(&mut self, value: u32, piece: Self) {
        // Jumps that depend on something reach 255 instructions; those that don't, anywhere.
        self.0.push(Instruction(JUMP_EQUAL, 1, 0, value));
        self.push(JUMP, piece.0.len() as u32);
        self.0.extend(piece.0);
    }
}

/// The program that picks the packets of `filter` at an edge where they go `way`; nothing if it would be too long.
pub fn program(filter: &Impairment, way: Way) -> Option<Vec<Instruction>> {
    let mut program = Program::default();
    program.push(LOAD_HALF, PROTOCOL);
    program.only_if(libc::ETH_P_IP as u32, family(filter, way, Family::V4));
    program.push(LOAD_HALF, PROTOCOL);
    program.only_if(libc::ETH_P_IPV6 as u32, family(filter, way, Family::V6));
    program.answer(PASS);
    (program.0.len() <= MAX_INSTRUCTIONS).then_some(program.0)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn has(self, net: &Net) -> bool {
        matches!((self, net.addr), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }

    /// Where the peer's address lies in the header.
    const fn peer(self, way: Way) -> u32 {
        match (self, way) {
            (Self::V4, Way::Leaving) => 16,
            (Self::V4, Way::Entering) => 12,
            (Self::V6, Way::Leaving) => 24,
            (Self::V6, Way::Entering) => 8,
        }
    }

    const fn protocol_at(self) -> u32 {
        match self {
            Self::V4 => 9,
            Self::V6 => 6,
        }
    }
}

/// What answers for every packet of a family.
fn family(filter: &Impairment, way: Way, family: Family) -> Program {
    let mut program = Program::default();
    for net in filter.except.iter().filter(|net| family.has(net)) {
        let mut pass = Program::default();
        pass.answer(PASS);
        if_peer(&mut program, family, way, net, pass);
    }
    if family == Family::V6 {
        // Neighbour discovery, as for the other engines.
        program.push(LOAD_BYTE, NETWORK + family.protocol_at());
        program.unless(libc::IPPROTO_ICMPV6 as u32, 4);
        program.push(LOAD_BYTE, NETWORK + 40);
        program.0.push(Instruction(JUMP_GREATER, 2, 0, 137));
        program.0.push(Instruction(JUMP_GREATER, 0, 1, 132));
        program.answer(PASS);
    }
    if filter.peers.is_empty() {
        program.0.extend(kind(filter, family).0);
        return program;
    }
    // Each peer is asked about in turn; one that matches leads past the others to protocol and ports.
    let peers: Vec<&Net> = filter.peers.iter().filter(|net| family.has(net)).collect();
    let mut asked: Vec<Program> = Vec::new();
    let mut behind = 1;
    for net in peers.into_iter().rev() {
        let mut found = Program::default();
        found.push(JUMP, behind);
        let mut one = Program::default();
        if_peer(&mut one, family, way, net, found);
        behind += one.0.len() as u32;
        asked.push(one);
    }
    asked.into_iter().rev().for_each(|one| program.0.extend(one.0));
    program.answer(PASS);
    program.0.extend(kind(filter, family).0);
    program
}

/// Adds `then`, of one instruction, gone through if the peer is in `net`.
fn if_peer(program: &mut Program, family: Family, way: Way, net: &Net, then: Program) {
    let words: Vec<u32> = match net.addr {
        IpAddr::V4(addr) => vec![addr.to_bits()],
        IpAddr::V6(addr) => (0..4).rev().map(|word| (addr.to_bits() >> (32 * word)) as u32).collect(),
    };
    let mut steps = Vec::new();
    for (index, word) in (0u32..).zip(words) {
        let ones = u32::from(net.prefix).saturating_sub(32 * index).min(32);
        if ones == 0 {
            break;
        }
        let mask = u32::MAX << (32 - ones);
        steps.push((NETWORK + family.peer(way) + 4 * index, mask, word & mask));
    }
    // Behind each comparison lie the words still to come and what to do.
    let len = |mask: u32| if mask == u32::MAX { 2 } else { 3 };
    let mut behind: usize = steps.iter().map(|(_, mask, _)| len(*mask)).sum::<usize>() + then.0.len();
    for (at, mask, value) in steps {
        program.push(LOAD_WORD, at);
        if mask != u32::MAX {
            program.push(AND, mask);
        }
        behind -= len(mask);
        program.unless(value, behind as u8);
    }
    program.0.extend(then.0);
}

/// Asks for protocol and ports, and answers.
fn kind(filter: &Impairment, family: Family) -> Program {
    let mut program = Program::default();
    if let Some(protocol) = filter.protocol {
        let number = match (protocol, family) {
            (Protocol::Tcp, _) => libc::IPPROTO_TCP,
            (Protocol::Udp, _) => libc::IPPROTO_UDP,
            (Protocol::Icmp, Family::V4) => libc::IPPROTO_ICMP,
            (Protocol::Icmp, Family::V6) => libc::IPPROTO_ICMPV6,
        };
        program.push(LOAD_BYTE, NETWORK + family.protocol_at());
        program.0.push(Instruction(JUMP_EQUAL, 1, 0, number as u32));
        program.answer(PASS);
    }
    if filter.ports.is_empty() {
        program.answer(MATCH);
        return program;
    }
    program.push(LOAD_BYTE, NETWORK + family.protocol_at());
    program.0.push(Instruction(JUMP_EQUAL, 2, 0, libc::IPPROTO_TCP as u32));
    program.0.push(Instruction(JUMP_EQUAL, 1, 0, libc::IPPROTO_UDP as u32));
    program.answer(PASS);
    match family {
        Family::V4 => {
            // Only the first fragment has ports.
            program.push(LOAD_HALF, NETWORK + 6);
            program.0.push(Instruction(JUMP_ANY_BIT, 0, 1, 0x1fff));
            program.answer(PASS);
            program.push(LOAD_HEADER_LENGTH, NETWORK);
        }
        Family::V6 => program.push(LOAD_INDEX, 40),
    }
    for offset in [0, 2] {
        program.push(LOAD_HALF_INDEXED, NETWORK + offset);
        for port in &filter.ports {
            program.unless(u32::from(*port), 1);
            program.answer(MATCH);
        }
    }
    program.answer(PASS);
    program
}

/// Adds the program to a message, as `cls_bpf` takes it.
pub fn add(m: &mut Message, program: &[Instruction]) {
    const OPS_LEN: u16 = 4;
    const OPS: u16 = 5;
    m.attr(OPS_LEN, &(program.len() as u16).to_ne_bytes());
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for Instruction(code, yes, no, operand) in program {
        bytes.extend_from_slice(&code.to_ne_bytes());
        bytes.extend_from_slice(&[*yes, *no]);
        bytes.extend_from_slice(&operand.to_ne_bytes());
    }
    m.attr(OPS, &bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::wire::{Direction, Effect};
    use proptest::prelude::*;

    /// Runs a program over a packet that begins with its network header, as the kernel would.
    fn run(program: &[Instruction], protocol: u32, packet: &[u8]) -> u32 {
        let (mut at, mut value, mut index) = (0, 0u32, 0u32);
        let load = |offset: u32, len: usize| -> Option<u32> {
            let bytes = packet.get(offset as usize..offset as usize + len)?;
            Some(bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte)))
        };
        loop {
            let Instruction(code, yes, no, operand) = program[at];
            at += 1;
            let offset = operand.wrapping_sub(NETWORK);
            let loaded = match code {
                LOAD_HALF if operand == PROTOCOL => Some(protocol),
                LOAD_WORD => load(offset, 4),
                LOAD_HALF => load(offset, 2),
                LOAD_BYTE => load(offset, 1),
                LOAD_HALF_INDEXED => load(offset + index, 2),
                _ => Some(value),
            };
            let Some(loaded) = loaded else { return PASS };
            value = loaded;
            let jump = match code {
                AND => {
                    value &= operand;
                    continue;
                }
                LOAD_INDEX => {
                    index = operand;
                    continue;
                }
                LOAD_HEADER_LENGTH => {
                    index = u32::from(packet[offset as usize] & 15) * 4;
                    continue;
                }
                JUMP => {
                    at += operand as usize;
                    continue;
                }
                RETURN => return operand,
                JUMP_EQUAL => value == operand,
                JUMP_GREATER => value > operand,
                JUMP_ANY_BIT => value & operand != 0,
                _ => continue,
            };
            at += usize::from(if jump { yes } else { no });
        }
    }

    /// A packet: addresses, protocol, two ports behind the header.
    #[derive(Clone, Debug)]
    struct Packet {
        from: IpAddr,
        to: IpAddr,
        protocol: u8,
        ports: [u16; 2],
    }

    impl Packet {
        fn bytes(&self) -> Vec<u8> {
            let mut bytes = match (self.from, self.to) {
                (IpAddr::V4(from), IpAddr::V4(to)) => {
                    // A header with four bytes of options.
                    let mut head = vec![0x46, 0, 0, 0, 0, 0, 0, 0, 64, self.protocol, 0, 0];
                    head.extend(from.octets().into_iter().chain(to.octets()).chain([0; 4]));
                    head
                }
                (IpAddr::V6(from), IpAddr::V6(to)) => {
                    let mut head = vec![0x60, 0, 0, 0, 0, 0, self.protocol, 64];
                    head.extend(from.octets().into_iter().chain(to.octets()));
                    head
                }
                _ => unreachable!("both ends are of one family"),
            };
            bytes.extend(self.ports.iter().flat_map(|port| port.to_be_bytes()));
            bytes.extend([0; 8]);
            bytes
        }

        /// The obvious answer.
        fn matches(&self, filter: &Impairment, way: Way) -> bool {
            let peer = if way == Way::Leaving { self.to } else { self.from };
            let within = |net: &Net| match (net.addr, peer) {
                (IpAddr::V4(net_addr), IpAddr::V4(addr)) => {
                    (net_addr.to_bits() ^ addr.to_bits()).leading_zeros() >= u32::from(net.prefix)
                }
                (IpAddr::V6(net_addr), IpAddr::V6(addr)) => {
                    (net_addr.to_bits() ^ addr.to_bits()).leading_zeros() >= u32::from(net.prefix)
                }
                _ => false,
            };
            let number = |protocol| match (protocol, peer.is_ipv4()) {
                (Protocol::Tcp, _) => 6,
                (Protocol::Udp, _) => 17,
                (Protocol::Icmp, true) => 1,
                (Protocol::Icmp, false) => 58,
            };
            let neighbour =
                peer.is_ipv6() && self.protocol == 58 && (133..=137).contains(&(self.ports[0] >> 8));
            let ported = [6, 17].contains(&self.protocol);
            !neighbour
                && !filter.except.iter().any(within)
                && (filter.peers.is_empty() || filter.peers.iter().any(within))
                && filter.protocol.is_none_or(|protocol| number(protocol) == self.protocol)
                && (filter.ports.is_empty()
                    || (ported && self.ports.iter().any(|port| filter.ports.contains(port))))
        }
    }

    /// Addresses that often share prefixes, of one family or the other.
    fn address(v4: bool) -> BoxedStrategy<IpAddr> {
        if v4 {
            (0u32..4, 0u32..4)
                .prop_map(|(a, b)| IpAddr::from((0x0a00_0000 | a << 8 | b).to_be_bytes()))
                .boxed()
        } else {
            (0u128..4, 0u128..4)
                .prop_map(|(a, b)| IpAddr::from((0xfd << 120 | a << 40 | b).to_be_bytes()))
                .boxed()
        }
    }

    fn net() -> impl Strategy<Value = Net> {
        any::<bool>().prop_flat_map(|v4| {
            let prefixes = if v4 { vec![0, 8, 23, 24, 31, 32] } else { vec![0, 7, 64, 87, 96, 127, 128] };
            (address(v4), proptest::sample::select(prefixes)).prop_map(|(addr, prefix)| Net { addr, prefix })
        })
    }

    fn packet() -> impl Strategy<Value = Packet> {
        let protocol = proptest::sample::select(vec![1u8, 6, 17, 58]);
        let port = || proptest::sample::select(vec![80u16, 443, 9, 0x8500, 0x8000]);
        any::<bool>().prop_flat_map(move |v4| {
            (address(v4), address(v4), protocol.clone(), [port(), port()])
                .prop_map(|(from, to, protocol, ports)| Packet { from, to, protocol, ports })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]
        #[test]
        fn programs_answer_as_the_filter_says(
            peers in proptest::collection::vec(net(), 0..4),
            except in proptest::collection::vec(net(), 0..3),
            ports in proptest::collection::vec(proptest::sample::select(vec![80u16, 443]), 0..3),
            protocol in proptest::option::of(proptest::sample::select(vec![
                Protocol::Tcp, Protocol::Udp, Protocol::Icmp])),
            packet in packet(),
            leaving: bool,
        ) {
            let way = if leaving { Way::Leaving } else { Way::Entering };
            let filter = Impairment {
                step: 0, direction: Direction::Both, peers, except, ports, protocol, effect: Effect::Drop,
            };
            let ether = if packet.from.is_ipv4() { libc::ETH_P_IP } else { libc::ETH_P_IPV6 };
            let answer = run(&program(&filter, way).unwrap(), ether as u32, &packet.bytes());
            prop_assert_eq!(answer == MATCH, packet.matches(&filter, way));
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let peers = |count: u32| {
            let one = |number: u32| Net { addr: IpAddr::from(number.to_be_bytes()), prefix: 32 };
            (0..count).map(one).collect()
        };
        let long = |count| Impairment {
            step: 0,
            direction: Direction::Both,
            peers: peers(count),
            except: vec![],
            ports: vec![],
            protocol: None,
            effect: Effect::Drop,
        };
        assert!(program(&long(1_000), Way::Leaving).is_some());
        assert!(program(&long(2_000), Way::Leaving).is_none());
        // Not IP at all.
        assert_eq!(run(&program(&long(0), Way::Leaving).unwrap(), 0x806, &[0; 40]), PASS);
    }
}
