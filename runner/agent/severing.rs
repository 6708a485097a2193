//! Breaking off connections: a share of those that are there, once or again and again.
//!
//! Nothing of it needs to be undone: what is broken stays so, and programs connect anew. What can be ended is its
//! going on.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::SeedableRng;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;

use super::netlink::{Refusal, Socket};
use super::sockets::{self, Choice, state};
use super::wire::{Impairment, Sever};

/// What can be broken off: the other end may have said its last word already.
const BROKEN: u32 = state::ESTABLISHED | state::CLOSE_WAIT;

/// The work of breaking off.
#[derive(Debug)]
pub struct Severing {
    knife: Arc<Mutex<Knife>>,
    every: Option<Duration>,
    counts: Arc<Counts>,
    /// Breaks off again; ends when the sender is dropped.
    beat: Mutex<Option<(Sender<()>, JoinHandle<()>)>>,
}

#[derive(Debug)]
struct Knife {
    socket: Socket,
    choice: Choice,
    share: f64,
    random: ChaCha8Rng,
}

#[derive(Debug, Default)]
struct Counts {
    rounds: AtomicU64,
    found: AtomicU64,
    reset: AtomicU64,
    failed: AtomicU64,
}

impl Severing {
    /// Ready, changing nothing.
    ///
    /// # Errors
    /// This kernel does not end connections, for people.
    pub fn stage(impairment: &Impairment, sever: &Sever) -> Result<Self, String> {
        if !sockets::can_destroy() {
            return Err("this kernel ends no connections for others (CONFIG_INET_DIAG_DESTROY)".into());
        }
        let socket = sockets::open().map_err(|error| format!("could not list connections: {error}"))?;
        let random = ChaCha8Rng::seed_from_u64(sever.seed);
        let knife = Knife { socket, choice: Choice::of(impairment), share: sever.share, random };
        Ok(Self {
            knife: Arc::new(Mutex::new(knife)),
            every: sever.every_ns.map(Duration::from_nanos),
            counts: Arc::default(),
            beat: Mutex::default(),
        })
    }

    /// Breaks off what is there, and goes on as asked.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn begin(&self) -> Result<(), Refusal> {
        round(&self.knife, &self.counts)?;
        if let Some(every) = self.every {
            let (stop, stopped) = channel();
            let (knife, counts) = (Arc::clone(&self.knife), Arc::clone(&self.counts));
            let beat = std::thread::spawn(move || {
                while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                    let failed = round(&knife, &counts).is_err();
                    counts.failed.fetch_add(failed.into(), Ordering::Relaxed);
                }
            });
            *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, beat));
        }
        Ok(())
    }

    /// Breaks off no more.
    pub fn end(&self) {
        if let Some((stop, beat)) = self.beat.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(stop);
            // One that panicked breaks off no more either.
            let _ = beat.join();
        }
    }

    /// What it did so far, by name.
    pub fn counted(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = &self.counts;
        let named = [
            ("rounds", &counts.rounds),
            ("found_connections", &counts.found),
            ("reset_connections", &counts.reset),
            ("failed_rounds", &counts.failed),
        ];
        let named = named.map(|(name, count)| (name, count.load(Ordering::Relaxed)));
        named
            .into_iter()
            .filter(|(name, count)| *count > 0 || *name != "failed_rounds")
            .map(|(name, count)| (name.to_owned(), count))
    }
}

impl Drop for Severing {
    fn drop(&mut self) {
        self.end();
    }
}

/// Breaks off once: the share, rounded up, of what is there.
fn round(knife: &Mutex<Knife>, counts: &Counts) -> Result<(), Refusal> {
    let mut knife = knife.lock().unwrap_or_else(PoisonError::into_inner);
    let Knife { socket, choice, share, random } = &mut *knife;
    let mut found = choice.list(socket, BROKEN)?;
    counts.rounds.fetch_add(1, Ordering::Relaxed);
    counts.found.fetch_add(found.len() as u64, Ordering::Relaxed);
    let many = share_of(found.len(), *share);
    found.shuffle(random);
    for connection in &found[..many] {
        let ended = sockets::destroy(socket, connection)?;
        counts.reset.fetch_add(ended.into(), Ordering::Relaxed);
    }
    Ok(())
}

/// So many of `count` are `share` of them, rounded up.
fn share_of(count: usize, share: f64) -> usize {
    // A share such as 0.1 is never exact; a millionth of one is none.
    ((count as f64 * share - 1e-6).ceil().max(0.0) as usize).min(count)
}

#[cfg(test)]
mod tests {
    use super::share_of;

    #[test]
    fn a_share_is_rounded_up() {
        for (count, share, expected) in
            [(0, 1.0, 0), (1, 0.01, 1), (10, 0.1, 1), (10, 0.11, 2), (3, 1.0, 3), (10, 0.3, 3), (5, 0.0, 0)]
        {
            assert_eq!(share_of(count, share), expected, "{share} of {count}");
        }
    }
}
