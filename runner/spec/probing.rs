//! Questions put to the system beside the load, as experiments write them: what is asked, when, how patiently, and
//! what silence means.
//!
//! One type stands wherever a probe may: in the steady state, as a guard, and under `probes` with a name. What
//! only makes sense with a name (`when`, `during`, …) is refused elsewhere by `check_probes.rs`. Asking is done in
//! `probe/`, one file a kind. Start at [`Probe`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::answer::{Expect, Match};
use super::credentials::{Auth, Headers};
use super::decode::Located;
use super::expr::Op;
use super::prometheus::PrometheusProbe;
use super::transport::Tls;
use crate::error::Span;
use crate::units::{Duration, Ratio};
use crate::{by_text, choice, record, tagged};

tagged! {
    /// A question put to the system beside the load. It is answered yes or no; one that can't be asked or answered
    /// is *no data*, which never counts as a yes.
    pub enum Probe ("probe") {
        /// One HTTP request over a connection of its own.
        Http(Box<HttpProbe>) = "http",
        /// A TCP connection, and what is said on it.
        Tcp(TcpProbe) = "tcp",
        /// A command of your own.
        Exec(ExecProbe) = "exec",
        /// What Docker says of containers.
        Docker(DockerProbe) = "docker",
        /// What containers wrote.
        Logs(LogsProbe) = "logs",
        /// What a Prometheus server says.
        Prometheus(Box<PrometheusProbe>) = "prometheus",
    }
}

record! {
    /// An HTTP request that must be answered as expected. A server that refuses, breaks off or does not answer in
    /// time is a no; a host whose name does not resolve is no data.
    pub struct HttpProbe ("http probe") {
        /// The URL; `SERVICE.lab` as the host means the published port of a lab's service.
        pub get: Located<String>,
        /// Headers to send.
        pub headers: Headers,
        /// What makes the answer good.
        pub expect: Expect = Expect::default(),
        /// The whole answer, connecting included, must be there within this.
        pub within: Option<Located<Duration>>,
        /// How an `https://` URL is spoken to; the system's authorities are trusted where left out.
        pub tls: Option<Located<Tls>>,
        ..pub asking: Asking
    }
}

record! {
    /// A TCP server that must take a connection, and answer if it is expected to.
    pub struct TcpProbe ("tcp probe") {
        /// `HOST:PORT`; `SERVICE.lab:PORT` means the published port of a lab's service.
        pub connect: Located<String>,
        /// What is sent, as it is written.
        pub send: Option<Located<String>>,
        /// What must come back, anywhere in the first 64 KiB.
        pub bytes: Option<Located<String>>,
        ..pub asking: Asking
    }
}

record! {
    /// A command that must end as expected. It is a list, the program and its arguments, which no shell reads; it is
    /// printed and saved as it is written, so that a secret belongs into the environment that it runs in. One that
    /// does not end in time has failed; one that can't be started is no data.
    pub struct ExecProbe ("exec probe") {
        /// What is run, as `[pg_isready, -q]`.
        pub run: Located<Vec<String>>,
        /// A target: it is run in each of its containers, and all must answer as expected. Left out: on this
        /// machine, which `chaos run` does only with `--allow-host-exec`.
        pub on: Option<Located<String>>,
        /// In a container: the user that it runs as; left out: the container's own.
        pub user: Option<String>,
        /// The exit code.
        pub exit: u32 = 0,
        /// What it writes to stdout and stderr, of which the first 4 KiB are looked at: a text to be equal to,
        /// `/RE/` to match somewhere, or a comparison with a number such as `< 5`.
        pub output: Option<Located<Wanted>>,
        ..pub asking: Asking
    }
}

record! {
    /// What Docker says of every container of a target. A container that is gone is none that runs.
    pub struct DockerProbe ("docker probe") {
        /// The target.
        pub on: Located<String>,
        /// Its state; `running` where nothing else is asked.
        pub state: Option<Located<ContainerStatus>>,
        /// What its health check says. A container without one is no data.
        pub health: Option<Located<HealthStatus>>,
        /// How often Docker restarted it since the run began, by its restart policy, as `== 0`.
        pub restarts: Option<Located<NumberCheck>>,
        /// `false`: the kernel has killed nothing of it for lack of memory since it was started.
        pub oom: Option<bool>,
        ..pub asking: Asking
    }
}

record! {
    /// What the containers of a target wrote to their logs, all of them together: as a named probe since the run
    /// began, or with `during` since that phase did; in the steady state and as a guard since the present phase
    /// began. A log that can't be read, or is longer than 32 MiB since then, is no data.
    pub struct LogsProbe ("logs probe") {
        /// The target.
        pub on: Located<String>,
        /// A regular expression, for one line at a time.
        pub pattern: Located<String>,
        /// How many lines it must match, as `== 0`.
        pub count: Located<NumberCheck> = Located { value: NumberCheck { op: Op::Ge, number: 1.0 }, span: Span::default() },
        ..pub asking: Asking
    }
}

