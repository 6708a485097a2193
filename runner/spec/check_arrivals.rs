//! What a load's arrivals must not leave out or contradict: its rate and shape, bursts, users.
//!
//! A part of `check_requests.rs`, which calls it. Start at [`arrivals`].

use super::Load;
use super::decode::{Located, Mistakes};
use super::shape::{RampPoint, Shape, Sine, Spikes, Steps, Varying};
use crate::error::Span;
use crate::units::{Duration, Rate};

/// The highest rate that is taken, a second: above what any one machine sends, so surely a slip.
pub const MAX_RATE_PER_S: f64 = 1_000_000.0;

/// The most users of a closed load: one open connection each, more than ports towards one address.
pub const MAX_USERS: u32 = 60_000;

/// The most arrivals at one instant: more than a machine can send in the time that people call an instant.
pub const MAX_BURST: u32 = 100_000;

/// The most points of a ramp, and steps of a staircase: one a second for a quarter of an hour.
pub const MAX_POINTS: usize = 1_000;

/// The shortest step, spike or wave: shorter ones are not a rate that changes but arrivals of their own.
pub const MIN_PIECE: Duration = Duration::from_ms(1);

/// Notes what is wrong with how a load's requests come about; `touched`: something of it can't be read.
pub fn arrivals(name: &Located<String>, load: &Load, touched: bool, mistakes: &mut Mistakes) {
    match (&load.rate, &load.users) {
        (Some(rate), None) => {
            if !load.think.is_zero() {
                let hint = "remove it, or write `users` instead of `rate`";
                mistakes.add(
                    rate.span,
                    "`think` is for users who wait for answers; arrivals at a rate don't",
                    hint,
                );
            }
            shape(rate, mistakes);
            burst(load, mistakes);
        }
        (None, Some(users)) if users.value == 0 || users.value > MAX_USERS => {
            let message = format!("`users` must be from 1 to {MAX_USERS}, got `{}`", users.value);
            mistakes.add(users.span, message, "");
        }
        (None, Some(_)) if load.burst.value != 1 => {
            let message = "`burst` is for arrivals at a rate; users who wait for answers send one at a time";
            mistakes.add(load.burst.span, message, "remove it, or write `rate` instead of `users`");
        }
        (None, Some(_)) => {}
        (Some(_), Some(users)) => {
            let hint = "keep `rate` for arrivals that do not wait for answers, `users` for ones that do";
            mistakes.add(users.span, "a load has a `rate` or `users`, not both", hint);
        }
        (None, None) if touched => {}
        (None, None) => {
            let message = format!("load `{}` says neither how often nor by whom", name.value);
            mistakes.add(name.span, message, "give it a `rate` such as `100/s`, or `users`");
        }
    }
}

fn burst(load: &Load, mistakes: &mut Mistakes) {
    let burst = &load.burst;
    if !(1..=MAX_BURST).contains(&burst.value) {
        let message = format!("`burst` must be from 1 to {MAX_BURST}, got `{}`", burst.value);
        mistakes.add(burst.span, message, "write how many arrive at once, or leave it out for one");
    } else if burst.value != 1 && load.rate.as_ref().is_some_and(|rate| rate.replay().is_some()) {
        let message = "`burst` does not go with `replay`: recorded arrivals come as they were recorded";
        mistakes.add(burst.span, message, "remove it; two arrivals at one instant are two lines of the file");
    }
}

fn shape(rate: &Located<Shape>, mistakes: &mut Mistakes) {
    match &rate.value {
        Shape::Held(held) => {
            if held.as_per_s() <= 0.0 {
                let message = format!("`rate` must be positive, got `{held}`");
                mistakes.add(rate.span, message, "write a rate such as `100/s`, or remove the load");
            }
            bounded("rate", *held, rate.span, mistakes);
        }
        Shape::Varying(varying) => {
            match varying {
                Varying::Ramp(points) => ramp(points, rate.span, mistakes),
                Varying::Steps(it) => steps(it, mistakes),
                Varying::Spikes(it) => spikes(it, mistakes),
                Varying::Sine(it) => sine(it, mistakes),
                Varying::Replay(file) => {
                    if file.trim().is_empty() {
                        mistakes.add(
                            file.span,
                            "`replay` is empty",
                            "write the path of the recorded offsets",
                        );
                    }
                }
            }
            let never = rate.peak().is_some_and(|peak| peak.as_per_s() <= 0.0);
            if never && !mistakes.within(rate.span) {
                let hint = "give it a positive rate somewhere, or remove the load";
                mistakes.add(rate.span, "this rate is never above `0/s`", hint);
            }
        }
    }
}

