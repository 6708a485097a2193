//! Signals by name and number, as Linux numbers them on every machine that Docker runs on.

use crate::spec::Located;
use crate::spec::decode::{Mistakes, list_of, nearest};

/// Name and number, in the kernel's order.
const SIGNALS: [(&str, u8); 30] = [
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGILL", 4),
    ("SIGTRAP", 5),
    ("SIGABRT", 6),
    ("SIGBUS", 7),
    ("SIGFPE", 8),
    ("SIGKILL", 9),
    ("SIGUSR1", 10),
    ("SIGSEGV", 11),
    ("SIGUSR2", 12),
    ("SIGPIPE", 13),
    ("SIGALRM", 14),
    ("SIGTERM", 15),
    ("SIGCHLD", 17),
    ("SIGCONT", 18),
    ("SIGSTOP", 19),
    ("SIGTSTP", 20),
    ("SIGTTIN", 21),
    ("SIGTTOU", 22),
    ("SIGURG", 23),
    ("SIGXCPU", 24),
    ("SIGXFSZ", 25),
    ("SIGVTALRM", 26),
    ("SIGPROF", 27),
    ("SIGWINCH", 28),
    ("SIGIO", 29),
    ("SIGPWR", 30),
    ("SIGSYS", 31),
];

/// The number of a signal, by its name with or without `SIG`, or as a number already.
pub fn number(name: &str) -> Option<u8> {
    let named = |word: &str| word == name || word.strip_prefix("SIG") == Some(name);
    let known = SIGNALS.iter().find(|(word, _)| named(word)).map(|(_, number)| *number);
    known.or_else(|| name.parse().ok())
}

/// True of a signal by which a process is asked to end in its own time.
pub fn asks_to_end(name: &str) -> bool {
    ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP"].contains(&name)
}

/// Notes a signal that there is none of.
pub fn check(signal: &Located<String>, mistakes: &mut Mistakes) {
    let names = SIGNALS.map(|(name, _)| name);
    if names.contains(&signal.as_str()) {
        return;
    }
    // A number is no misspelt name.
    let named = signal.parse::<u8>().is_err();
    let upper = signal.to_uppercase();
    let full = format!("SIG{}", upper.trim_start_matches("SIG"));
    let hint = nearest(&full, &names)
        .filter(|_| named)
        .map_or_else(|| format!("one of {}", list_of(&names)), |near| format!("did you mean `{near}`?"));
    mistakes.add(signal.span, format!("unknown signal: `{}`", signal.value), hint);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_the_kernels_numbers() {
        for (name, expected) in
            [("SIGKILL", libc::SIGKILL), ("TERM", libc::SIGTERM), ("SIGUSR1", libc::SIGUSR1), ("10", 10)]
        {
            assert_eq!(number(name).map(i32::from), Some(expected), "{name}");
        }
        assert_eq!(number("SIGNOT"), None);
    }
}