record! {
    /// When a probe is asked, how patiently, and what its silence means.
    pub struct Asking ("probe") {
        /// Under `probes`: asked once before anything is broken, once after everything is healed, at both, or again
        /// and again all along; this is what it does where left out.
        pub when: Option<Located<When>>,
        /// Under `probes`, instead of `when`: asked again and again while this phase lasts, and only then.
        pub during: Option<Located<String>>,
        /// Asked again and again: how often. The next time comes no sooner than the answer to the last.
        pub every: Located<Duration> = Located { value: Duration::from_s(1), span: Span::default() },
        /// How long one answer may take.
        pub timeout: Located<Duration> = Located { value: Duration::from_s(2), span: Span::default() },
        /// So many times it is asked once more before its answer is taken for anything but a yes.
        pub retries: Located<u32> = Located { value: 0, span: Span::default() },
        /// With `retries`: how long to wait before it is asked once more.
        pub retry_after: Located<Duration> = Located { value: Duration::from_ms(500), span: Span::default() },
        /// How long to wait before it is first asked.
        pub delay: Located<Duration> = Located { value: Duration::ZERO, span: Span::default() },
        /// Under `probes`, asked again and again: so many answers, or this share of them, may be other than a yes.
        pub allowed_failures: Located<Allowed> = Located { value: Allowed::Count(0), span: Span::default() },
        /// What it means if it can't be asked or answered.
        pub no_data: Located<NoData> = Located { value: NoData::Invalid, span: Span::default() },
    }
}

choice! {
    /// When a named probe is asked.
    pub enum When ("when") {
        /// Once, just before anything is broken. A no ends the run there, as a steady state that does not hold.
        Before = "before",
        /// Once, when everything is healed and the last phase is over; the load goes on meanwhile.
        After = "after",
        /// Before and after.
        Edge = "edge",
        /// Again and again, from before the first phase to the end of the last.
        Continuous = "continuous",
    }
}

choice! {
    /// What it means that a probe can't be asked or answered.
    pub enum NoData ("no_data") {
        /// The run says nothing: it is invalid.
        Invalid = "invalid",
        /// As little as if it had not been asked; under `probes` only.
        Ignore = "ignore",
        /// The same as a no.
        Fails = "fails",
    }
}

choice! {
    /// A container's state, by Docker's word.
    pub enum ContainerStatus ("state of a container") {
        /// Its processes run.
        Running = "running",
        /// They are frozen.
        Paused = "paused",
        /// Docker is starting it again.
        Restarting = "restarting",
        /// They have ended.
        Exited = "exited",
        /// It was never started.
        Created = "created",
        /// Docker could not remove all of it.
        Dead = "dead",
    }
}

choice! {
    /// What a container's health check says.
    pub enum HealthStatus ("health of a container") {
        /// It succeeds.
        Healthy = "healthy",
        /// It failed several times in a row.
        Unhealthy = "unhealthy",
        /// It has not succeeded yet.
        Starting = "starting",
    }
}

/// How many of a probe's answers may be other than a yes. Saved and printed as written: `2`, `5%`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Allowed {
    /// So many.
    Count(u32),
    /// This share of them, rounded down.
    Share(Ratio),
}

impl Allowed {
    /// So many of `asked` answers.
    pub fn of(self, asked: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX),
            // A hair more, so that 5% of 40 is 2.
            Self::Share(share) => (share.get() * asked as f64 + 1e-9).floor() as usize,
        }
    }
}

impl FromStr for Allowed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let read = if text.ends_with('%') {
            text.parse().ok().map(Self::Share)
        } else {
            text.parse().ok().map(Self::Count)
        };
        read.ok_or_else(|| "write a number such as `2`, or a share such as `5%`".into())
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Share(share) => share.fmt(f),
        }
    }
}

impl From<Allowed> for String {
    fn from(allowed: Allowed) -> Self {
        allowed.to_string()
    }
}

by_text!(Allowed, "a number or a percentage", "How many of a probe's answers: `2`, `5%`.");

/// A comparison with a number, such as `>= 1`. Saved and printed as its text.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NumberCheck {
    /// How it is compared.
    pub op: Op,
    /// With what; finite.
    pub number: f64,
}

impl NumberCheck {
    /// True if `number` is as wanted.
    pub fn holds(self, number: f64) -> bool {
        self.op.holds(number, self.number)
    }
}

