//! The run's ledger as the loop has it: written by tasks of their own, since a disk may take a quarter of a second
//! to say that something is on it.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use crate::error::Result;
use crate::ledger::{Debt, Ledger};

/// The ledger, shared. Clones are the same books.
#[derive(Clone)]
pub(super) struct Books(Arc<Mutex<Option<Ledger>>>);

/// Of a lock on books that only [`Books::close`] takes away, and that consumes them.
const OPEN: &str = "books are open until they are closed";

impl Books {
    pub fn new(ledger: Ledger) -> Self {
        Self(Arc::new(Mutex::new(Some(ledger))))
    }

    /// As [`Ledger::owe`]: once this has returned, it is on disk.
    pub async fn owe(&self, debts: Vec<Debt>) -> Result<Vec<u32>> {
        self.write(move |ledger| ledger.owe(debts)).await
    }

    /// As [`Ledger::settle`].
    pub async fn settle(&self, keys: Vec<u32>) -> Result<()> {
        self.write(move |ledger| ledger.settle(&keys)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Ledger) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let mut ledger = Arc::clone(&self.0).lock_owned().await;
        // What is begun is finished, also if nobody waits for it any more.
        let written = tokio::task::spawn_blocking(move || work(ledger.as_mut().expect(OPEN)));
        written.await.expect("writing the ledger does not panic")
    }

    /// The ledger itself, when the loop is over.
    pub async fn open(&self) -> MutexGuard<'_, Option<Ledger>> {
        self.0.lock().await
    }

    /// As [`Ledger::close`].
    pub async fn close(self) -> Result<bool> {
        let ledger = self.0.lock().await.take().expect(OPEN);
        ledger.close()
    }
}
