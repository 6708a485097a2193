//! The experiment language's types: what a file may say, with the docs a user reads.
//!
//! Field docs here are user documentation: `chaos schema` and the language reference are made from them.
//! Names of targets, loads and SLOs are resolved by `check.rs`, not here.

use serde::{Deserialize, Serialize};

use super::decode::{Located, Named};
use super::expr::Check;
use super::k6::Threshold;
use super::{
    Auth, Connections, Expect, Extract, FindRate, Headers, Http, Lab, OnRestart, PhaseEnd, Pick, Probe,
    Shape, Slo, TargetLimit, Tls,
};
use crate::fault::Fault;
use crate::units::{Duration, Ratio};
use crate::{choice, record, tagged};

record! {
    /// A resilience experiment: a system, the load on it, what is broken when, and what must hold.
    pub struct Experiment ("experiment") {
        /// What is claimed, in one line: "checkout survives one slow replica".
        pub experiment: Located<String>,
        /// Why it is worth knowing; printed in reports.
        pub why: Option<String>,
        /// Seed of every random choice: targets, arrivals, jitter, templates.
        pub seed: u64 = 1,
        /// A system to start for the run and take down after it. Left out: whatever runs already.
        pub lab: Option<Located<Lab>>,
        /// Containers that faults aim at, by a name of your choosing.
        pub targets: Named<Target>,
        /// Streams of requests that run all along, by name.
        pub load: Named<Load>,
        /// Service-level objectives, over a load or beside it, by name.
        pub slos: Named<Slo>,
        /// What holds while all is well. Must hold before anything is broken, and again at the end.
        pub steady_state: Vec<Steady>,
        /// What happens, in order, by name.
        pub phases: Named<Phase>,
        /// Questions put to the system beside the load, each with a name, and judged: asked before and after what is
        /// broken, all along, or during a phase.
        pub probes: Named<Probe>,
        /// Guards: when one of these becomes true, everything is healed and the run stops.
        pub abort: Vec<Guard>,
        /// What must hold in each phase, by the phase's name; under `run`, in all of them together. A phase with faults and no entry here is
        /// judged by the steady state itself.
        pub expect: Named<Vec<Located<Check>>>,
        /// Thresholds as k6 has them, by metric and tags: `http_req_duration: ['p(95)<200']`. They are judged over
        /// the whole run, as `expect` judges under `run`.
        pub thresholds: Named<Vec<Threshold>>,
        /// Bounds on the damage; exceeding one is refused when planning.
        pub limits: Limits = Limits::default(),
    }
}

record! {
    /// Which containers. Several selectors narrow each other; at least one is needed.
    pub struct Target ("target") {
        /// The container's exact name.
        pub name: Option<String>,
        /// A regular expression that the whole container name matches.
        pub re: Option<Located<String>>,
        /// A label, as `key` or `key=value`.
        pub label: Option<String>,
        /// The compose or lab service.
        pub service: Option<String>,
        /// The image, with or without its tag.
        pub image: Option<String>,
        /// A network the container is attached to.
        pub network: Option<String>,
        /// How many of the matching containers: `all`, a number, or a percentage (rounded up). Drawn by
        /// the experiment's seed.
        pub pick: Located<Pick> = Located { value: Pick::All, span: crate::error::Span::default() },
    }
}