/// A comparison and what follows its sign; nothing where the text does not begin with one.
fn comparison(text: &str) -> Option<(Op, &str)> {
    const OPS: [Op; 6] = [Op::Le, Op::Ge, Op::Eq, Op::Ne, Op::Lt, Op::Gt];
    OPS.into_iter().find_map(|op| Some((op, text.strip_prefix(op.sign())?.trim())))
}

impl FromStr for NumberCheck {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let read = comparison(text.trim())
            .and_then(|(op, number)| Some(Self { op, number: number.parse().ok()? }))
            .filter(|check| check.number.is_finite());
        read.ok_or_else(|| "write a comparison with a number: `== 0`, `< 5`, `>= 0.99`".into())
    }
}

impl fmt::Display for NumberCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.op.sign(), self.number)
    }
}

impl From<NumberCheck> for String {
    fn from(check: NumberCheck) -> Self {
        check.to_string()
    }
}

by_text!(NumberCheck, "a comparison with a number", "A comparison with a number: `== 0`, `< 5`, `>= 0.99`.");

/// What an answer must be: a number that compares as wanted, a text, or what a regular expression matches. Saved and
/// printed as written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Wanted {
    /// A number, compared.
    Number(NumberCheck),
    /// A text.
    Text(Match),
}

impl FromStr for Wanted {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match comparison(text.trim()) {
            Some(_) => text.parse().map(Self::Number),
            None => text.parse().map(Self::Text),
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(check) => check.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl From<Wanted> for String {
    fn from(wanted: Wanted) -> Self {
        wanted.to_string()
    }
}

by_text!(
    Wanted,
    "a text, a /regular expression/ or a comparison",
    "A text to be equal to, `/RE/` to match somewhere, or a comparison with a number such as `< 5`."
);

impl Probe {
    /// When it is asked, how patiently, and what its silence means.
    pub const fn asking(&self) -> &Asking {
        match self {
            Self::Http(probe) => &probe.asking,
            Self::Tcp(probe) => &probe.asking,
            Self::Exec(probe) => &probe.asking,
            Self::Docker(probe) => &probe.asking,
            Self::Logs(probe) => &probe.asking,
            Self::Prometheus(probe) => &probe.asking,
        }
    }

    /// The target that it is about, if it is about one.
    pub const fn target(&self) -> Option<&Located<String>> {
        match self {
            Self::Exec(probe) => probe.on.as_ref(),
            Self::Docker(probe) => Some(&probe.on),
            Self::Logs(probe) => Some(&probe.on),
            Self::Http(_) | Self::Tcp(_) | Self::Prometheus(_) => None,
        }
    }

    /// Where what it asks stands in the text.
    pub const fn span(&self) -> Span {
        match self {
            Self::Http(probe) => probe.get.span,
            Self::Tcp(probe) => probe.connect.span,
            Self::Exec(probe) => probe.run.span,
            Self::Docker(probe) => probe.on.span,
            Self::Logs(probe) => probe.on.span,
            Self::Prometheus(probe) => probe.query.span,
        }
    }

    /// True if it runs a command on this machine.
    pub const fn is_on_host(&self) -> bool {
        matches!(self, Self::Exec(ExecProbe { on: None, .. }))
    }

    /// What lets somebody in and must never be shown.
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Http(probe) => {
                let secret = probe.headers.iter().filter(|(name, _)| Headers::is_secret(name));
                secret.map(|(_, value)| value.as_str()).collect()
            }
            Self::Prometheus(probe) => probe.auth.iter().map(Auth::secret).collect(),
            Self::Tcp(_) | Self::Exec(_) | Self::Docker(_) | Self::Logs(_) => Vec::new(),
        }
    }

    /// The files that it names, to be looked for beside the experiment.
    pub fn files_mut(&mut self) -> impl Iterator<Item = &mut Located<String>> {
        let tls = match self {
            Self::Http(probe) => probe.tls.as_mut(),
            Self::Prometheus(probe) => probe.tls.as_mut(),
            Self::Tcp(_) | Self::Exec(_) | Self::Docker(_) | Self::Logs(_) => None,
        };
        tls.into_iter().flat_map(|tls| tls.value.files_mut())
    }
}

impl Asking {
    /// When it is asked; under `probes` and without `during`.
    pub fn when(&self) -> When {
        self.when.as_ref().map_or(When::Continuous, |when| when.value)
    }

    /// True if it is asked at this one of the two moments.
    pub fn is_at(&self, moment: Moment) -> bool {
        self.during.is_none()
            && match self.when() {
                When::Edge => true,
                When::Before => moment == Moment::Before,
                When::After => moment == Moment::After,
                When::Continuous => false,
            }
    }

