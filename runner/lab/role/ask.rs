//! One request to a role, as somebody who operates it would send from inside its container: there is no other program.

use bytes::Bytes;
use hyper::{Method, Uri};

use super::upstream::{Head, Upstream};
use crate::error::{Error, Result};

/// What is asked.
#[derive(clap::Args)]
pub struct Args {
    /// The role, as NAME:PORT.
    authority: String,
    /// The path to POST to.
    path: Uri,
}

/// Asks.
///
/// # Errors
/// It is not NAME:PORT, does not answer, or says no.
pub async fn run(args: Args) -> Result<()> {
    let upstream = Upstream::new(&args.authority).map_err(Error::mistake)?;
    let head = Head { method: Method::POST, uri: args.path, content_type: None };
    let answer = upstream.ask(&head, Bytes::new()).await;
    let status = answer.map(|answer| answer.status);
    match status {
        Ok(status) if status.is_success() => Ok(()),
        other => Err(Error::environment(format!("{} says {other:?}", args.authority))),
    }
}
