//! The gateway: a reverse proxy over replicas with the defences that resilience experiments are about.
//!
//! Timeout per try, retries elsewhere, hedging after a delay, ejection of outliers: each can be left out,
//! so that the same fault can be shown held and not held. A hedge's loser is not cut off but runs to its
//! own end: its connection stays usable and its failure counts against its replica.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::HeaderValue;
use hyper::{Response, StatusCode};
use serde_json::json;
use tokio::sync::mpsc;

use super::balance::{Balancer, Ended, Rules};
use super::upstream::{Answer, Failure, Head, Upstream};
use super::{Ask, PORT, answer, duration, json, serve, text};
use crate::error::{Error, Result};
use crate::spec::Balance;

/// How long a replica may take to say that it is well.
const HEALTH_LIMIT: Duration = Duration::from_millis(250);

/// What a gateway is told.
#[derive(clap::Args)]
pub struct Args {
    /// The port to listen on.
    #[arg(long, default_value_t = PORT)]
    listen: u16,
    /// A replica, as NAME:PORT; repeat for each.
    #[arg(long = "upstream", required = true)]
    upstreams: Vec<String>,
    /// How long to wait for one answer.
    #[arg(long, value_parser = duration, default_value = "1s")]
    timeout: Duration,
    /// How often to ask again, elsewhere, after a failure.
    #[arg(long, default_value_t = 0)]
    retries: u32,
    /// Ask a second replica after this long and take the first answer.
    #[arg(long, value_parser = duration)]
    hedge: Option<Duration>,
    /// Failures in a row after which a replica is left out.
    #[arg(long)]
    eject_after: Option<u32>,
    /// How long it is left out.
    #[arg(long, value_parser = duration, default_value = "5s")]
    eject_for: Duration,
    /// `round_robin` or `least_busy`.
    #[arg(long, default_value = "round_robin", value_parser = balance)]
    balance: Balance,
}

fn balance(text: &str) -> Result<Balance, String> {
    serde_json::from_value(text.into()).map_err(|_| "write `round_robin` or `least_busy`".into())
}

/// Runs a gateway.
///
/// # Errors
/// The port can't be listened on, or an upstream is not NAME:PORT.
pub async fn run(args: Args) -> Result<()> {
    let rules = Rules { balance: args.balance, eject_after: args.eject_after, eject_for: args.eject_for };
    let replicas =
        args.upstreams.iter().map(|authority| Upstream::new(authority)).collect::<Result<Vec<_>, _>>();
    let replicas = replicas
        .map_err(Error::mistake)?
        .into_iter()
        .map(|upstream| Replica { upstream, counts: Counts::default() });
    let gateway = Arc::new(Gateway {
        balancer: Mutex::new(Balancer::new(args.upstreams.len(), rules)),
        replicas: replicas.collect(),
        timeout: args.timeout,
        retries: args.retries,
        hedge: args.hedge,
        counts: Counts::default(),
    });
    serve(args.listen, move |ask| Arc::clone(&gateway).answer(ask)).await
}

struct Gateway {
    replicas: Vec<Replica>,
    balancer: Mutex<Balancer>,
    timeout: Duration,
    retries: u32,
    hedge: Option<Duration>,
    counts: Counts,
}

struct Replica {
    upstream: Upstream,
    counts: Counts,
}

/// Totals since the start, of the gateway or of one replica.
#[derive(Default)]
struct Counts {
    asked: AtomicU64,
    answered: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
    retried: AtomicU64,
    hedged: AtomicU64,
    hedges_won: AtomicU64,
}

