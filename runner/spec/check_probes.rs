//! What probes must not leave out or contradict: what is asked of what, when, and how often.
//!
//! A part of `check.rs`, which calls it. Start at `probes`, and at `probe` for one of them.

use super::check::Checker;
use super::decode::{Located, Mistakes};
use super::url::Url;
use super::{
    Asking, Auth, DockerProbe, ExecProbe, HttpProbe, LogsProbe, Match, NoData, Probe, TcpProbe, Tls, Wanted,
    check_exchange, check_requests, check_transport, unnamed_probes,
};
use crate::error::Span;
use crate::units::Duration;

/// The shortest time between two asks of a probe: a probe must not be a load.
pub const MIN_PROBE_EVERY: Duration = Duration::from_ms(50);

/// The longest that a probe may take from being due to its answer, retries included: a run waits for those that
/// are asked before and after.
pub const MAX_PROBE_TAKES: Duration = Duration::from_s(600);

/// The most named probes of an experiment: each is a task of its own beside the load.
pub const MAX_PROBES: usize = 100;

/// Where a probe stands, which decides what may be said of it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Place {
    SteadyState,
    Guard,
    Named,
}

impl Checker<'_> {
    /// Every named probe, and that no two others are taken for one.
    pub(super) fn probes(&mut self) {
        let experiment = self.experiment;
        let named = &experiment.probes.0;
        if let Some((name, _)) = named.get(MAX_PROBES) {
            let message = format!("{} probes; an experiment has at most {MAX_PROBES}", named.len());
            return self.add(name.span, message, "split it into several experiments");
        }
        for (_, probe) in named {
            self.probe(probe, Place::Named);
        }
        let unnamed: Vec<&Probe> = unnamed_probes(&experiment.steady_state, &experiment.abort).collect();
        for (index, probe) in unnamed.iter().enumerate() {
            let text = probe.to_string();
            // Its text is all that tells one without a name from another.
            let differs = |other: &&&Probe| other.to_string() == text && !other.same_as(probe);
            if unnamed[..index].iter().any(|other| differs(&other)) {
                let message = format!("`{text}` is asked in two ways, and nothing tells their answers apart");
                let hint = "write it the same way in both places, or as one probe that expects all of it";
                self.add(probe.span(), message, hint);
            }
        }
    }

    /// One probe, wherever it stands.
    pub(super) fn probe(&mut self, probe: &Probe, place: Place) {
        self.asking(probe, place);
        if let Some(target) = probe.target() {
            self.known(target, target.span, "target", &self.names.targets);
        }
        match probe {
            Probe::Http(http) => self.http_probe(http),
            Probe::Tcp(tcp) => self.tcp_probe(tcp),
            Probe::Exec(exec) => exec_probe(exec, self.mistakes),
            Probe::Docker(docker) => docker_probe(docker, self.mistakes),
            Probe::Logs(LogsProbe { pattern, .. }) => {
                check_exchange::regular(pattern, pattern.span, self.mistakes);
            }
            Probe::Prometheus(prometheus) => {
                self.prometheus(&prometheus.url, prometheus.auth.as_ref(), prometheus.tls.as_ref());
                self.promql(&prometheus.query);
            }
            Probe::Sql(sql) => self.sql_probe(sql),
            Probe::Redis(redis) => self.redis_probe(redis),
        }
    }

    /// A Prometheus server and how it is asked.
    pub(super) fn prometheus(
        &mut self,
        url: &Located<String>,
        auth: Option<&Auth>,
        tls: Option<&Located<Tls>>,
    ) {
        check_requests::url(self.experiment, url, self.mistakes);
        if let Some(at) = url.find('?') {
            let message = format!("`{}` can't come before `/api/v1`", &url.value[at..]);
            self.add(url.span, message, "leave it out");
        }
        self.only_over_tls(url, "https://", tls);
        if let Some(auth) = auth {
            self.secret(auth.secret(), url.span);
        }
    }

    /// What proves who asks at `span`.
    pub(super) fn secret(&mut self, secret: &str, span: Span) {
        if secret.is_empty() || secret.chars().any(char::is_control) {
            // Never quoted: it is a secret.
            let hint = "is the variable that it comes from set?";
            self.add(span, "what proves who asks is empty or holds a control character", hint);
        }
    }

    /// A query in Prometheus's own language, which nobody but Prometheus reads.
    pub(super) fn promql(&mut self, query: &Located<String>) {
        if query.trim().is_empty() {
            self.add(query.span, "the query is empty", "write PromQL for one value, such as `sum(up)`");
        }
    }

    /// `tls` says something only of URLs with this scheme.
    pub(super) fn only_over_tls(&mut self, url: &Located<String>, scheme: &str, tls: Option<&Located<Tls>>) {
        let Some(tls) = tls else { return };
        check_transport::tls(tls, self.mistakes);
        if !url.value.starts_with(scheme) {
            let message = format!("`tls` says how `{scheme}` is spoken, and this URL is none");
            self.add(tls.span, message, format!("write `{scheme}`, or leave it out"));
        }
    }

    fn asking(&mut self, probe: &Probe, place: Place) {
        let Asking { when, during, every, timeout, retries, retry_after, allowed_failures, no_data, .. } =
            probe.asking();
        self.positive("timeout", timeout, "2s");
        if every.value < MIN_PROBE_EVERY {
            let message = format!("`every` must be at least {MIN_PROBE_EVERY}, got `{}`", every.value);
            self.add(every.span, message, "a probe asks now and then; for more, write a load");
        }
        if probe.asking().longest() > MAX_PROBE_TAKES {
            let given = [retries.span, timeout.span, retry_after.span, probe.asking().delay.span];
            let span = given.into_iter().find(|span| *span != Span::default()).unwrap_or(probe.span());
            let message = format!(
                "with its delay and retries this probe may take {}, and at most {MAX_PROBE_TAKES} are waited for",
                probe.asking().longest()
            );
            self.add(span, message, "lower `retries`, `retry_after`, `timeout` or `delay`");
        }
        if retry_after.span != Span::default() && retries.value == 0 {
            self.add(retry_after.span, "`retry_after` without `retries` does nothing", "add `retries: 3`");
        }
        if place != Place::Named {
            let when = when.as_ref().map(|when| ("when", when.span));
            let during = during.as_ref().map(|during| ("during", during.span));
            let allowed = Some(("allowed_failures", allowed_failures.span));
            for (field, span) in [when, during, allowed].into_iter().flatten() {
                if span != Span::default() {
                    let message = format!("`{field}` is for probes with a name: this one is asked all along");
                    self.add(span, message, "leave it out, or write the probe under `probes`");
                }
            }
            if no_data.value == NoData::Ignore {
                let message = "a probe that nobody knows the answer of decides nothing here";
                self.add(no_data.span, message, "write `no_data: fails`, or leave it out");
            }
            return;
        }
        if let (Some(when), Some(_)) = (when, during) {
            self.add(when.span, "a probe has `when` or `during`, not both", "keep one of them");
        }
        if let Some(during) = during {
            self.known(during, during.span, "phase", &self.names.phases);
        }
        if !probe.asking().is_repeated() {
            for (field, span) in [("every", every.span), ("allowed_failures", allowed_failures.span)] {
                if span != Span::default() {
                    let message = format!("`{field}` is for probes that are asked again and again");
                    let hint = "write `when: continuous` or `during: PHASE`; `retries` asks once more";
                    self.add(span, message, hint);
                }
            }
        }
    }

    fn http_probe(&mut self, probe: &HttpProbe) {
        let HttpProbe { get, headers, expect, within, tls, asking } = probe;
        if get.contains("{{") {
            let message = "a probe asks the same each time, without templates";
            self.add(get.span, message, "write it as it is");
        } else {
            check_requests::url(self.experiment, get, self.mistakes);
        }
        self.only_over_tls(get, "https://", tls.as_ref());
        check_exchange::expect(expect, get.span, self.mistakes);
        check_requests::headers(headers, get.span, self.mistakes);
        if let Some(within) = within {
            self.positive("within", within, "300ms");
            if within.value > asking.timeout.value {
                let message = format!(
                    "`within: {}` can't be exceeded: the probe waits {} for its answer",
                    within.value, asking.timeout.value
                );
                self.add(within.span, message, "lower `within`, or raise `timeout`");
            }
        }
    }

    fn tcp_probe(&mut self, probe: &TcpProbe) {
        let TcpProbe { connect, bytes, .. } = probe;
        self.address(connect);
        if let Some(bytes) = bytes.as_ref().filter(|bytes| bytes.is_empty()) {
            self.add(bytes.span, "every answer contains the empty text", "write what must come back");
        }
    }

    /// `HOST:PORT`, where the host may be a lab's service.
    fn address(&mut self, address: &Located<String>) {
        match address_url(address) {
            Err(hint) => self.add(address.span, format!("`{}` is not an address", address.value), hint),
            Ok(url) => check_requests::lab_service(self.experiment, address, &url, self.mistakes),
        }
    }

    /// True if a probe that is asked while this phase lasts, or after it, says what became of the system.
    pub(super) fn probed(&self, phase: &str) -> bool {
        self.experiment.probes.iter().any(|(_, probe)| match &probe.asking().during {
            Some(during) => during.value == phase,
            None => probe.asking().when() != super::When::Before,
        })
    }
}

