//! What the names in a check stand for: a load, a phase, a request, a way to end.
//!
//! A check is text by itself, and what it names is known only to the experiment around it. The same rules hold when
//! an experiment is validated and when a run is judged years later: a name is a load if there is one of that name,
//! else a phase, else a request. Where two of them share a name the validation asks to say which. Start at
//! [`Figure::place`].

use super::decode::{list_of, nearest};
use super::expr::{Figure, Kind, Metric, Name, Outcome, Series};
use super::expr_figure::OUTCOMES;
use super::{Load, Named, Request, Slo};

/// The names that there are.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Of loads.
    pub loads: Vec<String>,
    /// Of phases.
    pub phases: Vec<String>,
    /// Of requests, of all loads.
    pub requests: Vec<String>,
}

/// What a figure is measured on; nothing given is everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place<'f> {
    /// This load alone.
    pub load: Option<&'f str>,
    /// This phase; nothing: the one that is judged.
    pub phase: Option<&'f str>,
    /// Requests of this name alone.
    pub request: Option<&'f str>,
    /// Requests that ended so alone.
    pub outcome: Option<Outcome>,
}

impl Place<'_> {
    /// True if it takes a load apart, by request or by outcome.
    pub const fn is_part(&self) -> bool {
        self.request.is_some() || self.outcome.is_some()
    }
}

/// Why names can't be found a place, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub hint: String,
}

impl Scope {
    fn known(&self, kind: Kind) -> &[String] {
        match kind {
            Kind::Load => &self.loads,
            Kind::Phase => &self.phases,
            Kind::Request => &self.requests,
            Kind::Outcome => &[],
        }
    }

    /// What a name stands for, the first of what it may.
    fn kind(&self, name: &Name) -> Option<Kind> {
        if name.kind.is_some() {
            return name.kind;
        }
        [Kind::Load, Kind::Phase, Kind::Request].into_iter().find(|kind| self.has(*kind, &name.text))
    }

    fn has(&self, kind: Kind, name: &str) -> bool {
        self.known(kind).iter().any(|known| known == name)
    }

    /// Why a name may be understood in two ways; nothing if it can't.
    pub fn ambiguity(&self, name: &Name) -> Option<Lost> {
        let kinds = [Kind::Load, Kind::Phase, Kind::Request];
        let found: Vec<_> = kinds.into_iter().filter(|kind| self.has(*kind, &name.text)).collect();
        let [one, other, ..] = found.as_slice() else { return None };
        (name.kind.is_none()).then(|| Lost {
            message: format!("`{}` is a {} and a {}", name.text, one.word(), other.word()),
            hint: format!("write `{}={}` or `{}={}`", one.word(), name.text, other.word(), name.text),
        })
    }

    fn lost(&self, name: &Name) -> Lost {
        let kinds: Vec<Kind> = match name.kind {
            Some(Kind::Outcome) => {
                let known: Vec<&str> = OUTCOMES.iter().map(|(word, _)| *word).collect();
                return Lost {
                    message: format!("there is no outcome `{}`", name.text),
                    hint: format!("known: {}", list_of(&known)),
                };
            }
            Some(kind) => vec![kind],
            None => vec![Kind::Load, Kind::Phase, Kind::Request],
        };
        let words: Vec<&str> = kinds.iter().map(|kind| kind.word()).collect();
        let known: Vec<&str> = kinds.iter().flat_map(|kind| self.known(*kind)).map(String::as_str).collect();
        let hint = match nearest(&name.text, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("the experiment has no {}", words.join(", phase or ")),
            None => format!("known: {}", list_of(&known)),
        };
        let noun = match words.as_slice() {
            [one] => (*one).to_owned(),
            _ => "load, phase or request".to_owned(),
        };
        Lost { message: format!("there is no {noun} `{}`", name.text), hint }
    }
}

impl Kind {
    /// The word as written.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Phase => "phase",
            Self::Request => "request",
            Self::Outcome => "outcome",
        }
    }
}

impl Figure {
    /// What it is measured on.
    pub fn place(&self, scope: &Scope) -> Result<Place<'_>, Lost> {
        let mut place = Place::default();
        for name in &self.names {
            let kind = scope.kind(name).ok_or_else(|| scope.lost(name))?;
            let text = Some(name.text.as_str());
            let taken = match kind {
                Kind::Outcome => {
                    let outcome = OUTCOMES.iter().find(|(word, _)| *word == name.text);
                    place.outcome.replace(outcome.ok_or_else(|| scope.lost(name))?.1).is_some()
                }
                _ if !scope.has(kind, &name.text) => return Err(scope.lost(name)),
                Kind::Load => std::mem::replace(&mut place.load, text).is_some(),
                Kind::Phase => std::mem::replace(&mut place.phase, text).is_some(),
                Kind::Request => std::mem::replace(&mut place.request, text).is_some(),
            };
            if taken {
                return Err(Lost {
                    message: format!("`{}` names two things that are a {}", self.text, kind.word()),
                    hint: "keep one of them".to_owned(),
                });
            }
        }
        Ok(place)
    }

    /// The load it is measured on where it names nothing else, as in what is watched live; nothing: all of them.
    pub fn load<'f>(&'f self, slos: &'f Named<Slo>) -> Option<&'f str> {
        match &self.metric {
            Metric::Slo(name) => slos.get(name).and_then(Slo::load),
            _ => self.names.first().map(|name| name.text.as_str()),
        }
    }

    /// Why it can't be told of single requests or outcomes; nothing if it can.
    pub fn only_of_loads(&self) -> Option<Lost> {
        const HINT: &str = "leave out the request and the outcome";
        let kept = "what is kept of single requests is how they ended, and their latency";
        let fits = match &self.metric {
            Metric::Quantile(_, series)
            | Metric::Mean(series)
            | Metric::Max(series)
            | Metric::Min(series) => *series == Series::Latency,
            Metric::Share(outcome) | Metric::Throughput(outcome) | Metric::Count(outcome) => {
                !matches!(outcome, Outcome::Scheduled | Outcome::Dropped | Outcome::CutOff)
            }
            Metric::Slo(_) | Metric::Outturn(_) => false,
        };
        (!fits).then(|| Lost {
            message: format!("`{}` is known of whole loads only: {kept}", self.text),
            hint: HINT.to_owned(),
        })
    }
}

impl Request {
    /// Its name in checks and reports: the one it was given, else its method and path; empty if it has neither.
    pub fn label(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let Some((method, url)) = self.method_and_url() else {
            return String::new();
        };
        let text = url.value.as_str();
        let after_host = text.split_once("://").map_or(text, |(_, rest)| rest);
        let path = after_host.find(['/', '?']).map_or("/", |at| &after_host[at..]);
        let path = path.split(['?', '#']).next().filter(|path| !path.is_empty()).unwrap_or("/");
        format!("{method} {path}")
    }
}

impl Scope {
    /// The names of some loads and their requests, and of some phases.
    pub fn of<'l>(
        loads: impl Iterator<Item = (&'l str, &'l Load)>,
        phases: impl Iterator<Item = &'l str>,
    ) -> Self {
        let mut scope = Self { phases: phases.map(str::to_owned).collect(), ..Self::default() };
        for (name, load) in loads {
            scope.loads.push(name.to_owned());
            for label in load.sent().map(Request::label).filter(|label| !label.is_empty()) {
                if !scope.requests.contains(&label) {
                    scope.requests.push(label);
                }
            }
        }
        scope
    }
}
