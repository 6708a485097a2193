//! Probes: questions put to the system beside the load, one file a kind.
//!
//! A probe answers yes, no, or that it could not be asked; the last is *no data*, never a no, unless the experiment
//! wants it so. What comes back is untrusted: it is cut short, stripped of what a terminal would obey, and rid of
//! the probe's own secrets before anybody sees it. Start at [`Asker::ask`].

mod docker;
mod exec;
mod http;
mod logs;
mod prometheus;
mod tcp;
pub mod web;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::docker::Docker;
use crate::load::Endpoints;
use crate::spec::credentials::HIDDEN;
use crate::spec::probing::{NumberCheck, Wanted};
use crate::spec::{Match, NoData, Probe};

/// The longest that is kept of what came back, in characters: it stands on a line of a report.
const MAX_DETAIL_CHARS: usize = 200;

/// What a probe came back with.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// `Some(true)` as expected, `Some(false)` otherwise, nothing: it could not be asked or answered.
    pub ok: Option<bool>,
    /// What came back, in a few words: one line without control characters.
    pub detail: String,
    /// How long it took, of several attempts the last one.
    pub took: std::time::Duration,
    /// How often it was asked until then, at least once.
    pub attempts: u32,
}

/// What one attempt came to, with what came back in a few words.
#[derive(Clone, Debug, PartialEq)]
enum Reply {
    /// As expected.
    Yes(String),
    /// Not as expected.
    No(String),
    /// It could not be asked or answered.
    Unknown(String),
}

/// A container of a probe's target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Its name in the plan.
    pub name: String,
    /// Its id.
    pub id: String,
}

/// Everything that asking takes.
pub struct Asker {
    /// Where hosts of a lab are found.
    endpoints: Endpoints,
    /// The daemon; nothing: probes that need one are not answered.
    docker: Option<Docker>,
    /// The containers by target.
    targets: BTreeMap<String, Vec<Asked>>,
    /// How far the daemon's wall clock is ahead of ours, in nanoseconds.
    ahead_ns: i64,
    /// How often Docker had restarted each container when this began, by id.
    restarts: BTreeMap<String, u64>,
}

impl Asker {
    /// Asks what needs no containers.
    pub fn new(endpoints: Endpoints) -> Self {
        let (targets, restarts) = (BTreeMap::new(), BTreeMap::new());
        Self { endpoints, docker: None, targets, ahead_ns: 0, restarts }
    }

    /// Asks about these containers too, by target; looks how often each was restarted before.
    #[must_use]
    pub async fn with_containers(
        mut self,
        docker: Docker,
        targets: BTreeMap<String, Vec<Asked>>,
        ahead_ns: i64,
    ) -> Self {
        for one in targets.values().flatten() {
            // One that can't be looked at now is taken for never restarted, which accuses nobody falsely: what
            // it is asked later counts from its own start then.
            if let Ok(Some(state)) = docker.state(&one.id).await {
                self.restarts.insert(one.id.clone(), state.restarts);
            }
        }
        Self { docker: Some(docker), targets, ahead_ns, ..self }
    }

    /// Asks, and once more as often as the probe says until the answer is a yes. `since`, by our wall clock, is
    /// from when on what containers wrote counts.
    pub async fn ask(&self, probe: &Probe, since: Timestamp) -> Answer {
        let asking = probe.asking();
        let mut attempts = 0;
        loop {
            let asked = std::time::Instant::now();
            let reply = self.once(probe, since).await;
            attempts += 1;
            if !matches!(reply, Reply::Yes(_)) && attempts <= asking.retries.value {
                tokio::time::sleep(asking.retry_after.to_std()).await;
                continue;
            }
            let (ok, detail) = match reply {
                Reply::Yes(detail) => (Some(true), detail),
                Reply::No(detail) => (Some(false), detail),
                Reply::Unknown(why) if asking.no_data.value == NoData::Fails => {
                    (Some(false), format!("no data, which fails: {why}"))
                }
                Reply::Unknown(why) => (None, why),
            };
            let detail = shown(&detail, &probe.secrets());
            return Answer { ok, detail, took: asked.elapsed(), attempts };
        }
    }

    /// Where hosts of a lab are found.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// How a target's containers are, each by its name: nothing if it runs and is healthy, else what it is; the error
    /// says why nobody knows.
    pub async fn wellness(&self, target: &str) -> Result<Vec<(String, Option<String>)>, String> {
        docker::wellness(target, self).await
    }

    async fn once(&self, probe: &Probe, since: Timestamp) -> Reply {
        match probe {
            Probe::Http(probe) => http::ask(probe, self).await,
            Probe::Tcp(probe) => tcp::ask(probe, self).await,
            Probe::Exec(probe) => exec::ask(probe, self).await,
            Probe::Docker(probe) => docker::ask(probe, self).await,
            Probe::Logs(probe) => logs::ask(probe, self, since).await,
            Probe::Prometheus(probe) => prometheus::ask(probe, self).await,
        }
    }

    /// The daemon and a target's containers; the error says why there is none to ask.
    fn containers(&self, target: &str) -> Result<(&Docker, &[Asked]), Reply> {
        let docker = self.docker.as_ref().ok_or_else(|| Reply::Unknown("there is no Docker".into()))?;
        let found = self.targets.get(target).map(Vec::as_slice).unwrap_or_default();
        if found.is_empty() {
            return Err(Reply::Unknown(format!("target {target} has no containers")));
        }
        Ok((docker, found))
    }
}

