//! What becomes of each packet in our own engine: netem's decisions, one packet after another.
//!
//! Pure: fed packets in the order in which they come, it says what to do with each. What that takes in the
//! kernel is the business of `nfqueue/`.

use super::chance::{Chain, Draws, Luck};
use super::delay::Delays;
use super::wire::{Effect, Loss};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It goes on at once.
    Pass,
    /// It goes on after so many nanoseconds.
    Hold(u64),
    /// It goes on at once, past those that are held.
    Overtake,
    /// It vanishes.
    Drop,
    /// It goes on, and so does a copy.
    Duplicate,
    /// It goes on with one bit turned over: the one that this number leads to.
    Corrupt(u64),
}

/// The fates of one step's packets, one after another.
#[derive(Debug)]
pub enum Fates {
    /// All are held.
    Delay(Delays),
    /// A share vanishes.
    Loss(Luck),
    /// Those vanish that a chain chooses.
    Bursts(Chain),
    /// A share comes twice.
    Duplicate(Luck),
    /// A share is damaged; the second numbers say where.
    Corrupt(Luck, Draws),
    /// A share goes at once, the others are held.
    Reorder {
        /// Which may go at once.
        luck: Luck,
        /// Only each packet of this number.
        gap: u32,
        /// How many were held since the last that went at once.
        held: u32,
        /// How long the others are held.
        delays: Delays,
    },
}

impl Fates {
    /// The fates that `effect` deals out; nothing for effects that need no queue.
    pub fn new(effect: &Effect) -> Option<Self> {
        Some(match effect {
            Effect::Delay(delay) => Self::Delay(Delays::new(delay)),
            Effect::Loss(Loss::Random(chance)) => Self::Loss(Luck::new(chance)),
            Effect::Loss(Loss::Bursts(bursts)) => Self::Bursts(Chain::new(bursts)),
            Effect::Duplicate(chance) => Self::Duplicate(Luck::new(chance)),
            // Numbers of their own, so that the choice of packets is the same as for the other effects.
            Effect::Corrupt(chance) => {
                Self::Corrupt(Luck::new(chance), Draws::new(chance.seed.wrapping_add(1), 0.0))
            }
            Effect::Reorder(reorder) => Self::Reorder {
                luck: Luck::new(&reorder.chance),
                gap: reorder.gap.max(1),
                held: 0,
                delays: Delays::new(&reorder.delay),
            },
            Effect::Drop
            | Effect::Reset
            | Effect::Bandwidth(_)
            | Effect::Sever(_)
            | Effect::Admit(_)
            | Effect::Flaky(..) => return None,
        })
    }

    /// What becomes of the next packet.
    pub fn deal(&mut self) -> Fate {
        let struck = |luck: &mut Luck, fate| if luck.strikes() { fate } else { Fate::Pass };
        match self {
            Self::Delay(delays) => Fate::Hold(delays.next_ns()),
            Self::Loss(luck) => struck(luck, Fate::Drop),
            Self::Bursts(chain) => {
                if chain.strikes() {
                    Fate::Drop
                } else {
                    Fate::Pass
                }
            }
            Self::Duplicate(luck) => struck(luck, Fate::Duplicate),
            Self::Corrupt(luck, places) => {
                if luck.strikes() {
                    Fate::Corrupt(places.draw())
                } else {
                    Fate::Pass
                }
            }
            Self::Reorder { luck, gap, held, delays } => {
                if *held >= *gap - 1 && luck.strikes() {
                    *held = 0;
                    Fate::Overtake
                } else {
                    *held += 1;
                    Fate::Hold(delays.next_ns())
                }
            }
        }
    }

    /// True if packets that are held go on in the order in which they came.
    pub const fn keeps_order(&self) -> bool {
        match self {
            Self::Delay(delays) | Self::Reorder { delays, .. } => delays.is_constant(),
            _ => true,
        }
    }
}

/// Turns over one bit of a packet, behind its IP header; `place` says which. False if there is nothing behind it.
///
/// netem takes any bit of a frame. A damaged IPv4 header makes the next machine drop the packet, as a damaged
/// remainder makes its receiver; but IPv6's has no checksum, and a damaged address would bring the packet to
/// somebody who has no part in this.
pub fn corrupt(packet: &mut [u8], place: u64) -> bool {
    /// IPv6's fixed header, in bytes.
    const IPV6_HEADER: usize = 40;
    let header = match packet.first().map(|first| (first >> 4, first & 0xf)) {
        Some((4, words)) => usize::from(words) * 4,
        Some((6, _)) => IPV6_HEADER,
        _ => return false,
    };
    let Some(behind) = packet.get_mut(header..).filter(|behind| !behind.is_empty()) else { return false };
    let bit = place % (behind.len() as u64 * 8);
    behind[(bit / 8) as usize] ^= 1 << (bit % 8);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::wire::{Chance, Delay, Distribution, Reorder};

    fn reorder(share: f64, gap: u32) -> Fates {
        let distribution = Distribution::Normal;
        let delay = Delay { delay_ns: 10, jitter_ns: 0, distribution, correlation: 0.0, seed: 1 };
        let chance = Chance { share, correlation: 0.0, seed: 2 };
        Fates::new(&Effect::Reorder(Box::new(Reorder { chance, gap, delay }))).unwrap()
    }

    #[test]
    fn a_share_overtakes_and_the_others_are_held() {
        let mut fates = reorder(0.25, 1);
        let count = (0..20_000).filter(|_| fates.deal() == Fate::Overtake).count();
        // 2.576 × sqrt(20,000 × 0.25 × 0.75) is 158.
        assert!((4_842..5_158).contains(&count), "{count}");
        assert!(fates.keeps_order());
    }

    #[test]
    fn only_each_packet_of_the_gap_may_overtake() {
        let mut fates = reorder(1.0, 5);
        let fates: Vec<_> = (0..20).map(|_| fates.deal()).collect();
        for (index, fate) in fates.iter().enumerate() {
            let expected = if index % 5 == 4 { Fate::Overtake } else { Fate::Hold(10) };
            assert_eq!(*fate, expected, "packet {index}");
        }
    }

    #[test]
    fn corruption_turns_one_bit_over_behind_the_header() {
        let check = |first: u8, header: usize| {
            let packet = [vec![first], vec![0; header + 7]].concat();
            let mut hit = std::collections::BTreeSet::new();
            for place in 0..1_000 {
                let mut damaged = packet.clone();
                assert!(corrupt(&mut damaged, place));
                assert_eq!(damaged[..header], packet[..header], "the header was damaged");
                let bits: u32 = damaged.iter().zip(&packet).map(|(a, b)| (a ^ b).count_ones()).sum();
                assert_eq!(bits, 1);
                hit.insert(damaged);
            }
            assert_eq!(hit.len(), 64, "some bit is never hit");
        };
        check(0x45, 20);
        check(0x46, 24);
        check(0x60, 40);
        for nothing in [&mut [][..], &mut [0x45; 20], &mut [0x60; 40], &mut [0x70; 60]] {
            assert!(!corrupt(nothing, 3));
        }
    }
}
