//! Commands of the user's on this machine, and what is kept of what any command writes.
//!
//! No shell is involved. What a command writes is untrusted: it is cut short, and stripped of what a terminal
//! would obey. Start at [`on_host`].

use std::os::unix::process::CommandExt as _;
use std::process::Stdio;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::error::{Error, Result};
use crate::event::Ran;
use crate::fault::step::Exec;

/// Kept of what a command writes. An error's first lines say what is wrong; a page is enough to read.
const KEPT_BYTES: usize = 4 << 10;
/// How long what is left in a pipe may take to arrive once a command has ended or was killed.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_millis(500);

/// The beginning of what a command wrote, and how much there was beyond it.
#[derive(Debug, Default)]
pub struct Kept {
    bytes: Vec<u8>,
    left_out: u64,
}

impl Kept {
    /// Takes what it wrote next.
    pub fn take(&mut self, bytes: &[u8]) {
        let room = KEPT_BYTES - self.bytes.len();
        let (kept, rest) = bytes.split_at(room.min(bytes.len()));
        self.bytes.extend_from_slice(kept);
        self.left_out += rest.len() as u64;
    }

    /// What is kept as text without control characters but line ends, and how many bytes were left out.
    pub fn text(&self) -> (String, u64) {
        let text = String::from_utf8_lossy(&self.bytes);
        let shown = |c: char| if c.is_control() && c != '\n' { char::REPLACEMENT_CHARACTER } else { c };
        (text.trim_end().chars().map(shown).collect(), self.left_out)
    }
}

/// What became of a command, for people: nothing if it ended well.
pub fn failure(ran: &Ran, timeout: crate::units::Duration) -> Option<String> {
    let program = ran.command.first().map_or("", String::as_str);
    let how = match ran.exit_code {
        Some(0) => return None,
        Some(code) => format!("ended with exit code {code}"),
        None => format!("did not end by itself within {timeout}"),
    };
    let said = if ran.output.is_empty() { String::new() } else { format!("; it said: {}", ran.output) };
    Some(format!("{program:?} {how}{said}"))
}

/// Runs a command on this machine for a container, and waits for its end, at most as long as it says. It and
/// what it started are killed then. That it failed is no error.
///
/// # Errors
/// It can't be started.
pub async fn on_host(exec: &Exec, container: &str, id: &str) -> Result<Ran> {
    let (program, arguments) = exec.command.split_first().expect("a command names a program");
    let mut command = std::process::Command::new(program);
    command
        .args(arguments)
        .env("CHAOS_CONTAINER", container)
        .env("CHAOS_CONTAINER_ID", id)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A Ctrl-C is for us, and what it started must be found to be killed.
        .process_group(0);
    let began = Instant::now();
    let mut child = tokio::process::Command::from(command).spawn().map_err(|error| {
        Error::environment(format!("could not start {program:?}"))
            .because(error)
            .hint("name a program by its path, or one on the PATH")
    })?;
    let group = child.id().and_then(|pid| libc::pid_t::try_from(pid).ok());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut kept = Kept::default();
    let mut ended = None;
    {
        let said = read_both(out, err, &mut kept);
        let mut said = std::pin::pin!(said);
        let deadline = tokio::time::sleep(exec.timeout.to_std());
        let mut deadline = std::pin::pin!(deadline);
        let mut silent = false;
        loop {
            tokio::select! {
                status = child.wait() => { ended = status.ok(); break }
                () = &mut said, if !silent => silent = true,
                () = &mut deadline => break,
            }
        }
        if ended.is_none() {
            if let Some(group) = group {
                // SAFETY: a plain signal to the process group of our own child, which was not waited for yet.
                unsafe { libc::kill(-group, libc::SIGKILL) };
            }
            let _ = child.wait().await;
        }
        if !silent {
            // What it left running in the background may hold the pipe for as long as it likes.
            let _ = tokio::time::timeout(LAST_WORDS, said).await;
        }
    }
    let (output, left_out_bytes) = kept.text();
    Ok(Ran {
        command: exec.command.clone(),
        exit_code: ended.and_then(|status| status.code()).map(i64::from),
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        output,
        left_out_bytes,
    })
}

/// Reads two streams to their ends, in the order in which they say something.
async fn read_both(
    mut out: Option<impl AsyncRead + Unpin>,
    mut err: Option<impl AsyncRead + Unpin>,
    kept: &mut Kept,
) {
    async fn piece(stream: Option<&mut (impl AsyncRead + Unpin)>, buffer: &mut [u8]) -> Option<usize> {
        let read = stream?.read(buffer).await.ok()?;
        (read > 0).then_some(read)
    }
    let (mut left, mut right) = ([0; 1024], [0; 1024]);
    while out.is_some() || err.is_some() {
        tokio::select! {
            read = piece(out.as_mut(), &mut left), if out.is_some() => match read {
                Some(read) => kept.take(&left[..read]),
                None => out = None,
            },
            read = piece(err.as_mut(), &mut right), if err.is_some() => match read {
                Some(read) => kept.take(&right[..read]),
                None => err = None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fault::step::Where;
    use crate::units::Duration;

    async fn run(timeout_ms: u64, command: &[&str]) -> Ran {
        let exec = Exec {
            place: Where::Host,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            user: None,
            timeout: Duration::from_ms(timeout_ms),
        };
        on_host(&exec, "api-1", "0a").await.unwrap()
    }

    #[tokio::test]
    async fn a_commands_end_and_words_are_kept() {
        let ran = run(5_000, &["sh", "-c", "echo $CHAOS_CONTAINER; echo oops >&2; exit 3"]).await;
        assert_eq!(ran.exit_code, Some(3));
        assert!(ran.output.contains("api-1") && ran.output.contains("oops"), "{}", ran.output);
        let failed = failure(&ran, Duration::from_s(5)).unwrap();
        assert!(failed.starts_with("\"sh\" ended with exit code 3; it said: "), "{failed}");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_killed_with_what_it_started() {
        let began = Instant::now();
        let ran = run(200, &["sh", "-c", "echo $$; sleep 60 & wait"]).await;
        assert_eq!(ran.exit_code, None);
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
        let group: libc::pid_t = ran.output.parse().unwrap();
        // Its child is killed too, but another process has to reap it.
        let deadline = Instant::now() + std::time::Duration::from_secs(5);
        // SAFETY: signal 0 only asks whether the group has a process.
        while unsafe { libc::kill(-group, 0) } == 0 {
            assert!(Instant::now() < deadline, "something of it still runs");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_flood_is_cut_short_and_a_terminal_is_safe() {
        let ran =
            run(10_000, &["sh", "-c", "printf '\\033[31mred\\n'; head -c 100000 /dev/zero | tr '\\0' x"])
                .await;
        assert_eq!(ran.exit_code, Some(0));
        assert!(ran.output.starts_with("\u{fffd}[31mred\nx"), "{}", &ran.output[..20]);
        assert_eq!(ran.left_out_bytes, 100_009 - KEPT_BYTES as u64);
    }
}