/// Several replies as one: a no outranks no data, which outranks a yes.
fn all(replies: Vec<Reply>) -> Reply {
    let rank = |reply: &Reply| match reply {
        Reply::Yes(_) => 0,
        Reply::Unknown(_) => 1,
        Reply::No(_) => 2,
    };
    let worst = replies.iter().map(rank).max().unwrap_or(1);
    let mut said = replies.into_iter().filter(|reply| rank(reply) == worst).map(|reply| match reply {
        Reply::Yes(detail) | Reply::No(detail) | Reply::Unknown(detail) => detail,
    });
    let detail = said.by_ref().collect::<Vec<_>>().join("; ");
    match worst {
        0 => Reply::Yes(detail),
        1 => Reply::Unknown(detail),
        _ => Reply::No(detail),
    }
}

/// Holds a number against what is wanted.
fn number(name: &str, value: f64, wanted: NumberCheck) -> Reply {
    let text = format!("{name} {value}");
    if value.is_nan() {
        return Reply::Unknown(format!("{name} is not a number"));
    }
    if wanted.holds(value) { Reply::Yes(text) } else { Reply::No(format!("{text}, wanted {wanted}")) }
}

/// Holds a text against what is wanted; where that is a number, the text must be one.
fn text(name: &str, value: &str, wanted: &Wanted) -> Reply {
    let value = value.trim();
    let holds = match wanted {
        Wanted::Number(check) => {
            return match value.parse() {
                Ok(found) => number(name, found, *check),
                Err(_) => Reply::No(format!("{name} \"{value}\", wanted a number {check}")),
            };
        }
        Wanted::Text(Match::Equal(text)) => value == text.trim(),
        Wanted::Text(Match::Regex(pattern)) => match regex::Regex::new(pattern) {
            Ok(regex) => regex.is_match(value),
            Err(error) => return Reply::Unknown(error.to_string()),
        },
    };
    let said = format!("{name} \"{value}\"");
    if holds { Reply::Yes(said) } else { Reply::No(format!("{said}, wanted {wanted}")) }
}

/// What may be saved and printed of what came back.
pub(crate) fn shown(detail: &str, secrets: &[&str]) -> String {
    let mut text = detail.to_owned();
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        text = text.replace(secret, HIDDEN);
    }
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(MAX_DETAIL_CHARS) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(text: &str) -> Probe {
        crate::spec::fragment(text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    #[test]
    fn a_no_outranks_no_data_which_outranks_a_yes() {
        let (yes, no, unknown) = (Reply::Yes("a".into()), Reply::No("b".into()), Reply::Unknown("c".into()));
        assert_eq!(all(vec![yes.clone(), yes.clone()]), Reply::Yes("a; a".into()));
        assert_eq!(all(vec![yes.clone(), unknown.clone()]), unknown);
        assert_eq!(all(vec![yes, no.clone(), unknown]), no);
        assert_eq!(all(Vec::new()), Reply::Unknown(String::new()), "nothing asked is nothing known");
    }

    #[test]
    fn texts_are_compared_as_the_experiment_says() {
        let holds = |value: &str, wanted: &str| {
            matches!(text("it said", value, &wanted.parse().unwrap()), Reply::Yes(_))
        };
        for (value, wanted, expected) in [
            ("PONG\n", "PONG", true),
            ("PONG!", "PONG", false),
            ("OK 3", "/^OK [0-9]$/", true),
            ("12", ">= 12", true),
            ("11.5", ">= 12", false),
            ("twelve", ">= 12", false),
            ("NaN", "!= 12", false),
        ] {
            assert_eq!(holds(value, wanted), expected, "{value:?} against {wanted}");
        }
    }

    #[test]
    fn what_came_back_is_one_short_line_without_secrets() {
        let long = shown(&"x".repeat(1_000), &[]);
        assert_eq!(long.chars().count(), MAX_DETAIL_CHARS + 1);
        assert_eq!(shown("a\u{1b}[31m\nhunter2 is wrong", &["hunter2"]), "a [31m (hidden) is wrong");
    }

    #[tokio::test]
    async fn what_can_not_be_asked_is_no_data_unless_that_fails() {
        let asker = Asker::new(Endpoints::new());
        for (kind, no_data, expected) in [
            ("docker: { on: db", "invalid", None),
            ("logs: { on: db, pattern: panic", "ignore", None),
            ("docker: { on: db", "fails", Some(false)),
            ("http: { get: 'http://no-such-host.invalid/'", "invalid", None),
        ] {
            let probe = probe(&format!("{{ {kind}, no_data: {no_data} }} }}"));
            let answer = asker.ask(&probe, Timestamp::now()).await;
            assert_eq!(answer.ok, expected, "{probe}: {}", answer.detail);
        }
    }

    #[tokio::test]
    async fn it_is_asked_once_more_until_it_says_yes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // The first two are cut off, the third is answered.
        let server = tokio::spawn(async move {
            for turn in 0..3 {
                let (mut stream, _) = listener.accept().await.unwrap();
                if turn == 2 {
                    tokio::io::AsyncWriteExt::write_all(&mut stream, b"ready\n").await.unwrap();
                }
            }
        });
        let asker = Asker::new(Endpoints::new());
        let ask = |retries: u32| {
            let text = format!(
                "{{ tcp: {{ connect: '{address}', bytes: ready, retries: {retries}, retry_after: 1ms }} }}"
            );
            probe(&text)
        };
        let once = asker.ask(&ask(0), Timestamp::now()).await;
        assert_eq!((once.ok, once.attempts), (Some(false), 1), "{}", once.detail);
        let patient = asker.ask(&ask(5), Timestamp::now()).await;
        assert_eq!((patient.ok, patient.attempts), (Some(true), 2), "{}", patient.detail);
        server.await.unwrap();
        let gone = asker.ask(&ask(0), Timestamp::now()).await;
        assert_eq!(gone.ok, Some(false), "a refusal is a no: {}", gone.detail);
    }
}
