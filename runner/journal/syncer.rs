//! Getting a journal onto the disk beside whoever writes it: a busy disk takes a quarter of a second to say that it
//! has something, and a run's loop must not wait for it.
//!
//! One thread a journal. Lines are written, in order, before their sync is asked for, so that what is on the disk is
//! always a beginning of the journal. Start at [`Syncer::ask`].

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The least time between two syncs that are not in a hurry, so that twenty containers healed at once cost the disk
/// one write and not twenty.
const SYNC_EVERY: Duration = Duration::from_millis(50);

/// How soon something must be on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Whenever the kernel likes: a lost second of figures is said by the missing end.
    None,
    /// Within [`SYNC_EVERY`], and what the disk takes.
    Soon,
    /// At once, but nobody waits for it.
    Now,
    /// Before anything else happens.
    Waited,
}

/// Syncs what was written, in a thread of its own.
#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Numbers of the last sync asked for and the last one done.
    asked: u64,
    done: u64,
    hurry: bool,
    closing: bool,
    /// Why a sync failed, until somebody is told.
    failed: Option<io::Error>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Syncer {
    /// Starts the thread; `sync` has everything that was written before it is called on the disk when it returns.
    ///
    /// # Errors
    /// The machine has no thread to spare.
    pub fn start(sync: impl FnMut() -> io::Result<()> + Send + 'static) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || work(&theirs, sync))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks that everything written so far be on the disk.
    ///
    /// # Errors
    /// That of a sync since the last time anybody was told of one.
    pub fn ask(&self, urgency: Urgency) -> io::Result<()> {
        let mut state = self.shared.lock();
        if urgency != Urgency::None {
            state.asked += 1;
            state.hurry |= urgency != Urgency::Soon;
            self.shared.changed.notify_all();
        }
        if urgency == Urgency::Waited {
            let asked = state.asked;
            let wait = |state: &mut State| state.done < asked;
            state = self.shared.changed.wait_while(state, wait).expect("no holder of this lock panics");
        }
        state.failed.take().map_or(Ok(()), Err)
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // What was asked for is done before it ends.
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared, mut sync: impl FnMut() -> io::Result<()>) {
    let mut last = None::<Instant>;
    while let Some(asked) = next(shared, last) {
        let synced = sync();
        last = Some(Instant::now());
        let mut state = shared.lock();
        state.done = asked;
        state.failed = synced.err().or(state.failed.take());
        shared.changed.notify_all();
    }
}

/// Waits until a sync is due; the number of the last one asked for, or nothing when there will be none.
fn next(shared: &Shared, last: Option<Instant>) -> Option<u64> {
    let mut state = shared.lock();
    loop {
        let left = last.map_or(Duration::ZERO, |last| SYNC_EVERY.saturating_sub(last.elapsed()));
        let due = state.asked > state.done;
        if due && (state.hurry || state.closing || left.is_zero()) {
            state.hurry = false;
            return Some(state.asked);
        }
        if state.closing {
            return None;
        }
        let wait = if due { left } else { Duration::MAX };
        let waited = shared.changed.wait_timeout(state, wait.min(Duration::from_secs(3600)));
        state = waited.expect("no holder of this lock panics").0;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A disk that says when it begins to sync, and goes on when it is told what comes of it.
    fn disk() -> (Syncer, Receiver<()>, Sender<io::Result<()>>) {
        let (begins, begun) = channel();
        let (end, ends) = channel();
        let sync = move || {
            // Nobody waits for the last one.
            let _ = begins.send(());
            ends.recv().unwrap_or(Ok(()))
        };
        (Syncer::start(sync).unwrap(), begun, end)
    }

    #[test]
    fn nobody_waits_for_a_disk_unless_asked_to() {
        let (syncer, begun, end) = disk();
        syncer.ask(Urgency::Now).unwrap();
        begun.recv().unwrap();
        // The disk hangs; whoever writes goes on.
        syncer.ask(Urgency::Soon).unwrap();
        syncer.ask(Urgency::None).unwrap();
        syncer.ask(Urgency::Now).unwrap();
        end.send(Ok(())).unwrap();
        begun.recv().unwrap();
        end.send(Ok(())).unwrap();
        end.send(Ok(())).unwrap();
        syncer.ask(Urgency::Waited).unwrap();
        assert_eq!(begun.try_iter().count(), 1, "what was asked for together was done together");
    }

    #[test]
    fn who_asks_next_is_told_that_a_sync_failed_and_only_once() {
        let (syncer, begun, end) = disk();
        syncer.ask(Urgency::Soon).unwrap();
        begun.recv().unwrap();
        end.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        end.send(Ok(())).unwrap();
        let told = syncer.ask(Urgency::Waited).unwrap_err();
        assert_eq!(told.kind(), io::ErrorKind::StorageFull);
        drop(end);
        syncer.ask(Urgency::Waited).unwrap();
    }

    #[test]
    fn what_was_asked_for_is_done_before_it_ends() {
        let (syncer, begun, end) = disk();
        drop(end);
        syncer.ask(Urgency::Now).unwrap();
        syncer.ask(Urgency::Soon).unwrap();
        drop(syncer);
        assert!(begun.try_iter().count() >= 1);
    }
}