record! {
    /// A stream of HTTP requests. With `rate` an open model: arrivals do not wait for answers, as independent
    /// users don't wait for each other. With `users` a closed one, whose users wait for every answer: blind
    /// to what a stalled system does to those who would have come meanwhile.
    pub struct Load ("load") {
        /// Arrivals a second, all requests together: a rate that stays, or one of the shapes that change it.
        /// Exactly one of `rate` and `users` is needed.
        pub rate: Option<Located<Shape>>,
        /// So many users, each of whom sends the next request once the last is answered.
        pub users: Option<Located<u32>>,
        /// With `users`: how long each waits after an answer before the next request.
        pub think: Duration = Duration::ZERO,
        /// How arrivals are spaced.
        pub arrivals: Arrivals = Arrivals::Poisson,
        /// How many arrive at each instant. The rate stays the same, so that there are as many fewer instants.
        pub burst: Located<u32> = Located { value: 1, span: crate::error::Span::default() },
        /// After this long, counted from the intended instant, a request is given up as timed out.
        pub timeout: Located<Duration> = Located { value: Duration::from_s(10), span: crate::error::Span::default() },
        /// Requests under way at once; arrivals beyond it are counted as dropped, not sent later.
        pub max_in_flight: Located<u32> = Located { value: 10_000, span: crate::error::Span::default() },
        /// The version of HTTP it speaks.
        pub http: Http = Http::H1,
        /// With `http: h2`: the most requests under way at once on one connection, 100 where left out; fewer
        /// where the server allows fewer.
        pub streams: Option<Located<u32>>,
        /// How `https://` URLs are spoken to; the system's authorities are trusted where left out.
        pub tls: Option<Located<Tls>>,
        /// How many connections it opens, and how long it uses each.
        pub connections: Option<Connections>,
        /// Connect to this unix socket, wherever URLs point.
        pub unix_socket: Option<Located<String>>,
        /// Where hosts really are: `HOST:PORT` as in URLs, with the port, to `ADDRESS:PORT`.
        pub resolve: Named<Located<String>>,
        /// How many redirects (301, 302, 303, 307, 308) are followed for each arrival, 0 to 20. All of them count
        /// as one request, judged by the last answer; its latency holds the whole way. An arrival that is
        /// redirected more often, or to a host that no request of this load goes to, has failed.
        pub redirects: Located<u32> = Located { value: 0, span: crate::error::Span::default() },
        /// Headers sent with every request. Templates are filled in.
        pub headers: Headers,
        /// How requests say who they are from.
        pub auth: Option<Auth>,
        /// Ask for compressed answers (gzip, br, zstd, deflate). They are decoded only where a check looks
        /// into the body.
        pub compression: bool = false,
        /// Files with a row for each arrival that uses them, by name: `{{ users.email }}` is the column `email`
        /// of the data `users`. Rows are used in the file's order, each once, over and over.
        pub data: Named<Data>,
        /// What is sent: one drawn by weight for each arrival.
        pub requests: Located<Vec<Request>>,
    }
}

choice! {
    /// How arrivals are spaced.
    pub enum Arrivals ("arrivals") {
        /// Exponential gaps, as independent users make.
        Poisson = "poisson",
        /// Equal gaps; of a rate that changes, an arrival whenever another one is due.
        Constant = "constant",
    }
}

tagged! {
    /// A file of rows for templates, relative to the experiment. Read as it is needed, whatever its size.
    pub enum Data ("kind of data") {
        /// Comma-separated values; the first line names the columns.
        Csv(Located<String>) = "csv",
        /// A JSON object a line; `{{ users.home.city }}` is `city` in `home`.
        Jsonl(Located<String>) = "jsonl",
    }
}

record! {
    /// One kind of request, or with `flow` and `steps` several in a row. Exactly one of the methods names a
    /// request's URL (or `tcp` its address): `http://HOST[:PORT]/PATH` or `https://…`, where `SERVICE.lab` as the host means the published port of
    /// a lab's service.
    ///
    /// Templates stand in paths, headers and bodies, and are filled in anew for each arrival: `{{ uuid }}`,
    /// `{{ counter }}`, `{{ int(1, 100) }}`, `{{ choice(a, b, c) }}`, `{{ timestamp }}` (milliseconds since
    /// 1970), `{{ time }}` (RFC 3339), `{{ users.email }}` of the load's data, and what earlier steps of a
    /// flow extracted. What is filled in can't break out of its place: in a URL it is percent-encoded, in a
    /// header control characters become spaces, in `json` it is escaped.
    pub struct Request ("request") {
        /// Its name in reports; the method and path where left out.
        pub name: Option<String>,
        /// Makes this entry a flow, of this name: one visitor whose requests, `steps`, follow one another.
        pub flow: Option<Located<String>>,
        /// With `flow`: its requests in order. Each is sent once the one before was answered as expected; else
        /// the flow ends there. Cookies that answers set are sent back by later steps.
        pub steps: Vec<Request>,
        /// URL of a GET request.
        pub get: Option<Located<String>>,
        /// URL of a HEAD request.
        pub head: Option<Located<String>>,
        /// URL of a POST request.
        pub post: Option<Located<String>>,
        /// URL of a PUT request.
        pub put: Option<Located<String>>,
        /// URL of a PATCH request.
        pub patch: Option<Located<String>>,
        /// URL of a DELETE request.
        pub delete: Option<Located<String>>,
        /// Plain TCP instead of HTTP: `HOST:PORT`. All requests of a load are of one kind.
        pub tcp: Option<Located<String>>,
        /// With `tcp`: what is sent, with templates as in `body`. Left out, the server speaks first.
        pub send: Option<Located<String>>,
        /// Its share of the arrivals, relative to the other entries'.
        pub weight: Located<u32> = Located { value: 1, span: crate::error::Span::default() },
        /// In a step: how long to wait after the answer before.
        pub think: Duration = Duration::ZERO,
        /// Headers, added to the load's. Templates are filled in.
        pub headers: Headers,
        /// How it says who it is from, instead of the load's `auth`.
        pub auth: Option<Auth>,
        /// Body as text. Templates are filled in.
        pub body: Option<Located<String>>,
        /// Body as JSON, with templates in its texts; sets the content type.
        pub json: Option<Located<serde_json::Value>>,
        /// What makes an answer good.
        pub expect: Expect = Expect::default(),
        /// In a step: values that later steps use, by name: `token: { json: $.token }` is `{{ token }}`.
        pub extract: Named<Extract>,
    }
}

