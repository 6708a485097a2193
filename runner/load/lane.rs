//! One load in the hands of one sending thread, and how that thread is told to end.

use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::counts::Named;
use super::follow::Follow;
use super::request::Prepared;
use super::schedule::Schedule;
use super::source::{Share, Source};
use crate::plan::LoadPlan;
use crate::spec::Http;
use crate::units::NS_PER_S;

/// The longest that requests under way may still take once a load ends; a shorter timeout cuts it further.
/// What is not answered by then is cut off, and said to be.
pub const GRACE_NS: u64 = 2 * NS_PER_S;

/// One thread's part of a load.
#[derive(Debug)]
pub struct Lane {
    /// Its requests' names.
    pub names: Vec<String>,
    /// Its requests.
    pub prepared: Prepared,
    /// Its arrivals.
    pub source: Source,
    /// Steps of flows that are to follow.
    pub follow: Follow,
    /// Its timeout, from the intended instant.
    pub timeout_ns: u64,
    /// The most requests under way at once on this thread.
    pub max_in_flight: u32,
    /// How long what is under way may still take when the load ends.
    pub grace_ns: u64,
    /// The most connections open at once to each place, on this thread.
    pub connections: u32,
    /// Requests after which a connection is closed.
    pub requests_each: u32,
    /// The most requests at once on a connection that can carry several; 0 where it carries one after the other.
    pub streams: u32,
}

/// How many requests share a connection where nothing else is said: what servers are advised to allow.
const STREAMS: u32 = 100;

impl Lane {
    /// The part of a load that falls to a thread; where users wait, it ends after so many arrivals in all.
    pub fn new(
        plan: &LoadPlan,
        prepared: Prepared,
        schedule: Schedule,
        share: Share,
        answers: Option<NonZeroU64>,
    ) -> Self {
        let load = &plan.load;
        // Users wait for answers, so there are never more under way than users.
        let cap = load.users.as_ref().map_or(load.max_in_flight.value, |users| users.value);
        Self {
            names: Named::of(plan).requests,
            prepared,
            source: Source::new(plan, schedule, share, answers),
            follow: Follow::default(),
            timeout_ns: load.timeout.as_ns(),
            max_in_flight: share.part(cap),
            grace_ns: load.timeout.as_ns().min(GRACE_NS),
            connections: connections(plan).map_or(u32::MAX, |max| share.part(max)),
            requests_each: load
                .connections
                .as_ref()
                .and_then(|policy| policy.requests.as_ref())
                .map_or(u32::MAX, |requests| requests.value),
            streams: match load.http {
                Http::H1 => 0,
                Http::H2 => load.streams.as_ref().map_or(STREAMS, |streams| streams.value),
            },
        }
    }
}

impl Lane {
    /// True if the kernel can say when its answers came: over TCP, in the clear, one after the other on a
    /// connection.
    pub fn is_stamped(&self) -> bool {
        self.streams == 0 && self.prepared.places.iter().all(|place| place.secure.is_none() && place.is_ip())
    }
}

/// The most connections to each place that a load may have open, if there is a bound. Each thread needs one.
pub fn connections(plan: &LoadPlan) -> Option<u32> {
    plan.load.connections.as_ref().and_then(|policy| policy.max.as_ref()).map(|max| max.value)
}

/// How running threads are told to end: all at one instant, set a little before it comes.
#[derive(Debug)]
pub struct Control {
    stop_ns: AtomicU64,
    abandon: AtomicBool,
}

impl Default for Control {
    fn default() -> Self {
        Self { stop_ns: AtomicU64::new(u64::MAX), abandon: AtomicBool::new(false) }
    }
}

impl Control {
    /// Ends the loads: no arrival intended at or after `at_ns` is sent; what is under way gets its grace.
    /// Only an instant still to come ends all threads' loads at once: none sends early, so none has passed it.
    pub fn stop(&self, at_ns: u64) {
        self.stop_ns.store(at_ns, Ordering::Release);
    }

    /// When the loads end; `u64::MAX` until that is told.
    pub fn stop_ns(&self) -> u64 {
        self.stop_ns.load(Ordering::Acquire)
    }

    /// Ends at once; whatever is under way is cut off.
    pub fn abandon(&self) {
        self.abandon.store(true, Ordering::Release);
        self.stop(0);
    }

    /// True once nobody wants an answer any more.
    pub fn is_abandoned(&self) -> bool {
        self.abandon.load(Ordering::Acquire)
    }
}

/// Another schedule for a load, from an instant on.
#[derive(Debug)]
pub struct Switch {
    /// Which load.
    pub load: usize,
    /// From when on, in nanoseconds since the loads began.
    pub at_ns: u64,
    /// Its arrivals, counted from there.
    pub schedule: Schedule,
}

/// What one running thread is told besides when to end.
#[derive(Debug, Default)]
pub struct Mailbox {
    full: AtomicBool,
    switches: Mutex<Vec<Switch>>,
}

impl Mailbox {
    /// Gives a load another schedule; the last switch of a load given counts.
    pub fn switch(&self, switch: Switch) {
        self.switches.lock().unwrap_or_else(PoisonError::into_inner).push(switch);
        self.full.store(true, Ordering::Release);
    }

    /// The switches to be made; without a lock as long as there are none.
    pub fn switches(&self) -> Vec<Switch> {
        if !self.full.load(Ordering::Relaxed) || !self.full.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut self.switches.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
