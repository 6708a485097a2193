//! The store: keeps small values in memory and takes its time, as databases do.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode};
use serde_json::json;

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
}

/// Runs a store.
///
/// # Errors
/// The port can't be listened on.
pub async fn run(args: Args) -> Result<()> {
    let store = Arc::new(Store { values: Mutex::default(), delay: args.delay });
    serve(args.listen, move |ask| Arc::clone(&store).answer(ask)).await
}

struct Store {
    values: Mutex<Values>,
    delay: Duration,
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

#[cfg(test)]
mod tests {
    use super::*;

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