/// One line of the steady state: an expression over the load, or a probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "an experiment has a handful of checks")]
pub enum Steady {
    /// `p99(latency) < 300ms over 10s`
    Check(Located<Check>),
    /// `probe: { http: { get: URL, expect: { status: 200 } } }`
    Probe(Located<ProbeEntry>),
}

/// One line of the guards: an expression over the load, a probe that fails, or containers that say they are unwell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "an experiment has a handful of guards")]
pub enum Guard {
    /// `rate(good) < 80% over 3s`
    Check(Located<Check>),
    /// `probe: { http: { get: URL } }`
    Probe(Located<ProbeGuard>),
    /// `unhealthy: one-api`
    Unhealthy(Located<HealthGuard>),
}

record! {
    /// A probe as an entry of the guards: it fires when the probe fails several times in a row.
    pub struct ProbeGuard ("probe guard") {
        /// What is asked of the system itself.
        pub probe: Probe,
        /// So many failures in a row. A probe that could not be asked has not failed.
        pub failures: Located<u32> = Located { value: 3, span: crate::error::Span::default() },
    }
}

record! {
    /// The containers' own health checks as an entry of the guards.
    pub struct HealthGuard ("health guard") {
        /// A target: it fires when one of its containers is `unhealthy`, by Docker's account.
        pub unhealthy: Located<String>,
    }
}

record! {
    /// A probe as an entry of the steady state.
    pub struct ProbeEntry ("probe entry") {
        /// What is asked of the system itself.
        pub probe: Probe,
    }
}

record! {
    /// A stretch of the run. Exactly one of `for` and `at_most` says when it ends.
    pub struct Phase ("phase") {
        /// It lasts this long.
        pub duration ("for"): Option<Located<Duration>>,
        /// It lasts at most this long, and ends earlier when `until` comes true.
        pub at_most: Option<Located<Duration>>,
        /// With `at_most`: what ends it.
        pub until: Option<Located<PhaseEnd>>,
        /// With `at_most`: searches the highest rate of a load that holds while the phase's faults last, and
        /// ends the phase when it is found.
        pub find_rate: Option<Located<FindRate>>,
        /// What is broken while it lasts; all of it is undone at its end.
        pub faults: Vec<Located<Fault>>,
        /// What becomes of its faults on a container that ends and is started anew meanwhile. One that does not
        /// come back, and that no fault ended, makes the run invalid under `reapply`.
        pub on_restart: OnRestart = OnRestart::Reapply,
    }
}

record! {
    /// Bounds on the damage (the blast radius), checked when planning and again when applying.
    pub struct Limits ("limits") {
        /// The most containers of any one service that may be hit: a number or a percentage.
        pub targets: Option<Located<TargetLimit>>,
        /// The most containers that may be hit in any one phase, all services together.
        pub containers: Option<Located<u32>>,
        /// The longest a fault may last. By then agents undo what they did, even if the runner hangs; at the earliest five
        /// seconds after the longest phase with faults should be over.
        pub fault: Option<Located<Duration>>,
        /// The most requests that all loads together may send. More than it are refused when planning where the
        /// number is known; else the run stops within two seconds of reaching it.
        pub requests: Option<Located<u64>>,
        /// The most that the run may spend of any SLO's error budget, counted by events: its bad requests against
        /// those that a whole window at the run's own rate allows. The run stops within two seconds of reaching it.
        pub error_budget: Option<Located<Ratio>>,
    }
}

#[expect(clippy::derivable_impls, reason = "`record!` derives the same for every record")]
impl Default for Limits {
    fn default() -> Self {
        Self { targets: None, containers: None, fault: None, requests: None, error_budget: None }
    }
}

