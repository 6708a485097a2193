//! A firing at an agreed instant: all that can be done before is done, and the agent waits for its clock.
//!
//! Agents beside many containers are told one after another, but fire together: each has the same instant.

use super::steps::Prepared;
use super::wire::MAX_AHEAD_NS;

/// A firing that is ready.
#[derive(Debug)]
pub(super) struct Appointment {
    /// The number of the request that is answered once it is done.
    pub request: u64,
    /// When, by CLOCK_MONOTONIC; 0 for at once.
    pub at_ns: u64,
    /// The tasks, in the order asked.
    pub jobs: Vec<u32>,
    /// What happens to packets.
    pub packets: Prepared,
}

impl Appointment {
    /// True if it is about one of `steps`.
    pub fn has_any(&self, steps: &[u32]) -> bool {
        self.jobs.iter().chain(&self.packets.numbers).any(|own| steps.contains(own))
    }
}

/// The instant that was asked for; 0 if that is now.
///
/// # Errors
/// It is so far ahead of `now_ns` that it must be of another clock.
pub(super) fn instant(asked_ns: Option<u64>, now_ns: u64) -> Result<u64, String> {
    let at_ns = asked_ns.unwrap_or_default();
    if at_ns.saturating_sub(now_ns) > MAX_AHEAD_NS {
        return Err("the instant is too far ahead: it is of another clock".into());
    }
    Ok(at_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_of_another_clock_is_refused() {
        let now_ns = 10 * MAX_AHEAD_NS;
        for (asked_ns, expected) in [
            (None, Some(0)),
            (Some(1), Some(1)),
            (Some(now_ns + MAX_AHEAD_NS), Some(now_ns + MAX_AHEAD_NS)),
            (Some(now_ns + MAX_AHEAD_NS + 1), None),
        ] {
            assert_eq!(instant(asked_ns, now_ns).ok(), expected, "{asked_ns:?}");
        }
    }
}
