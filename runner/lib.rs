//! chaos: breaks containers on purpose, under load, and tells the truth about what happened.
//!
//! ARCHITECTURE.md is the map. In short: `spec` reads the experiment, `plan` decides, `run` does and writes
//! the journal, `verdict` and `report` are pure functions of plan and journal.

pub mod agent;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod docker;
pub mod error;
pub mod event;
pub mod exec;
pub mod fault;
pub mod halt;
pub mod heal;
pub mod hlog;
pub mod hold;
pub mod inject;
pub mod journal;
pub mod lab;
pub mod ledger;
pub mod lint;
pub mod load;
pub mod output;
pub mod patience;
pub mod pattern;
pub mod plan;
pub mod probe;
pub mod prometheus;
pub mod recover;
pub mod report;
pub mod run;
pub mod sli;
pub mod slo;
pub mod spec;
pub mod statistics;
pub mod stop;
pub mod units;
pub mod verdict;
pub mod view;
pub mod warden;
