//! Small values of the language with forms of their own: `pick`, `limits.targets`, `lab`, `until`.

use serde::{Deserialize, Serialize};

use crate::units::{Duration, Ratio};
use crate::{choice, record, tagged};

/// How many of the matching containers. Saved and printed as written: `all`, `1`, `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Pick {
    /// Every one.
    All,
    /// This many; fewer matching is refused.
    Count(u32),
    /// This share, rounded up.
    Share(Ratio),
}

/// The most containers of one service. Saved and printed as written: `1`, `50%`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum TargetLimit {
    /// This many.
    Count(u32),
    /// This share, rounded down.
    Share(Ratio),
}

choice! {
    /// What ends a phase early.
    pub enum PhaseEnd ("end of a phase") {
        /// The steady state holds.
        Steady = "steady",
    }
}

choice! {
    /// What becomes of a fault when a container that it is in effect on is started anew.
    pub enum OnRestart ("on_restart") {
        /// What went with the old processes is applied again to the new ones.
        Reapply = "reapply",
        /// It is over: the container goes on without it.
        End = "end",
    }
}

choice! {
    /// How requests are shared out.
    pub enum Balance ("balance") {
        /// In turn.
        RoundRobin = "round_robin",
        /// To the replica with the fewest requests under way.
        LeastBusy = "least_busy",
    }
}

tagged! {
    /// A system to start for the run. `lab: replicas` is short for `lab: { replicas: {} }`.
    pub enum Lab ("lab") {
        /// The built-in three tiers: gateway, replicas of an API, a store.
        Replicas(Replicas) = "replicas" or alone,
        /// A compose project of your own, by its file, relative to the experiment.
        Compose(String) = "compose",
    }
}

record! {
    /// The built-in lab: `gateway` (a reverse proxy) before `api` replicas before one `store`. Every
    /// defence of the gateway can be switched, so that the same fault can be shown held and not held.
    pub struct Replicas ("replicas") {
        /// How many API replicas, 1 to 20.
        pub apis: u32 = 3,
        /// How long the gateway waits for one answer.
        pub timeout: Duration = Duration::from_s(1),
        /// How often the gateway asks again, elsewhere, after a failure.
        pub retries: u32 = 0,
        /// How the gateway shares requests out: `round_robin` keeps asking a slow replica as often as the others.
        pub balance: Balance = Balance::RoundRobin,
        /// Ask a second replica after this long without an answer and take the first answer; left out: never.
        pub hedge: Option<Duration>,
        /// Leave out a replica for a while after this many failures in a row; left out: never.
        pub eject_after: Option<u32>,
        /// How long a replica is left out.
        pub eject_for: Duration = Duration::from_s(5),
        /// How long the store takes to answer.
        pub store_delay: Duration = Duration::from_ms(1),
        /// The store writes each order to a file in `/dev/shm` before it answers, by a thread made for the purpose, as
        /// old programs do: then it needs room on that disk, and room for threads.
        pub durable: bool = false,
        /// The store has a disk: a volume of Docker's at `/data`, which comes and goes with the lab. It writes each order
        /// to a file there and waits until the disk has it, as databases do, before it answers. So it is durable, in
        /// this folder instead of the other.
        pub store_disk: bool = false,
    }
}

crate::by_text!(
    Pick,
    "`all`, a number or a percentage",
    "How many of the matching containers: `all`, `1`, `50%`."
);
crate::by_text!(TargetLimit, "a number or a percentage", "The most containers of one service: `1`, `50%`.");

/// Reads a count or a share.
fn count_or_share<T>(text: &str, count: fn(u32) -> T, share: fn(Ratio) -> T) -> Option<T> {
    if text.trim().ends_with('%') {
        return text.parse().ok().map(share);
    }
    text.trim().parse().ok().filter(|number| *number > 0).map(count)
}

impl std::str::FromStr for Pick {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        count_or_share(text, Self::Count, Self::Share).ok_or_else(|| "write `all`, `1` or `50%`".into())
    }
}

impl std::str::FromStr for TargetLimit {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        count_or_share(text, Self::Count, Self::Share).ok_or_else(|| "write `1` or `50%`".into())
    }
}

impl From<Pick> for String {
    fn from(pick: Pick) -> Self {
        match pick {
            Pick::All => "all".into(),
            Pick::Count(count) => count.to_string(),
            Pick::Share(share) => share.to_string(),
        }
    }
}

impl From<TargetLimit> for String {
    fn from(limit: TargetLimit) -> Self {
        match limit {
            TargetLimit::Count(count) => count.to_string(),
            TargetLimit::Share(share) => share.to_string(),
        }
    }
}
