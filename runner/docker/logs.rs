//! Reading what a container wrote since an instant, line by line.

use std::time::Duration;

use futures_util::StreamExt as _;
use jiff::Timestamp;

use super::{Docker, Failed, LogOutput, query, short};
use crate::error::{Error, Result};

/// The most that is read of one container's log: what a probe looks through again and again must not be a flood.
const MAX_LOG_BYTES: usize = 32 << 20;
/// A daemon that says nothing for this long in the middle of a log is stuck.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
/// The longest line that is kept whole; Docker's own files break lines at 16 KiB.
const MAX_LINE_BYTES: usize = 64 << 10;

impl Docker {
    /// Hands every whole line that a container wrote at or after `since`, by the daemon's clock, to `each`: stdout and
    /// stderr, each in its own order, without Docker's time stamps. A line longer than 64 KiB comes in pieces.
    ///
    /// # Errors
    /// The container is gone, its log can't be read (some log drivers keep none), or it wrote more than 32 MiB.
    pub async fn lines_since(&self, id: &str, since: Timestamp, mut each: impl FnMut(&[u8])) -> Result<()> {
        let what = format!("read the log of container {}", short(id));
        let options = query::LogsOptions {
            stdout: true,
            stderr: true,
            timestamps: true,
            // Whole seconds are all that the client library can ask for; the rest is told by the time stamps.
            since: i32::try_from(since.as_second()).unwrap_or(0),
            ..Default::default()
        };
        let mut log = self.api.logs(id, Some(options));
        let (mut out, mut err) = (Lines::new(since), Lines::new(since));
        let mut read_bytes = 0;
        loop {
            let next = tokio::time::timeout(SILENCE_LIMIT, log.next()).await;
            let piece = match next {
                Err(_) => return Err(Failed { what, cause: None }.into()),
                Ok(None) => break,
                Ok(Some(Err(cause))) => return Err(Failed { what, cause: Some(cause) }.into()),
                Ok(Some(Ok(piece))) => piece,
            };
            let (lines, message) = match piece {
                LogOutput::StdErr { message } => (&mut err, message),
                LogOutput::StdOut { message }
                | LogOutput::StdIn { message }
                | LogOutput::Console { message } => (&mut out, message),
            };
            read_bytes += message.len();
            if read_bytes > MAX_LOG_BYTES {
                return Err(Error::environment(format!("could not {what}: it is longer than 32 MiB"))
                    .hint("look at a shorter stretch, or write less"));
            }
            lines.take(&message, &mut each);
        }
        out.end(&mut each);
        err.end(&mut each);
        Ok(())
    }
}

/// Lines put together from pieces of one stream.
struct Lines {
    since: Timestamp,
    begun: Vec<u8>,
}

impl Lines {
    const fn new(since: Timestamp) -> Self {
        Self { since, begun: Vec::new() }
    }

    fn take(&mut self, mut bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            self.begun.extend_from_slice(&bytes[..end]);
            self.end(each);
            bytes = &bytes[end + 1..];
        }
        self.begun.extend_from_slice(bytes);
        if self.begun.len() > MAX_LINE_BYTES {
            self.end(each);
        }
    }

    /// What was begun is a line.
    fn end(&mut self, each: &mut impl FnMut(&[u8])) {
        let line = std::mem::take(&mut self.begun);
        if line.is_empty() {
            return;
        }
        let stamped = memchr::memchr(b' ', &line).and_then(|at| {
            let stamp: Timestamp = std::str::from_utf8(&line[..at]).ok()?.parse().ok()?;
            Some((stamp, at + 1))
        });
        match stamped {
            Some((stamp, _)) if stamp < self.since => {}
            Some((_, from)) => each(&line[from..]),
            // The rest of a line that came in pieces has no stamp of its own.
            None => each(&line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_before_the_instant_are_left_out_however_they_come() {
        let since: Timestamp = "2026-01-01T00:00:01.5Z".parse().unwrap();
        let text = "2026-01-01T00:00:01.499999999Z before\n2026-01-01T00:00:01.5Z at\n\
                    2026-01-01T00:00:02Z two words\n2026-01-01T00:00:03Z \n2026-01-01T00:00:04Z unended";
        for size in [1, 7, 40, 1_000] {
            let mut lines = Lines::new(since);
            let mut found = Vec::new();
            let mut each = |line: &[u8]| found.push(String::from_utf8_lossy(line).into_owned());
            text.as_bytes().chunks(size).for_each(|piece| lines.take(piece, &mut each));
            lines.end(&mut each);
            assert_eq!(found, ["at", "two words", "", "unended"], "in pieces of {size}");
        }
    }
}
