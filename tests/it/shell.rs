//! A container of somebody else's with a shell in it, made from this machine's own: it can be made ill, and says so.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};

use super::run::text;
use super::target::docker;

/// What is in it besides the libraries that these need.
const PROGRAMS: [&str; 3] = ["/bin/sh", "/bin/sleep", "/bin/rm"];

/// Says `ready` when it starts and, while there is a file `/ill`, that there is an error every fifth of a second.
const SCRIPT: &str =
    "echo ready; n=0; while sleep 0.2; do n=$((n + 1)); [ ! -e /ill ] || echo \"ERROR $n\"; done";

/// A container that is gone with the test, and its image.
pub struct Shell {
    /// Its name, which nothing else has.
    pub name: String,
    image: String,
}

impl Shell {
    /// Starts it; `more` are options of `docker run`.
    pub fn start(what: &str, more: &[&str]) -> Self {
        let name = format!("{what}-{}", std::process::id());
        let shell = Self { image: format!("chaos-test-shell:{name}"), name };
        let mut tar = Command::new("tar");
        tar.args(["--create", "--dereference", "-C", "/"]).args(files()).stdout(Stdio::piped());
        let mut packed = tar.spawn().unwrap();
        let import = Command::new("docker")
            .args(["import", "-", &shell.image])
            .stdin(packed.stdout.take().unwrap())
            .output()
            .unwrap();
        assert!(packed.wait().unwrap().success() && import.status.success(), "{}", text(&import));
        let mut args = vec!["run", "-d", "--init=false", "--name", &shell.name];
        args.extend(more);
        args.extend([&shell.image, "/bin/sh", "-c", SCRIPT]);
        docker(&args);
        shell
    }
}

/// The programs and the libraries that they say they need, from the root directory.
fn files() -> BTreeSet<String> {
    let listed = Command::new("ldd").args(PROGRAMS).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let libraries = listed.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':'));
    libraries.chain(PROGRAMS).map(|path| path.trim_start_matches('/').to_owned()).collect()
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = Command::new("docker").args(["rm", "-f", &self.name]).output();
        let _ = Command::new("docker").args(["rmi", "-f", &self.image]).output();
    }
}
