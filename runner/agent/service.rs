//! A service of the agent: a thread with a runtime of its own, which serves until it is stopped.
//!
//! Proxies are a matter of many sockets at once, and the agent's own loop must meet deadlines whatever they do.

use std::io;
use std::thread::JoinHandle;

use tokio::sync::watch;

/// Ports to try before giving up on one that is free for every protocol and family that a service needs it for.
const PORT_TRIES: usize = 16;

/// Binds the sockets of a service; where one of them finds its port taken, all of them at another.
///
/// # Errors
/// No port is free, or what `bind` said.
pub fn at_a_free_port<T>(bind: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let mut tried = bind();
    for _ in 1..PORT_TRIES {
        if !matches!(&tried, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
            break;
        }
        tried = bind();
    }
    tried
}

/// Tells a service's tasks that it is to stop; becomes true once.
pub type Stopping = watch::Receiver<bool>;

/// A running service. Stopped when dropped.
#[derive(Debug)]
pub struct Service {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Service {
    /// Begins to serve in a thread called `name`, in this namespace and with this thread's privileges. `serve`
    /// returns soon after it was told to stop, whatever clients do.
    ///
    /// # Errors
    /// No thread or no runtime can be had.
    pub fn start<F>(name: &str, serve: impl FnOnce(Stopping) -> F + Send + 'static) -> io::Result<Self>
    where
        F: Future<Output = ()>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopping) = watch::channel(false);
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
            runtime.block_on(serve(stopping));
            // What is left must not outlive the service: tasks are dropped where they wait.
            runtime.shutdown_background();
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Stops it and waits for its end.
    pub fn stop(&mut self) {
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // It panicked: then it has stopped, too.
            let _ = thread.join();
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop();
    }
}
