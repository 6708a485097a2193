//! What netem is told: an effect as netem's options, byte for byte (linux/pkt_sched.h).

use crate::agent::chance::threshold;
use crate::agent::delay::table;
use crate::agent::netlink::Message;
use crate::agent::wire::{Bursts, Chance, Delay, Distribution, Effect, Loss};

/// Packets a second that netem's queue is to hold for as long as packets are held: ten Gbit/s of large ones, or
/// more small ones than our own engine lets through.
const PACKETS_PER_S: u64 = 1_000_000;
/// The least and the most packets that it holds. A small packet takes about 1 KiB of kernel memory, so the most
/// take 512 MiB.
const HELD_PACKETS: std::ops::RangeInclusive<u64> = 1_000..=524_288;

/// An effect in the terms of netem.
#[derive(Default)]
struct Options {
    delay: Option<Delay>,
    loss: Option<Loss>,
    duplicate: Option<Chance>,
    corrupt: Option<Chance>,
    /// With the gap between packets that may go at once.
    reorder: Option<(Chance, u32)>,
}

impl Options {
    fn of(effect: &Effect) -> Self {
        let none = Self::default();
        match effect {
            Effect::Delay(delay) => Self { delay: Some(delay.clone()), ..none },
            Effect::Loss(loss) => Self { loss: Some(loss.clone()), ..none },
            Effect::Duplicate(chance) => Self { duplicate: Some(chance.clone()), ..none },
            Effect::Corrupt(chance) => Self { corrupt: Some(chance.clone()), ..none },
            Effect::Reorder(reorder) => Self {
                delay: Some(reorder.delay.clone()),
                reorder: Some((reorder.chance.clone(), reorder.gap.max(1))),
                ..none
            },
            Effect::Flaky(_, effect) => Self::of(effect),
            Effect::Drop | Effect::Reset | Effect::Bandwidth(_) | Effect::Sever(_) | Effect::Admit(_) => none,
        }
    }

    fn random_loss(&self) -> Option<&Chance> {
        match &self.loss {
            Some(Loss::Random(chance)) => Some(chance),
            _ => None,
        }
    }

    fn seed(&self) -> u64 {
        let chance = [self.random_loss(), self.duplicate.as_ref(), self.corrupt.as_ref()];
        let reorder = self.reorder.as_ref().map(|(chance, _)| chance.seed);
        let bursts = match &self.loss {
            Some(Loss::Bursts(bursts)) => Some(bursts.seed),
            _ => None,
        };
        let delay = self.delay.as_ref().map(|delay| delay.seed);
        let chance = chance.into_iter().flatten().map(|chance| chance.seed).next();
        chance.or(bursts).or(reorder).or(delay).unwrap_or_default()
    }
}

/// How many packets netem holds, so that delay never becomes loss: a high rate for as long as packets are held.
/// netem's default of 1,000 turns 300 ms into loss from 3,300 packets a second on.
fn held_packets(delay: Option<&Delay>) -> u32 {
    /// Hardly any packet is held longer than so many jitters above the mean, whatever the distribution.
    const JITTERS: u64 = 4;
    let longest_ns = delay.map_or(0, |delay| delay.delay_ns.saturating_add(JITTERS * delay.jitter_ns));
    let packets = u128::from(longest_ns) * u128::from(PACKETS_PER_S) / 1_000_000_000;
    let packets = u64::try_from(packets).unwrap_or(u64::MAX);
    packets.clamp(*HELD_PACKETS.start(), *HELD_PACKETS.end()) as u32
}

/// Adds struct tc_netem_qopt and the attributes behind it.
pub(super) fn netem_options(m: &mut Message, effect: &Effect) {
    const CORR: u16 = 1;
    const DELAY_DIST: u16 = 2;
    const REORDER: u16 = 3;
    const CORRUPT: u16 = 4;
    const LOSS: u16 = 5;
    const LATENCY64: u16 = 10;
    const JITTER64: u16 = 11;
    const PRNG_SEED: u16 = 14;
    let options = Options::of(effect);
    let (delay_ns, jitter_ns) =
        options.delay.as_ref().map_or((0, 0), |delay| (delay.delay_ns, delay.jitter_ns));
    let gap = options.reorder.as_ref().map_or(0, |(_, gap)| *gap);
    let chosen = |chance: Option<&Chance>| chance.and_then(threshold).unwrap_or_default();
    let correlation = |chance: Option<&Chance>| chance.map_or(0, |chance| share(chance.correlation));
    // The old fields count in units of 64 ns; the new ones behind them in nanoseconds.
    let ticks = |ns: u64| u32::try_from(ns >> 6).unwrap_or(u32::MAX);
    for field in [
        ticks(delay_ns),
        held_packets(options.delay.as_ref()),
        chosen(options.random_loss()),
        gap,
        chosen(options.duplicate.as_ref()),
        ticks(jitter_ns),
    ] {
        m.raw(&field.to_ne_bytes());
    }
    m.attr(LATENCY64, &delay_ns.to_ne_bytes());
    m.attr(JITTER64, &jitter_ns.to_ne_bytes());
    let numbers = |fields: &[u32]| fields.iter().flat_map(|field| field.to_ne_bytes()).collect::<Vec<_>>();
    let jitter_correlation = options.delay.as_ref().map_or(0, |delay| share(delay.correlation));
    m.attr(
        CORR,
        &numbers(&[
            jitter_correlation,
            correlation(options.random_loss()),
            correlation(options.duplicate.as_ref()),
        ]),
    );
    let shape =
        options.delay.as_ref().filter(|_| jitter_ns > 0).map_or(Distribution::Uniform, |d| d.distribution);
    if let Some(table) = table(shape) {
        m.attr(DELAY_DIST, &table.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<_>>());
    }
    if let Some((chance, _)) = &options.reorder {
        m.attr(REORDER, &numbers(&[chosen(Some(chance)), correlation(Some(chance))]));
    }
    if let Some(chance) = &options.corrupt {
        m.attr(CORRUPT, &numbers(&[chosen(Some(chance)), correlation(Some(chance))]));
    }
    if let Some(Loss::Bursts(bursts)) = &options.loss {
        m.nest(LOSS, |m| gilbert_elliott(m, bursts));
    }
    // Kernels before 6.6 pass over this and seed themselves.
    m.attr(PRNG_SEED, &options.seed().to_ne_bytes());
}

/// struct tc_netem_gemodel: p, r, h, 1-k.
fn gilbert_elliott(m: &mut Message, bursts: &Bursts) {
    const GE: u16 = 2;
    let fields = [bursts.good_to_bad, bursts.bad_to_good, 1.0 - bursts.bad_loss, bursts.good_loss];
    m.attr(GE, &fields.iter().flat_map(|field| share(*field).to_ne_bytes()).collect::<Vec<_>>());
}

/// A share of 1 in netem's fixed point.
fn share(value: f64) -> u32 {
    (value.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_as_long_as_rate_and_delay_make_it() {
        let check = |delay_ms: u64, jitter_ms: u64, expected: u32| {
            let ns = |ms| ms * 1_000_000;
            let distribution = Distribution::Normal;
            let (delay_ns, jitter_ns) = (ns(delay_ms), ns(jitter_ms));
            let delay = Delay { delay_ns, jitter_ns, distribution, correlation: 0.0, seed: 0 };
            assert_eq!(held_packets(Some(&delay)), expected, "{delay_ms} ms ± {jitter_ms}");
        };
        check(0, 0, 1_000);
        check(50, 0, 50_000);
        check(50, 10, 90_000);
        check(300, 0, 300_000);
        check(60_000, 0, 524_288);
    }
}