fn ramp(points: &[RampPoint], span: Span, mistakes: &mut Mistakes) {
    if points.len() < 2 && !mistakes.within(span) {
        let hint = "write `ramp: [ { at: 0s, rate: 0/s }, { at: 30s, rate: 500/s } ]`";
        mistakes.add(span, "a ramp leads from one point to another, so it needs two", hint);
    }
    if points.len() > MAX_POINTS {
        let message = format!("{} points; a ramp has at most {MAX_POINTS}", points.len());
        mistakes.add(span, message, "");
    }
    for point in points {
        bounded("rate", point.rate.value, point.rate.span, mistakes);
    }
    for two in points.windows(2) {
        let [before, after] = two else { continue };
        if after.at.value <= before.at.value {
            let message = format!("`at: {}` does not come after `at: {}`", after.at.value, before.at.value);
            mistakes.add(after.at.span, message, "put the points in order, each at an instant of its own");
        }
    }
}

fn steps(steps: &Steps, mistakes: &mut Mistakes) {
    let Steps { from, to, by, every } = steps;
    bounded("from", from.value, from.span, mistakes);
    bounded("to", to.value, to.span, mistakes);
    long_enough("every", every, "10s", mistakes);
    if by.as_per_s() <= 0.0 {
        let message = format!("`by` must be positive, got `{}`", by.value);
        mistakes.add(by.span, message, "write the height of a step; `from` above `to` makes them go down");
        return;
    }
    let count = ((to.as_per_s() - from.as_per_s()).abs() / by.as_per_s()).ceil();
    if count > MAX_POINTS as f64 {
        let message = format!("{count} steps; a staircase has at most {MAX_POINTS}");
        mistakes.add(by.span, message, "make them higher, or write a `ramp`");
    }
}

fn spikes(spikes: &Spikes, mistakes: &mut Mistakes) {
    let Spikes { base, peak, every, duration } = spikes;
    bounded("base", base.value, base.span, mistakes);
    bounded("peak", peak.value, peak.span, mistakes);
    long_enough("every", every, "30s", mistakes);
    long_enough("for", duration, "2s", mistakes);
    if duration.value >= every.value && !duration.is_zero() {
        let message = format!(
            "a spike `for: {}` leaves nothing of `every: {}` between spikes",
            duration.value, every.value
        );
        mistakes.add(duration.span, message, "make it shorter than `every`");
    }
}

fn sine(sine: &Sine, mistakes: &mut Mistakes) {
    let Sine { mean, amplitude, period } = sine;
    let peak = Rate::per_s(mean.as_per_s() + amplitude.as_per_s());
    bounded("mean` plus `amplitude", peak, mean.span, mistakes);
    long_enough("period", period, "60s", mistakes);
    if amplitude.as_per_s() > mean.as_per_s() {
        let message =
            format!("`amplitude` must be at most the mean ({}), got `{}`", mean.value, amplitude.value);
        mistakes.add(amplitude.span, message, "a rate can't go below 0/s");
    }
}

fn bounded(field: &str, rate: Rate, span: Span, mistakes: &mut Mistakes) {
    if rate.as_per_s() > MAX_RATE_PER_S {
        let message = format!("`{field}` is beyond what one machine can send, got `{rate}`");
        mistakes.add(span, message, format!("write at most `{MAX_RATE_PER_S}/s`"));
    }
}

fn long_enough(field: &str, length: &Located<Duration>, example: &str, mistakes: &mut Mistakes) {
    if length.value < MIN_PIECE {
        let message = format!("`{field}` must be at least {MIN_PIECE}, got `{}`", length.value);
        mistakes.add(length.span, message, format!("write a duration such as `{example}`"));
    }
}
