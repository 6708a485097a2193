//! The signals that we had the daemon send: which of its `kill` events are ours.
//!
//! Anybody may send a container a signal while a fault does. Ours are told by their number and by the daemon's
//! time of the event, which lies between the beginning and the end of our call.

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::fault::signal;

/// Clocks are read a moment before and after what they time, and a daemon may round.
const SLACK_NS: i64 = 1_000_000;
/// Events of older signals are not waited for: a daemon tells of them within milliseconds.
const KEPT: usize = 256;

/// The signals sent by one run. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    calls: Arc<Mutex<Vec<Call>>>,
    /// How far the daemon's wall clock is ahead of ours, and how far that can be wrong, in nanoseconds.
    ahead_ns: (i64, i64),
}

#[derive(Debug)]
struct Call {
    step: u32,
    container: String,
    signal: u8,
    from_ns: i64,
    /// Nothing while the call lasts.
    to_ns: Option<i64>,
}

impl Sent {
    /// None yet, by a daemon whose wall clock is so far ahead of ours, give or take so much.
    pub fn by(ahead_ns: i64, unsure_ns: i64) -> Self {
        Self { calls: Arc::default(), ahead_ns: (ahead_ns, unsure_ns) }
    }

    /// Notes that a call begins that sends `signal` to the container with this id; `call` makes it.
    pub async fn through<T>(
        &self,
        step: u32,
        container: &str,
        signal: &str,
        call: impl Future<Output = T>,
    ) -> T {
        if let Some(signal) = signal::number(signal) {
            let mut calls = self.calls.lock().expect("no holder of this lock panics");
            let surplus = (calls.len() + 1).saturating_sub(KEPT);
            calls.drain(..surplus);
            calls.push(Call { step, container: container.into(), signal, from_ns: wall_ns(), to_ns: None });
        }
        let done = call.await;
        let mut calls = self.calls.lock().expect("no holder of this lock panics");
        let ours = |one: &&mut Call| one.step == step && one.container == container && one.to_ns.is_none();
        if let Some(one) = calls.iter_mut().rev().find(ours) {
            one.to_ns = Some(wall_ns());
        }
        done
    }

    /// The step that sent the signal of a daemon's event; nothing if none did. Each call accounts for one event.
    pub fn step_of(&self, container: &str, signal: &str, at_ns: i64) -> Option<u32> {
        let signal = signal::number(signal)?;
        let (ahead_ns, unsure_ns) = self.ahead_ns;
        let (at_ns, slack_ns) = (at_ns - ahead_ns, unsure_ns + SLACK_NS);
        let mut calls = self.calls.lock().expect("no holder of this lock panics");
        let index = calls.iter().position(|call| {
            call.container == container
                && call.signal == signal
                && call.from_ns - slack_ns <= at_ns
                && call.to_ns.is_none_or(|to_ns| at_ns <= to_ns + slack_ns)
        })?;
        Some(calls.remove(index).step)
    }
}

/// Our wall clock, in nanoseconds since 1970.
pub(super) fn wall_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_our_own_signal_is_taken_for_ours() {
        let sent = Sent::by(0, 0);
        let before = wall_ns();
        let during = sent.through(7, "a", "SIGUSR1", async { wall_ns() }).await;
        let second = 1_000_000_000;
        assert_eq!(sent.step_of("b", "10", during), None, "another container");
        assert_eq!(sent.step_of("a", "9", during), None, "another signal");
        assert_eq!(sent.step_of("a", "10", before - second), None, "before we sent it");
        assert_eq!(sent.step_of("a", "10", during + second), None, "after we sent it");
        assert_eq!(sent.step_of("a", "10", during), Some(7));
        assert_eq!(sent.step_of("a", "10", during), None, "it was sent once");
    }

    #[tokio::test]
    async fn a_daemon_with_another_clock_is_understood() {
        let hour = 3_600_000_000_000;
        let sent = Sent::by(hour, 5_000_000);
        let during = sent.through(1, "a", "SIGKILL", async { wall_ns() }).await;
        assert_eq!(sent.step_of("a", "9", during), None);
        assert_eq!(sent.step_of("a", "9", during + hour + 4_000_000), Some(1));
    }
}