/// One try's end: the replica's index and what came of it.
type Outcome = (usize, Result<Answer, Failure>);

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Gateway {
    async fn answer(self: Arc<Self>, ask: Ask) -> Response<Full<Bytes>> {
        match ask.head.uri.path() {
            "/health" => self.health("/health", Quorum::Any).await,
            "/ready" => self.health("/ready", Quorum::All).await,
            "/stats" => json(StatusCode::OK, &self.stats()),
            _ => self.forward(ask).await,
        }
    }

    /// Forwards a request: tries, retries and hedges until one is answered or none is left.
    async fn forward(self: Arc<Self>, ask: Ask) -> Response<Full<Bytes>> {
        count(&self.counts.asked);
        let ask = Arc::new(ask);
        let (sender, mut outcomes) = mpsc::channel(1);
        let mut tried = Vec::with_capacity(2);
        let mut retries_left = self.retries;
        let mut hedge = None;
        let mut last = Err(Failure::Unreachable);
        let mut hedge_timer = std::pin::pin!(tokio::time::sleep(self.hedge.unwrap_or_default()));
        let mut may_hedge = self.hedge.is_some();
        let Some(first) = self.balancer().pick(&tried, Instant::now()) else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "no replicas\n");
        };
        self.start_try(first, &ask, &sender, &mut tried);
        let mut under_way = 1;
        while under_way > 0 {
            tokio::select! {
                Some((index, outcome)) = outcomes.recv() => {
                    under_way -= 1;
                    match outcome {
                        Ok(answer) if !answer.status.is_server_error() => {
                            count(&self.counts.answered);
                            if hedge == Some(index) {
                                count(&self.counts.hedges_won);
                            }
                            return self.respond(index, answer);
                        }
                        other => last = other.map(|answer| (index, answer)),
                    }
                    if retries_left > 0 && let Some(next) = self.balancer().pick(&tried, Instant::now()) {
                        retries_left -= 1;
                        count(&self.counts.retried);
                        self.start_try(next, &ask, &sender, &mut tried);
                        under_way += 1;
                    }
                }
                () = &mut hedge_timer, if may_hedge => {
                    may_hedge = false;
                    if let Some(other) = self.balancer().pick_other(&tried, Instant::now()) {
                        count(&self.counts.hedged);
                        hedge = Some(other);
                        self.start_try(other, &ask, &sender, &mut tried);
                        under_way += 1;
                    }
                }
            }
        }
        count(&self.counts.failed);
        match last {
            Ok((index, answer)) => self.respond(index, answer),
            Err(Failure::TimedOut) => text(StatusCode::GATEWAY_TIMEOUT, "no answer in time\n"),
            Err(_) => text(StatusCode::BAD_GATEWAY, "no answer\n"),
        }
    }

    /// Asks replica `index` in a task of its own, which outlives a request that was answered elsewhere.
    fn start_try(
        self: &Arc<Self>,
        index: usize,
        ask: &Arc<Ask>,
        sender: &mpsc::Sender<Outcome>,
        tried: &mut Vec<usize>,
    ) {
        tried.push(index);
        let (gateway, ask, sender) = (Arc::clone(self), Arc::clone(ask), sender.clone());
        tokio::spawn(async move {
            let outcome = gateway.ask_replica(index, &ask).await;
            // Nobody waits any more if another was first.
            let _ = sender.send((index, outcome)).await;
        });
    }

    async fn ask_replica(&self, index: usize, ask: &Ask) -> Result<Answer, Failure> {
        let replica = &self.replicas[index];
        count(&replica.counts.asked);
        let asked = replica.upstream.ask(&ask.head, ask.body.clone());
        let outcome = tokio::time::timeout(self.timeout, asked).await.unwrap_or(Err(Failure::TimedOut));
        let well = match &outcome {
            Ok(answer) if !answer.status.is_server_error() => Ended::Well,
            _ => Ended::Badly,
        };
        self.balancer().ended(index, well, Instant::now());
        count(match (&outcome, well) {
            (_, Ended::Well) => &replica.counts.answered,
            (Err(Failure::TimedOut), _) => &replica.counts.timed_out,
            _ => &replica.counts.failed,
        });
        outcome
    }

    fn respond(&self, index: usize, from: Answer) -> Response<Full<Bytes>> {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        let mut response = answer(from.status, from.content_type.unwrap_or(plain), from.body);
        if let Ok(name) = HeaderValue::from_str(self.replicas[index].upstream.name()) {
            response.headers_mut().insert("x-served-by", name);
        }
        response
    }

    /// Asks every replica how it is, beside the balancing.
    async fn health(&self, path: &'static str, quorum: Quorum) -> Response<Full<Bytes>> {
        let head = Head::get(path);
        let asked = self.replicas.iter().map(|replica| async {
            let answer = tokio::time::timeout(HEALTH_LIMIT, replica.upstream.ask(&head, Bytes::new())).await;
            let well = matches!(answer, Ok(Ok(answer)) if answer.status.is_success());
            (replica.upstream.name().to_owned(), well)
        });
        let replicas = futures_util::future::join_all(asked).await;
        let well = match quorum {
            Quorum::Any => replicas.iter().any(|(_, well)| *well),
            Quorum::All => replicas.iter().all(|(_, well)| *well),
        };
        let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let replicas: serde_json::Map<_, _> =
            replicas.into_iter().map(|(name, well)| (name, well.into())).collect();
        json(status, &json!({ "ok": well, "replicas": replicas }))
    }

    fn stats(&self) -> serde_json::Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let now = Instant::now();
        let standings = self.balancer().standings().to_vec();
        let replicas = self.replicas.iter().zip(standings).map(|(replica, standing)| {
            let stats = json!({
                "asked": read(&replica.counts.asked),
                "answered": read(&replica.counts.answered),
                "failed": read(&replica.counts.failed),
                "timed_out": read(&replica.counts.timed_out),
                "in_flight": standing.in_flight,
                "ejections": standing.ejections,
                "ejected": !standing.admits(now),
            });
            (replica.upstream.name().to_owned(), stats)
        });
        let replicas: serde_json::Map<_, _> = replicas.collect();
        json!({
            "asked": read(&self.counts.asked),
            "answered": read(&self.counts.answered),
            "failed": read(&self.counts.failed),
            "retried": read(&self.counts.retried),
            "hedged": read(&self.counts.hedged),
            "hedges_won": read(&self.counts.hedges_won),
            "replicas": replicas,
        })
    }

    fn balancer(&self) -> MutexGuard<'_, Balancer> {
        self.balancer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many replicas must be well.
#[derive(Clone, Copy)]
enum Quorum {
    /// The service can answer.
    Any,
    /// The lab is complete.
    All,
}
