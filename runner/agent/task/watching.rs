//! A look repeated beside an agent's own work: for what was started since, or has changed back.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// A thread that looks again and again, until this is dropped, which waits for the look under way.
#[derive(Debug)]
pub struct Watching(Option<(Sender<()>, JoinHandle<()>)>);

impl Watching {
    /// Looks every `every`, the first time after that long.
    pub fn every(every: Duration, mut look: impl FnMut() + Send + 'static) -> Self {
        let (stop, stopped) = channel();
        let watch = move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                look();
            }
        };
        Self(Some((stop, std::thread::spawn(watch))))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Some((stop, watch)) = self.0.take() {
            drop(stop);
            // Ended either way.
            let _ = watch.join();
        }
    }
}
