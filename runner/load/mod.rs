//! Load: a schedule that is a pure function, an engine that keeps it, and a recorder of what came of it.
//!
//! [`Generator`] is the door. Behind it: [`schedule`] says when and what (pure; [`offsets`] reads what it
//! replays), [`template`], [`request`] and [`wire`] lay out the bytes, [`worker`] sends them on time over
//! [`connection`]s and [`shared`] ones, whose answers a [`protocol`] reads (pure) and [`scrutiny`] looks into
//! where asked; [`recorder`] sorts what ended into intervals and [`window`] into the live view, and
//! [`fitness`] says whether the generator itself can be believed.

pub mod censoring;
pub mod collector;
pub mod connection;
pub mod cookies;
pub mod counts;
pub mod engine;
pub mod examples;
pub mod feed;
pub mod fitness;
pub mod flight;
pub mod follow;
pub mod hist;
pub mod kept;
pub mod lane;
pub mod machine;
pub mod offsets;
pub mod outcome;
pub mod packed;
pub mod place;
pub mod poll;
pub mod pool;
pub mod progress;
pub mod protocol;
pub mod record;
pub mod recorder;
pub mod redirect;
pub mod request;
pub mod rows;
pub mod schedule;
pub mod scrutiny;
pub mod shared;
pub mod source;
mod sparse;
pub mod stamp;
pub mod stretch;
pub mod tally;
pub mod template;
pub mod tls;
pub mod transport;
pub mod urgency;
pub mod visit;
pub mod window;
pub mod wire;
pub mod worker;

pub use engine::{Generator, Setup};
pub use recorder::Interval;
pub use request::Endpoints;
pub use window::Window;