/// `HOST:PORT` as the URL of that host and port; the error says what to write.
pub fn address_url(address: &str) -> Result<Url, String> {
    const FORM: &str = "write `HOST:PORT`";
    match format!("http://{address}").parse::<Url>() {
        Ok(url) if url.port.is_some() && url.authority() == address => Ok(url),
        Ok(_) => Err(FORM.to_owned()),
        Err(why) => Err(format!("{FORM}; {why}")),
    }
}

fn exec_probe(probe: &ExecProbe, mistakes: &mut Mistakes) {
    let ExecProbe { run, on, user, output, .. } = probe;
    if run.first().is_none_or(String::is_empty) {
        mistakes.add(run.span, "`run` names no program", "write `[PROGRAM, ARGUMENT, …]`");
    }
    if run.iter().any(|word| word.contains('\0')) {
        let hint = "leave it out: no program can take it";
        mistakes.add(run.span, "an argument has a zero byte in it", hint);
    }
    if let (Some(user), None) = (user, on) {
        let hint = "name a target with `on`, or leave it out: on this machine commands run as the user who runs `chaos`";
        mistakes.add(run.span, format!("`user: {user}` is of commands in a container"), hint);
    }
    if let Some(Located { value: Wanted::Text(Match::Regex(text)), span }) = output {
        check_exchange::regular(text, *span, mistakes);
    }
}

fn docker_probe(probe: &DockerProbe, mistakes: &mut Mistakes) {
    use super::ContainerStatus::{Paused, Running};
    if let (Some(state), Some(health)) = (&probe.state, &probe.health)
        && !matches!(state.value, Running | Paused)
    {
        let message = format!("a container that is {} has no health to speak of", state.value.word());
        mistakes.add(health.span, message, "keep `state` or `health`");
    }
}

impl Probe {
    /// True if it asks the same in the same way, wherever it was written.
    pub fn same_as(&self, other: &Self) -> bool {
        // Spans are no part of what is saved; secrets are, but for their text.
        let text = |probe: &Self| serde_json::to_string(probe).unwrap_or_default();
        text(self) == text(other) && self.secrets() == other.secrets()
    }
}
