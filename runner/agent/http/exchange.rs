//! What becomes of a request and of its answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::RngExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::body::{self, Body};
use super::carry::is_upgrade;
use crate::agent::account::Account;
use crate::agent::service::Stopping;
use crate::agent::task::http::{Edit, Http};

/// Decides about requests and keeps account of what was done.
#[derive(Debug)]
pub struct Exchanger {
    rule: Http,
    request: Headers,
    response: Headers,
    names: Vec<HeaderName>,
    chance: Mutex<ChaCha8Rng>,
    /// What was done so far.
    pub account: Arc<Account>,
}

/// Changes to headers, read.
#[derive(Debug, Default)]
struct Headers {
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

/// The target's server broke off, or could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the server broke off")]
pub struct ServerBroke;

impl Exchanger {
    /// One that goes by `rule`.
    ///
    /// # Errors
    /// A header or status in it is none.
    pub fn new(rule: &Http) -> Result<Self, String> {
        if let Some(abort) = &rule.abort {
            StatusCode::from_u16(abort.status).map_err(|_| format!("{} is no HTTP status", abort.status))?;
        }
        Ok(Self {
            request: Headers::read(&rule.request)?,
            response: Headers::read(&rule.response)?,
            names: rule.headers.iter().map(|(name, _)| header_name(name)).collect::<Result<_, _>>()?,
            chance: Mutex::new(ChaCha8Rng::seed_from_u64(rule.seed)),
            account: Arc::default(),
            rule: rule.clone(),
        })
    }

    /// The port of the target's server.
    pub const fn port(&self) -> u16 {
        self.rule.port
    }

    /// The answer to a request, which is passed to the server unless it is to be aborted. Delays end when the
    /// proxy stops.
    ///
    /// # Errors
    /// The server broke off before it answered.
    pub async fn exchange(
        &self,
        mut request: Request<Incoming>,
        server: &mut SendRequest<Incoming>,
        mut stopping: Stopping,
    ) -> Result<Response<Body>, ServerBroke> {
        self.account.count("requests");
        if !self.is_chosen(&request) {
            return self.pass(request, server).await.map(|response| response.map(body::whole));
        }
        let delay = Duration::from_nanos(self.rule.delay_ns);
        if !delay.is_zero() {
            let began = Instant::now();
            tokio::select! {
                () = tokio::time::sleep(delay) => {
                    self.account.count_delay("delayed_requests", began.elapsed());
                }
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        }
        // What was held when the fault ended goes on as it is.
        if *stopping.borrow() {
            return self.pass(request, server).await.map(|response| response.map(body::whole));
        }
        let mut altered = !delay.is_zero();
        if let Some(abort) = &self.rule.abort {
            self.account.count("aborted_requests");
            self.account.count("altered_requests");
            return Ok(aborted(abort.status, &abort.body));
        }
        if self.request.apply(request.headers_mut()) {
            self.account.count("changed_requests");
            altered = true;
        }
        let has_body = *request.method() != Method::HEAD;
        let response = self.pass(request, server).await?;
        Ok(self.alter(response, has_body, altered, stopping))
    }

    fn is_chosen(&self, request: &Request<Incoming>) -> bool {
        let rule = &self.rule;
        let method =
            rule.methods.is_empty() || rule.methods.iter().any(|one| request.method() == one.as_str());
        let path = request.uri().path();
        let path = rule.paths.is_empty() || rule.paths.iter().any(|pattern| pattern.matches(path));
        let mut headers = self.names.iter().zip(&rule.headers);
        let headers = headers.all(|(name, (_, pattern))| {
            let mut values = request.headers().get_all(name).iter();
            values.any(|value| pattern.matches(&String::from_utf8_lossy(value.as_bytes())))
        });
        if !(method && path && headers) {
            return false;
        }
        self.account.count("matched_requests");
        self.chance.lock().unwrap_or_else(PoisonError::into_inner).random_bool(rule.share)
    }

    /// Has the server answer; joins the two ends where both agree to speak something else from now on.
    async fn pass(
        &self,
        mut request: Request<Incoming>,
        server: &mut SendRequest<Incoming>,
    ) -> Result<Response<Incoming>, ServerBroke> {
        let connects = *request.method() == Method::CONNECT;
        let upgrade =
            (connects || request.headers().contains_key(UPGRADE)).then(|| hyper::upgrade::on(&mut request));
        server.ready().await.map_err(|_| ServerBroke)?;
        let mut response = server.send_request(request).await.map_err(|_| ServerBroke)?;
        let agreed = is_upgrade(response.status(), connects);
        if let Some(client) = upgrade.filter(|_| agreed) {
            self.account.count("upgraded_connections_passed");
            let server = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let Ok((client, server)) = tokio::try_join!(client, server) {
                    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                    // Either may end it as it likes.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
        Ok(response)
    }

    fn alter(
        &self,
        response: Response<Incoming>,
        may_have_body: bool,
        mut altered: bool,
        stopping: Stopping,
    ) -> Response<Body> {
        let (mut head, incoming) = response.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Response::from_parts(head, body::whole(incoming));
        }
        if self.response.apply(&mut head.headers) {
            self.account.count("changed_responses");
            altered = true;
        }
        let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        let has_body = may_have_body && !bodiless.contains(&head.status);
        let mut body = match self.rule.body.as_ref().filter(|_| has_body) {
            Some(text) => {
                // The connection to the server can only be used again when what it says has been heard out.
                tokio::spawn(body::discard(incoming));
                for name in [CONTENT_ENCODING, TRANSFER_ENCODING, TRAILER] {
                    head.headers.remove(name);
                }
                head.headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
                self.account.count("replaced_bodies");
                altered = true;
                body::of(text.clone())
            }
            None => body::whole(incoming),
        };
        if let Some(bytes_per_s) = self.rule.drip_bytes_per_s.filter(|_| has_body) {
            self.account.count("slowed_bodies");
            altered = true;
            body = body::dripping(body, bytes_per_s, stopping);
        }
        if altered {
            self.account.count("altered_requests");
        }
        if let Some(bytes) = self.rule.truncate_bytes.filter(|_| has_body) {
            let account = Arc::clone(&self.account);
            body = body::truncated(body, bytes, move || {
                account.count("truncated_bodies");
                if !altered {
                    account.count("altered_requests");
                }
            });
        }
        Response::from_parts(head, body)
    }
}

impl Headers {
    fn read(edit: &Edit) -> Result<Self, String> {
        let value = |text: &String| {
            HeaderValue::from_str(text).map_err(|_| format!("`{text}` can't be the value of a header"))
        };
        let set = edit.set.iter().map(|(name, text)| Ok((header_name(name)?, value(text)?)));
        Ok(Self {
            set: set.collect::<Result<_, String>>()?,
            remove: edit.remove.iter().map(|name| header_name(name)).collect::<Result<_, _>>()?,
        })
    }

    /// True if that changed something.
    fn apply(&self, headers: &mut HeaderMap) -> bool {
        let mut changed = false;
        for name in &self.remove {
            changed |= headers.remove(name).is_some();
        }
        for (name, value) in &self.set {
            headers.insert(name.clone(), value.clone());
            changed = true;
        }
        changed
    }
}

fn header_name(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| format!("`{text}` can't be the name of a header"))
}

fn aborted(status: u16, text: &str) -> Response<Body> {
    let mut response = Response::new(body::of(text.to_owned()));
    // Both were looked at when this was made.
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