impl Phase {
    /// The longest the phase can last.
    pub fn longest(&self) -> Duration {
        self.duration.as_ref().or(self.at_most.as_ref()).map_or(Duration::ZERO, |located| located.value)
    }
}

impl Load {
    /// Every kind of request that the load sends, in file order: a flow's steps stand where the flow stands.
    /// A request's index in it is its number wherever requests are counted.
    pub fn sent(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().flat_map(Request::sent)
    }
}

impl Request {
    /// The requests of this entry: itself, or a flow's steps.
    pub fn sent(&self) -> &[Self] {
        if self.flow.is_some() { &self.steps } else { std::slice::from_ref(self) }
    }

    /// Where a request over plain TCP goes, as the URL of that host and port; the error says what to write.
    pub fn tcp_url(&self) -> Option<Result<super::url::Url, String>> {
        const FORM: &str = "write `HOST:PORT`";
        let address = &self.tcp.as_ref()?.value;
        Some(match format!("http://{address}").parse::<super::url::Url>() {
            Ok(url) if url.port.is_some() && url.authority() == *address => Ok(url),
            Ok(_) => Err(FORM.to_owned()),
            Err(why) => Err(format!("{FORM}; {why}")),
        })
    }

    /// The method and URL; nothing unless exactly one was given.
    pub fn method_and_url(&self) -> Option<(&'static str, &Located<String>)> {
        let given: Vec<_> = [
            ("GET", &self.get),
            ("HEAD", &self.head),
            ("POST", &self.post),
            ("PUT", &self.put),
            ("PATCH", &self.patch),
            ("DELETE", &self.delete),
        ]
        .into_iter()
        .filter_map(|(method, url)| url.as_ref().map(|url| (method, url)))
        .collect();
        match given.as_slice() {
            [one] => Some(*one),
            _ => None,
        }
    }
}

/// The probes of a steady state and of guards, which have no names of their own.
pub fn unnamed_probes<'e>(steady: &'e [Steady], guards: &'e [Guard]) -> impl Iterator<Item = &'e Probe> {
    let steady = steady.iter().filter_map(|steady| match steady {
        Steady::Probe(entry) => Some(&entry.value.probe),
        Steady::Check(_) => None,
    });
    let guards = guards.iter().filter_map(|guard| match guard {
        Guard::Probe(guard) => Some(&guard.value.probe),
        Guard::Check(_) | Guard::Unhealthy(_) => None,
    });
    steady.chain(guards)
}

impl super::decode::Decode for Steady {
    fn decode(node: &super::node::Node, mistakes: &mut super::decode::Mistakes) -> Option<Self> {
        if matches!(node.value, super::node::Value::Map(_)) {
            Located::<ProbeEntry>::decode(node, mistakes).map(Self::Probe)
        } else {
            Located::<Check>::decode(node, mistakes).map(Self::Check)
        }
    }
}

impl super::decode::Decode for Guard {
    fn decode(node: &super::node::Node, mistakes: &mut super::decode::Mistakes) -> Option<Self> {
        match &node.value {
            super::node::Value::Map(entries) if entries.iter().any(|(key, _)| key.text == "unhealthy") => {
                Located::<HealthGuard>::decode(node, mistakes).map(Self::Unhealthy)
            }
            super::node::Value::Map(_) => Located::<ProbeGuard>::decode(node, mistakes).map(Self::Probe),
            _ => Located::<Check>::decode(node, mistakes).map(Self::Check),
        }
    }
}

impl schemars::JsonSchema for Guard {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Guard".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let check = generator.subschema_for::<Check>();
        let probe = generator.subschema_for::<ProbeGuard>();
        let health = generator.subschema_for::<HealthGuard>();
        schemars::json_schema!({ "anyOf": [check, probe, health], "description": "One line of the guards: an expression over the load, a probe that fails, or containers that say they are unwell." })
    }
}

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Check(check) => check.value.fmt(f),
            Self::Probe(guard) => write!(f, "{} fails {} times in a row", guard.probe, guard.failures.value),
            Self::Unhealthy(guard) => write!(f, "{} is unhealthy", guard.unhealthy.value),
        }
    }
}

impl schemars::JsonSchema for Steady {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Steady".into()
    }
    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let check = generator.subschema_for::<Check>();
        let probe = generator.subschema_for::<ProbeEntry>();
        schemars::json_schema!({ "anyOf": [check, probe], "description": "One line of the steady state: an expression over the load, or a probe." })
    }
}

impl std::fmt::Display for Steady {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Check(check) => check.value.fmt(f),
            Self::Probe(entry) => entry.value.probe.fmt(f),
        }
    }
}
