//! Whether somebody still waits for what was begun: what a Ctrl-C takes away while a system comes up.
//!
//! Who works asks at every point where it can stop without anything being under way on the daemon, and waits for
//! nothing any more. To drop it in the middle instead would leave the daemon creating what nobody removes.

use tokio::sync::watch;

use crate::error::{Error, Exit, Result};

/// Somebody's patience. Clones are of the same person.
#[derive(Clone, Debug)]
pub struct Patience(watch::Receiver<bool>);

/// What takes it away.
#[derive(Debug)]
pub struct Limit(watch::Sender<bool>);

impl Limit {
    /// Nobody waits any more.
    pub fn reached(&self) {
        self.0.send_replace(true);
    }
}

impl Patience {
    /// Patience that [`Limit::reached`] ends.
    pub fn limited() -> (Limit, Self) {
        let (limit, patience) = watch::channel(false);
        (Limit(limit), Self(patience))
    }

    /// That of somebody who waits as long as it takes.
    pub fn endless() -> Self {
        Self(watch::channel(false).1)
    }

    /// Returns when it is at its end, if ever.
    pub async fn end(&self) {
        let mut lost = self.0.clone();
        if lost.wait_for(|lost| *lost).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Fails with exit 6 once it is at its end.
    ///
    /// # Errors
    /// It is.
    pub fn check(&self) -> Result<()> {
        if *self.0.borrow() { Err(called_off()) } else { Ok(()) }
    }

    /// Waits for what can be dropped at any time, as long as there is patience.
    ///
    /// # Errors
    /// That of `work`, or there is no patience any more.
    pub async fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            done = work => done,
            () = self.end() => Err(called_off()),
        }
    }
}

fn called_off() -> Error {
    Error::new(Exit::Aborted, "it was called off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_goes_on_until_patience_ends() {
        let (limit, patience) = Patience::limited();
        assert_eq!(patience.wait(async { Ok(7) }).await.unwrap(), 7);
        patience.check().unwrap();
        limit.reached();
        assert_eq!(patience.check().unwrap_err().exit(), Exit::Aborted);
        let never = std::future::pending::<Result<()>>();
        assert_eq!(patience.wait(never).await.unwrap_err().exit(), Exit::Aborted);
        Patience::endless().check().unwrap();
    }
}
