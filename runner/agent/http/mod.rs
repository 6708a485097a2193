//! An HTTP proxy inside a target's namespace, before the target's own server: requests are answered by it, held,
//! or changed on their way, and so are the answers; everything else passes.
//!
//! Connections come here by a [diversion](super::diversion). [`proxy`] is the sockets, [`carry`] one connection,
//! [`exchange`] what becomes of a request, [`body`] what becomes of an answer's body.
//! What is not HTTP/1 goes through byte for byte: TLS, which nobody can look into, HTTP/2, and anything else.

pub mod body;
pub mod carry;
pub mod exchange;
pub mod proxy;
