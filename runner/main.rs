//! The `chaos` program: parses the command line, runs the verb, prints what went wrong once, and exits with
//! the code that says how it ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(chaos::cli::main().code())
}
