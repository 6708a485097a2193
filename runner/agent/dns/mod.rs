//! A DNS proxy inside a target's namespace: it answers falsely, late or not at all where it is told to, and passes
//! everything else to the resolver that was asked, byte for byte.
//!
//! Queries come here by a [diversion](super::diversion), UDP and TCP, IPv4 and IPv6, also those to Docker's own
//! resolver, which listens behind a translation of its own. [`proxy`] is the sockets, [`resolve`] what becomes of
//! a query, [`message`] the only place that reads and writes DNS messages.

pub mod message;
pub mod proxy;
pub mod resolve;
