//! Rates that change, against numbers worked out by hand and against adding up small slices of time.

use proptest::prelude::*;

use super::*;
use crate::units::{Duration, NS_PER_S};

fn shape(text: &str) -> Shape {
    crate::spec::fragment(text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Instants of a shape, in nanoseconds.
fn instants(text: &str, arrivals: Arrivals, burst: u32, seed: u64) -> impl Iterator<Item = u64> {
    Schedule::shaped(&shape(text), arrivals, burst, &[1], seed).map(|arrival| arrival.at_ns)
}

fn even(text: &str) -> impl Iterator<Item = u64> {
    instants(text, Arrivals::Constant, 1, 1)
}

/// The instant of every so many-th arrival at equal gaps.
fn every(text: &str, count: u128) -> impl Iterator<Item = u64> {
    let mut walk = Walk::along(Profile::of(&shape(text)).unwrap());
    std::iter::from_fn(move || walk.advance(ARRIVAL * count))
}

/// Instants at equal gaps, in whole milliseconds, as far as they come.
fn check(text: &str, upto: usize, expected_ms: &[u64]) {
    let found: Vec<u64> = even(text).take(upto).map(|ns| ns / 1_000_000).collect();
    assert_eq!(found, expected_ms, "{text}");
}

#[test]
fn instants_are_where_the_integral_reaches_whole_numbers() {
    check(
        "ramp: [ {at: 0s, rate: 0/s}, {at: 5s, rate: 1/s}, {at: 6s, rate: 1/s}, {at: 11s, rate: 0/s} ]",
        usize::MAX,
        &[3162, 4472, 5500, 6527, 7837, 11000],
    );
    // The first rate holds until the first point, the last one from the last on.
    check("ramp: [ {at: 2s, rate: 1/s}, {at: 3s, rate: 2/s} ]", 5, &[1000, 2000, 2732, 3250, 3750]);
    check(
        "steps: { from: 1/s, to: 4/s, by: 2/s, every: 1s }",
        8,
        &[1000, 1333, 1666, 2000, 2250, 2500, 2750, 3000],
    );
    check("steps: { from: 2/s, to: 0/s, by: 1/s, every: 1s }", usize::MAX, &[500, 1000, 2000]);
    check(
        "spikes: { base: 1/s, peak: 4/s, every: 3s, for: 1s }",
        8,
        &[1000, 2000, 2250, 2500, 2750, 3000, 4000, 5000],
    );
    check("spikes: { base: 0/s, peak: 2/s, every: 10s, for: 1s }", 4, &[9500, 10000, 19500, 20000]);
    // A quarter of a wave holds 2.5 + 10/2π of the mean's arrivals, all of it 10.
    check("sine: { mean: 1/s, amplitude: 0/s, period: 10s }", 3, &[1000, 2000, 3000]);
    let wave: Vec<u64> = even("sine: { mean: 1/s, amplitude: 1/s, period: 10s }").take(20).collect();
    assert_eq!((wave[9], wave[19]), (10 * NS_PER_S, 20 * NS_PER_S));
}

#[test]
fn a_shape_that_stays_is_the_rate_that_stays() {
    for rate in ["3/s", "2000/s", "0.7/s", "1/h"] {
        let flat = format!("ramp: [ {{at: 0s, rate: {rate}}}, {{at: 7s, rate: {rate}}} ]");
        let rate: Rate = rate.parse().unwrap();
        let held = Schedule::new(Arrivals::Constant, rate, &[1], 1).map(|arrival| arrival.at_ns);
        for (number, (found, held)) in even(&flat).zip(held).take(20_000).enumerate() {
            // A rate with no finite binary form is rounded to a grain: after n arrivals it is off by less
            // than n·2⁻⁴⁰ periods.
            let drift = (number as f64 + 1.0) / rate.as_per_s() / rate.as_per_s() * 1e9 / 40f64.exp2();
            assert!(found.abs_diff(held) as f64 <= 1.0 + drift, "{rate}: {number}: {found} for {held}");
        }
    }
}

#[test]
fn a_rate_that_ends_has_no_more_arrivals() {
    for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
        for text in [
            "ramp: [ {at: 0s, rate: 0/s}, {at: 1s, rate: 0/s} ]",
            "steps: { from: 0/s, to: 0/s, by: 1/s, every: 1s }",
            "spikes: { base: 0/s, peak: 0/s, every: 2s, for: 1s }",
            "sine: { mean: 0/s, amplitude: 0/s, period: 1s }",
            "replay: nowhere.txt",
        ] {
            assert_eq!(instants(text, arrivals, 1, 1).next(), None, "{text}");
        }
    }
}

#[test]
fn periods_do_not_drift() {
    // A year of spikes and waves: the last arrival of every period lies exactly at its end.
    let year = 365 * 86_400u64;
    for (text, each) in [
        ("spikes: { base: 0.1/s, peak: 0.7/s, every: 100s, for: 10s }", 16),
        ("sine: { mean: 0.0003/s, amplitude: 0.0003/s, period: 10000s }", 3),
        ("sine: { mean: 0.1/s, amplitude: 0.03/s, period: 100s }", 10),
    ] {
        let period: u64 = if text.contains("10000s") { 10_000 } else { 100 };
        let periods = year / period;
        // A twelfth of all arrivals at a time: counting each of them is the slow way through a year.
        let last = every(text, u128::from(each * (periods / 12))).nth(11).unwrap();
        let due = 12 * (periods / 12) * period * NS_PER_S;
        // Rates have no finite binary form, and are rounded to a grain of 2⁻⁴⁰.
        let grain_ns = due as f64 / 40f64.exp2() / 0.0003;
        assert!(last.abs_diff(due) as f64 <= 2.0 + grain_ns, "{text}: {last} for {due}");
    }
}

#[test]
fn a_replay_keeps_its_offsets() {
    let plan = |requests: &str| LoadPlan {
        name: "users".into(),
        load: crate::spec::fragment(&format!("{{ rate: {{ replay: x }}, requests: [{requests}] }}")).unwrap(),
        seed: 7,
        slos: Vec::new(),
        expected_requests: None,
    };
    let found: Vec<_> = Schedule::replaying(&plan(""), [5, 5, 3, 9].into_iter()).collect();
    let numbered: Vec<_> = found.iter().map(|arrival| (arrival.number, arrival.at_ns)).collect();
    assert_eq!(numbered, [(1, 5), (2, 5), (3, 5), (4, 9)], "never backwards");
}

proptest! {
    /// A switch leaves what was due before it alone, and goes on from its instant as another load would.
    #[test]
    fn a_switch_takes_over_at_its_instant(taken in 0usize..40, held in 0usize..5, later_us in 1u64..20_000, seed: u64) {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let make = |per_s: f64| Schedule::new(arrivals, Rate::per_s(per_s), &[1, 2], seed);
            let mut switched = make(1_000.0);
            let sent: Vec<Arrival> = switched.by_ref().take(taken).collect();
            // Nothing is switched at an instant that is past.
            let at_ns = sent.last().map_or(0, |last| last.at_ns) + later_us * 1_000;
            let mut ahead: Vec<Arrival> = switched.by_ref().take(held).collect();
            let ahead_ns: Vec<u64> = ahead.iter().map(|arrival| arrival.at_ns).collect();
            switched.switch(at_ns, make(3_000.0), &ahead_ns);
            ahead.retain(|arrival| arrival.at_ns < at_ns);
            let found: Vec<Arrival> = sent.into_iter().chain(ahead).chain(switched).take(200).collect();
            let requests = make(1_000.0).map(|arrival| arrival.request).take(200);
            prop_assert!(found.iter().map(|arrival| arrival.request).eq(requests), "requests go on");
            prop_assert!(found.iter().zip(1..).all(|(arrival, number)| arrival.number == number));
            let kept = make(1_000.0).map(|arrival| arrival.at_ns).take_while(|due_ns| *due_ns < at_ns);
            let new = make(3_000.0).map(|arrival| at_ns + arrival.at_ns);
            let expected: Vec<u64> = kept.chain(new).take(200).collect();
            let found: Vec<u64> = found.iter().map(|arrival| arrival.at_ns).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

/// The rate of a shape at an instant, by its definition in words.
fn rate_at(shape: &Shape, t_s: f64) -> f64 {
    use crate::spec::shape::Varying;
    match shape {
        Shape::Held(rate) => rate.as_per_s(),
        Shape::Varying(Varying::Ramp(points)) => {
            let at = |index: usize| (points[index].at.as_s(), points[index].rate.as_per_s());
            let after = points.iter().position(|point| point.at.as_s() > t_s);
            match after {
                Some(0) => at(0).1,
                None => at(points.len() - 1).1,
                Some(index) => {
                    let ((t0, r0), (t1, r1)) = (at(index - 1), at(index));
                    r0 + (r1 - r0) * (t_s - t0) / (t1 - t0)
                }
            }
        }
        Shape::Varying(Varying::Steps(steps)) => {
            let (from, to) = (steps.from.as_per_s(), steps.to.as_per_s());
            let moved = (t_s / steps.every.as_s()).floor() * steps.by.as_per_s();
            if to >= from { (from + moved).min(to) } else { (from - moved).max(to) }
        }
        Shape::Varying(Varying::Spikes(spikes)) => {
            let rest = t_s % spikes.every.as_s();
            let spike = rest >= spikes.every.as_s() - spikes.duration.as_s();
            if spike { spikes.peak.as_per_s() } else { spikes.base.as_per_s() }
        }
        Shape::Varying(Varying::Sine(sine)) => {
            let angle = t_s / sine.period.as_s() * std::f64::consts::TAU;
            sine.mean.as_per_s() + sine.amplitude.as_per_s() * angle.sin()
        }
        Shape::Varying(Varying::Replay(_)) => unreachable!("a replay has no rate"),
    }
}

/// Any shape, with times in whole tenths of a second so that slices end where the rate breaks.
fn shapes() -> impl Strategy<Value = String> {
    let rate = || 0u32..200;
    let points = prop::collection::vec((1u32..20, rate()), 2..6).prop_map(|gaps| {
        let mut at = 0;
        let points = gaps.iter().map(|(gap, rate)| {
            at += gap;
            format!("{{at: {}ms, rate: {rate}/s}}", at * 100)
        });
        format!("ramp: [ {} ]", points.collect::<Vec<_>>().join(", "))
    });
    let steps = (rate(), rate(), 1u32..50, 1u32..20).prop_map(|(from, to, by, every)| {
        format!("steps: {{ from: {from}/s, to: {to}/s, by: {by}/s, every: {}ms }}", every * 100)
    });
    let spikes = (rate(), rate(), 1u32..20, 1u32..20).prop_map(|(base, peak, between, duration)| {
        let every = (between + duration) * 100;
        format!("spikes: {{ base: {base}/s, peak: {peak}/s, every: {every}ms, for: {}ms }}", duration * 100)
    });
    let sine = (rate(), 0.0f64..=1.0, 1u32..40).prop_map(|(mean, swing, period)| {
        let amplitude = f64::from(mean) * swing;
        format!("sine: {{ mean: {mean}/s, amplitude: {amplitude}/s, period: {}ms }}", period * 100)
    });
    prop_oneof![points, steps, spikes, sine]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against the slow way: slices of a tenth of a millisecond, by the midpoint rule.
    #[test]
    fn the_integral_is_that_of_small_slices(text in shapes()) {
        const SLICE_S: f64 = 1e-4;
        const SLICES: usize = 60_000;
        let shape = shape(&text);
        let profile = Profile::of(&shape).unwrap();
        let mut sum = 0.0;
        let mut due = even(&text);
        let mut next = due.next();
        let mut count = 0u64;
        for slice in 0..SLICES {
            let before = sum;
            sum += rate_at(&shape, (slice as f64 + 0.5) * SLICE_S) * SLICE_S;
            let end_ns = ((slice + 1) as f64 * SLICE_S * 1e9).round() as u64;
            while let Some(at_ns) = next.filter(|at_ns| *at_ns <= end_ns) {
                count += 1;
                // The k-th arrival lies in the slice in which the sum passes k.
                prop_assert!(before - 1e-3 <= count as f64 && count as f64 <= sum + 1e-3,
                    "arrival {count} at {at_ns}: from {before} to {sum}");
                next = due.next();
            }
            prop_assert!((count as f64) <= sum + 1e-3 && sum < count as f64 + 1.0 + 1e-3, "{count} for {sum}");
        }
        let whole = profile.arrivals_until(Duration::from_ns((SLICES as f64 * SLICE_S * 1e9) as u64));
        prop_assert!((whole - sum).abs() < 1e-3 * (1.0 + sum), "{whole} for {sum}");
    }

    /// Over a long span the count is the integral's whole part, whatever the shape, counted by bursts.
    #[test]
    fn counts_over_long_spans_match_the_integral(text in shapes(), hours in 1u64..24, burst in 1_000u32..5_000) {
        let span = Duration::from_s(hours * 3_600);
        let expected = Profile::of(&shape(&text)).unwrap().arrivals_until(span);
        let count = every(&text, u128::from(burst)).take_while(|at_ns| *at_ns <= span.as_ns()).count() as f64;
        let bursts = expected / f64::from(burst);
        prop_assert!(count <= bursts + 1e-6 && bursts < count + 1.0 + 1e-6, "{count} for {bursts}");
    }

    #[test]
    fn instants_never_go_back_and_are_a_function_of_the_seed(text in shapes(), seed: u64, burst in 1u32..4) {
        for arrivals in [Arrivals::Constant, Arrivals::Poisson] {
            let make = |seed| instants(&text, arrivals, burst, seed).take(300).collect::<Vec<_>>();
            let found = make(seed);
            prop_assert!(found.is_sorted());
            prop_assert_eq!(&found, &make(seed));
            for group in found.chunks_exact(burst as usize) {
                prop_assert!(group.iter().all(|at_ns| *at_ns == group[0]), "a burst is at one instant");
            }
            if arrivals == Arrivals::Poisson && found.len() >= 10 {
                prop_assert_ne!(&found, &make(seed ^ 1));
            }
        }
    }

    /// Weights change which request is sent, never when.
    #[test]
    fn weights_do_not_move_shaped_arrivals(text in shapes(), seed: u64, weights in prop::collection::vec(0u32..9, 1..6)) {
        let some = Schedule::shaped(&shape(&text), Arrivals::Poisson, 1, &weights, seed).take(100);
        let one = Schedule::shaped(&shape(&text), Arrivals::Poisson, 1, &[1], seed).take(100);
        prop_assert!(some.map(|arrival| arrival.at_ns).eq(one.map(|arrival| arrival.at_ns)));
    }
}

#[test]
fn poisson_arrivals_follow_the_rate() {
    // Seen through the integral of the rate, gaps are exponential of mean 1: each tenth of that
    // distribution holds a tenth of them.
    const N: usize = 100_000;
    let text = "sine: { mean: 1000/s, amplitude: 1000/s, period: 10s }";
    let profile = Profile::of(&shape(text)).unwrap();
    let at: Vec<f64> = instants(text, Arrivals::Poisson, 1, 5)
        .take(N)
        .map(|ns| profile.arrivals_until(Duration::from_ns(ns)))
        .collect();
    let mut tenths = [0usize; 10];
    for gap in std::iter::once(at[0]).chain(at.windows(2).map(|two| two[1] - two[0])) {
        tenths[(((1.0 - (-gap).exp()) * 10.0) as usize).min(9)] += 1;
    }
    for count in tenths {
        assert!((count as f64 / N as f64 - 0.1).abs() < 5.0 * (0.09 / N as f64).sqrt(), "{tenths:?}");
    }
}
