//! The API: answers carts and checkouts out of the store, and says so when it can't, or when it was told not to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Method, Response, StatusCode, Uri};
use serde_json::json;

use super::upstream::{Answer, Failure, Head, Upstream};
use super::{Ask, PORT, duration, json, serve, text};
use crate::error::{Error, Result};

/// Checkouts are kept under this many keys, in turn: the store stays small however long a run is.
const ORDERS: u64 = 1000;

/// What an API is told.
#[derive(clap::Args)]
pub struct Args {
    /// The port to listen on.
    #[arg(long, default_value_t = PORT)]
    listen: u16,
    /// Its name in answers.
    #[arg(long)]
    name: String,
    /// The store, as NAME:PORT.
    #[arg(long)]
    store: String,
    /// How long to wait for the store.
    #[arg(long, value_parser = duration, default_value = "800ms")]
    timeout: Duration,
}

/// Runs an API.
///
/// # Errors
/// The port can't be listened on, or the store is not NAME:PORT.
pub async fn run(args: Args) -> Result<()> {
    let store = Upstream::new(&args.store).map_err(Error::mistake)?;
    let api = Arc::new(Api {
        name: args.name,
        store,
        timeout: args.timeout,
        orders: AtomicU64::new(0),
        closed: AtomicBool::new(false),
    });
    serve(args.listen, move |ask| Arc::clone(&api).answer(ask)).await
}

struct Api {
    name: String,
    store: Upstream,
    timeout: Duration,
    orders: AtomicU64,
    /// In maintenance: carts and checkouts are refused.
    closed: AtomicBool,
}

impl Api {
    async fn answer(self: Arc<Self>, ask: Ask) -> Response<Full<Bytes>> {
        match (&ask.head.method, ask.head.uri.path()) {
            (_, "/health") => json(StatusCode::OK, &json!({ "ok": true })),
            (_, "/ready") => match self.ask_store(&Head::get("/health"), Bytes::new()).await {
                Ok(_) => json(StatusCode::OK, &json!({ "ok": true })),
                Err(failure) => unavailable(failure),
            },
            (&Method::POST, "/maintenance/on" | "/maintenance/off") => {
                self.closed.store(ask.head.uri.path().ends_with("on"), Ordering::Relaxed);
                text(StatusCode::OK, "noted\n")
            }
            (_, "/cart" | "/checkout") if self.closed.load(Ordering::Relaxed) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "in maintenance\n")
            }
            (&Method::GET | &Method::HEAD, "/cart") => self.cart().await,
            (&Method::POST, "/checkout") => self.check_out(ask.body).await,
            (_, "/cart" | "/checkout") => text(StatusCode::METHOD_NOT_ALLOWED, "GET /cart, POST /checkout\n"),
            _ => text(
                StatusCode::NOT_FOUND,
                "there are /cart, /checkout, /health and /maintenance/on and /off\n",
            ),
        }
    }

    async fn cart(&self) -> Response<Full<Bytes>> {
        match self.ask_store(&Head::get("/values/cart"), Bytes::new()).await {
            Ok(found) => {
                let items = String::from_utf8_lossy(&found.body).into_owned();
                let items = if found.status == StatusCode::OK { json!([items]) } else { json!([]) };
                json(StatusCode::OK, &json!({ "items": items, "by": self.name }))
            }
            Err(failure) => unavailable(failure),
        }
    }

    async fn check_out(&self, order: Bytes) -> Response<Full<Bytes>> {
        let number = self.orders.fetch_add(1, Ordering::Relaxed);
        let key = format!("/values/order-{}-{}", self.name, number % ORDERS);
        let Ok(uri) = key.parse::<Uri>() else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "this API's name does not fit into a path\n");
        };
        let content_type = Some(HeaderValue::from_static("application/json"));
        match self.ask_store(&Head { method: Method::PUT, uri, content_type }, order).await {
            Ok(_) => json(StatusCode::OK, &json!({ "order": number, "by": self.name })),
            Err(failure) => unavailable(failure),
        }
    }

    async fn ask_store(&self, head: &Head, body: Bytes) -> Result<Answer, Failure> {
        let asked = tokio::time::timeout(self.timeout, self.store.ask(head, body)).await;
        let answer = asked.unwrap_or(Err(Failure::TimedOut))?;
        if answer.status.is_server_error() { Err(Failure::Broken) } else { Ok(answer) }
    }
}

fn unavailable(failure: Failure) -> Response<Full<Bytes>> {
    match failure {
        Failure::TimedOut => text(StatusCode::GATEWAY_TIMEOUT, "the store did not answer in time\n"),
        _ => text(StatusCode::SERVICE_UNAVAILABLE, "the store is away\n"),
    }
}
