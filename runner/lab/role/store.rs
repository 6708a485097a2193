//! The store: keeps small values in memory and takes its time, as databases do. It may also keep each in a file,
//! by a thread of its own, so that a full disk and a lack of threads mean something to it.

use std::collections::{HashMap, VecDeque};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode};
use serde_json::json;
use tokio::sync::oneshot;

use super::{Ask, PORT, answer, duration, json, serve, text};
use crate::error::Result;

/// Values kept; the oldest goes first. With the limit on bodies this bounds memory at 64 MB.
const MAX_VALUES: usize = 1000;

/// What a store is told.
#[derive(clap::Args)]
pub struct Args {
    /// The port to listen on.
    #[arg(long, default_value_t = PORT)]
    listen: u16,
    /// How long it takes to answer.
    #[arg(long, value_parser = duration, default_value = "1ms")]
    delay: Duration,
    /// A folder to write each value to before it counts as kept.
    #[arg(long)]
    keep_in: Option<PathBuf>,
    /// And to wait until the disk has it.
    #[arg(long, requires = "keep_in")]
    sync: bool,
}

/// Runs a store.
///
/// # Errors
/// The port can't be listened on.
pub async fn run(args: Args) -> Result<()> {
    let safety = if args.sync { Safety::OnDisk } else { Safety::Written };
    let keep = args.keep_in.map(|folder| (folder, safety));
    let store = Arc::new(Store { values: Mutex::default(), delay: args.delay, keep });
    serve(args.listen, move |ask| Arc::clone(&store).answer(ask)).await
}

struct Store {
    values: Mutex<Values>,
    delay: Duration,
    /// Where each value is written to, and when it counts as kept.
    keep: Option<(PathBuf, Safety)>,
}

/// What must have become of a value before it counts as kept.
#[derive(Clone, Copy, Debug)]
enum Safety {
    /// The kernel has it.
    Written,
    /// The disk has it.
    OnDisk,
}

/// Values by key, and the keys by age.
#[derive(Default)]
struct Values {
    by_key: HashMap<String, Bytes>,
    by_age: VecDeque<String>,
}

impl Values {
    fn put(&mut self, key: &str, value: Bytes) {
        if self.by_key.insert(key.to_owned(), value).is_some() {
            return;
        }
        self.by_age.push_back(key.to_owned());
        if self.by_age.len() > MAX_VALUES
            && let Some(oldest) = self.by_age.pop_front()
        {
            self.by_key.remove(&oldest);
        }
    }
}

impl Store {
    async fn answer(self: Arc<Self>, ask: Ask) -> Response<Full<Bytes>> {
        let path = ask.head.uri.path();
        if path == "/health" {
            return json(StatusCode::OK, &json!({ "ok": true }));
        }
        let Some(key) = path.strip_prefix("/values/") else {
            return text(StatusCode::NOT_FOUND, "there are /values/KEY and /health\n");
        };
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if let (Some((folder, safety)), &Method::PUT) = (&self.keep, &ask.head.method)
            && let Err(error) = write(folder.join(file_name(key)), ask.body.clone(), *safety).await
        {
            return text(StatusCode::SERVICE_UNAVAILABLE, format!("not kept: {error}\n"));
        }
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        match ask.head.method {
            Method::GET => match values.by_key.get(key) {
                Some(value) => {
                    answer(StatusCode::OK, HeaderValue::from_static("application/json"), value.clone())
                }
                None => text(StatusCode::NOT_FOUND, "no such value\n"),
            },
            Method::PUT => {
                values.put(key, ask.body);
                text(StatusCode::OK, "kept\n")
            }
            _ => text(StatusCode::METHOD_NOT_ALLOWED, "GET or PUT\n"),
        }
    }
}

/// What the file of a value is called, whatever its key.
fn file_name(key: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    key.chars().map(plain).take(64).collect()
}

/// Writes a file, by a thread of its own.
async fn write(path: PathBuf, value: Bytes, safety: Safety) -> std::io::Result<()> {
    let (done, written) = oneshot::channel();
    let write = move || {
        let mut file = std::fs::File::create(path)?;
        file.write_all(&value)?;
        match safety {
            Safety::Written => Ok(()),
            Safety::OnDisk => file.sync_data(),
        }
    };
    let writer = move || {
        // Whoever asked may have gone away.
        let _ = done.send(write());
    };
    std::thread::Builder::new().name("write".into()).spawn(writer)?;
    written.await.unwrap_or_else(|_| Err(std::io::Error::other("the writer is gone")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_that_can_t_be_written_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        for safety in [Safety::Written, Safety::OnDisk] {
            let write = |name: &str, value| write(folder.path().join(name), value, safety);
            write(&file_name("../a b"), Bytes::from("long")).await.unwrap();
            write(&file_name("../a b"), Bytes::from("x")).await.unwrap();
            assert_eq!(std::fs::read(folder.path().join("___a_b")).unwrap(), b"x");
            assert!(write("no/such/folder", Bytes::new()).await.is_err());
        }
    }

    #[test]
    fn keeps_the_newest_values() {
        let mut values = Values::default();
        for number in 0..2 * MAX_VALUES {
            values.put(&number.to_string(), Bytes::new());
            values.put("again", Bytes::new());
        }
        assert_eq!((values.by_key.len(), values.by_age.len()), (MAX_VALUES, MAX_VALUES));
        assert!(
            values.by_key.contains_key(&(2 * MAX_VALUES - 1).to_string()) && !values.by_key.contains_key("0")
        );
    }
}