    /// True if it is asked again and again.
    pub fn is_repeated(&self) -> bool {
        self.during.is_some() || self.when() == When::Continuous
    }

    /// The longest that it can take from being due to its answer.
    pub fn longest(&self) -> Duration {
        let more = u64::from(self.retries.value);
        let each_ns = self.timeout.as_ns().saturating_add(self.retry_after.as_ns());
        let again = Duration::from_ns(each_ns.saturating_mul(more));
        self.delay.value + self.timeout.value + again
    }
}

/// One of the two moments at which a probe is asked once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// Just before anything is broken.
    Before,
    /// After everything is healed.
    After,
}

impl Moment {
    /// In a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What is asked, on one line and without secrets.
impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(http) => {
                write!(f, "http GET {}", http.get.value)?;
                http.within.as_ref().map_or(Ok(()), |within| write!(f, " within {}", within.value))
            }
            Self::Tcp(tcp) => {
                write!(f, "tcp {}", tcp.connect.value)?;
                if let Some(send) = &tcp.send {
                    write!(f, " asked \"{}\"", send.value.escape_debug())?;
                }
                tcp.bytes
                    .as_ref()
                    .map_or(Ok(()), |bytes| write!(f, " answers \"{}\"", bytes.value.escape_debug()))
            }
            Self::Exec(exec) => {
                let place = exec.on.as_ref().map_or("this machine", |on| on.value.as_str());
                write!(f, "exec on {place}: {}", exec.run.join(" ").escape_debug())?;
                if exec.exit != 0 {
                    write!(f, " exits {}", exec.exit)?;
                }
                exec.output.as_ref().map_or(Ok(()), |output| write!(f, " writes {}", output.value))
            }
            Self::Docker(docker) => {
                write!(f, "docker: {}", docker.on.value)?;
                let mut wanted = Vec::new();
                wanted.extend(docker.status().map(|state| format!("is {}", state.word())));
                wanted.extend(docker.health.as_ref().map(|health| format!("is {}", health.word())));
                wanted.extend(docker.restarts.as_ref().map(|check| format!("restarts {}", check.value)));
                wanted.extend(
                    docker.oom.map(|oom| {
                        if oom { "ran out of memory" } else { "never ran out of memory" }.to_owned()
                    }),
                );
                write!(f, " {}", wanted.join(", "))
            }
            Self::Logs(logs) => {
                write!(f, "logs: {} wrote /{}/ {}", logs.on.value, logs.pattern.value, logs.count.value)
            }
            Self::Prometheus(prometheus) => {
                let PrometheusProbe { url, query, value, .. } = &**prometheus;
                let query = query.value.split_whitespace().collect::<Vec<_>>().join(" ");
                write!(f, "prometheus {}: {query} {}", url.value, value.value)
            }
        }
    }
}

impl DockerProbe {
    /// The state that is asked for: `running` where nothing else is.
    pub fn status(&self) -> Option<ContainerStatus> {
        let nothing = self.health.is_none() && self.restarts.is_none() && self.oom.is_none();
        self.state.as_ref().map(|state| state.value).or(nothing.then_some(ContainerStatus::Running))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_read_as_people_write_them() {
        for (text, op, number) in
            [("== 0", Op::Eq, 0.0), (">=0.99", Op::Ge, 0.99), ("< 1e3", Op::Lt, 1e3), ("!= -2", Op::Ne, -2.0)]
        {
            let check: NumberCheck = text.parse().expect(text);
            assert_eq!((check.op, check.number), (op, number), "{text}");
            assert_eq!(check.to_string().parse(), Ok(check), "{text} prints what it parses");
        }
        for text in ["", "5", "< ", "< x", "= 1", "< NaN", "> inf"] {
            assert!(text.parse::<NumberCheck>().is_err(), "{text}");
        }
        assert_eq!("PONG".parse(), Ok(Wanted::Text(Match::Equal("PONG".into()))));
        assert_eq!("/^OK/".parse(), Ok(Wanted::Text(Match::Regex("^OK".into()))));
        assert!("< some".parse::<Wanted>().is_err(), "what looks like a comparison is one");
    }

    #[test]
    fn allowed_failures_are_counted_of_what_was_asked() {
        for (text, asked, most) in [("2", 40, 2), ("5%", 40, 2), ("5%", 39, 1), ("0%", 9, 0), ("100%", 9, 9)]
        {
            let allowed: Allowed = text.parse().expect(text);
            assert_eq!(allowed.of(asked), most, "{text} of {asked}");
            assert_eq!(allowed.to_string(), text);
        }
        assert!("-1".parse::<Allowed>().is_err() && "a few".parse::<Allowed>().is_err());
    }
}
