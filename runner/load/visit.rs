//! What one visitor carries from request to request: rows of data, extracted values, cookies.
//!
//! A flow has a visit from its arrival to its end, and so has a lone request that uses data; other requests
//! have none and cost nothing here. Memory is that of the most visits there ever were at once, which
//! `max_in_flight` bounds. Start at [`Visits`].

use super::cookies::Jar;
use super::feed::Row;

/// Which visit. [`NO_VISIT`] stands for none.
pub type VisitId = u32;

/// The request belongs to no visit.
pub const NO_VISIT: VisitId = u32::MAX;

/// What a visitor carries.
#[derive(Debug, Default)]
pub struct Visit {
    /// A row of each of the load's feeds that the visit uses.
    pub rows: Vec<Option<Row>>,
    /// What earlier steps extracted, by place.
    pub extracted: Vec<Option<Vec<u8>>>,
    /// The cookies set so far.
    pub jar: Jar,
    /// Path and query of the request sent last: what cookies are set for.
    pub path: String,
}

/// All visits under way.
#[derive(Debug, Default)]
pub struct Visits {
    visits: Vec<Visit>,
    free: Vec<VisitId>,
}

impl Visits {
    /// None under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a visit.
    pub fn open(&mut self, visit: Visit) -> VisitId {
        match self.free.pop() {
            Some(id) => {
                self.visits[id as usize] = visit;
                id
            }
            None => {
                self.visits.push(visit);
                u32::try_from(self.visits.len() - 1).expect("fewer than 2^32 requests are under way")
            }
        }
    }

    /// A visit under way; nothing for [`NO_VISIT`].
    pub fn get(&mut self, id: VisitId) -> Option<&mut Visit> {
        self.visits.get_mut(id as usize)
    }

    /// Ends a visit; nothing happens for [`NO_VISIT`].
    pub fn close(&mut self, id: VisitId) {
        if let Some(visit) = self.visits.get_mut(id as usize) {
            *visit = Visit::default();
            self.free.push(id);
        }
    }
}
