//! A container of somebody else's to aim at: the built-in lab's store, without any label of ours.

use std::net::TcpListener;
use std::process::Command;

use super::docker::connect;
use super::run::text;

/// Runs the docker command; what it printed.
pub fn docker(args: &[&str]) -> String {
    let output = Command::new("docker").args(args).output().unwrap();
    assert!(output.status.success(), "docker {args:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A container that is gone with the test.
pub struct Target {
    /// Its name, which nothing else has.
    pub name: String,
    /// Where it is reached on 127.0.0.1.
    pub port: u16,
}

impl Target {
    /// Starts it; `more` are options of `docker run`.
    pub async fn start(what: &str, more: &[&str]) -> Self {
        let image = connect().await.ensure_image().await.unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let target = Self { name: format!("{what}-{}-{port}", std::process::id()), port };
        let publish = format!("127.0.0.1:{port}:8080");
        let mut args = vec!["run", "-d", "--name", &target.name, "-p", &publish];
        args.extend(more);
        args.extend([&image, "inside", "role", "store"]);
        docker(&args);
        target
    }

    /// An experiment that does `fault` to the target `one` for so long.
    pub fn experiment(&self, fault: &str, seconds: u32, rest: &str) -> String {
        format!(
            "experiment: it survives\ntargets: {{ one: {{ name: {} }} }}\n\
             load: {{ users: {{ rate: 20/s, timeout: 500ms, requests: [{{ get: 'http://127.0.0.1:{}/health' }}] }} }}\n\
             phases:\n  baseline: {{ for: 1s }}\n  broken: {{ for: {seconds}s, faults: [{{ {fault} }}] }}\n\
             expect: {{ broken: [count(scheduled) > 0] }}\n{rest}\n",
            self.name, self.port
        )
    }

    /// A line of `docker inspect`.
    pub fn inspect(&self, format: &str) -> String {
        docker(&["inspect", "-f", format, &self.name])
    }

    /// `running`, `paused`, `exited`, ….
    pub fn status(&self) -> String {
        self.inspect("{{.State.Status}}")
    }

    /// Runs a command in its network namespace; what it printed.
    pub fn inside(&self, args: &[&str]) -> String {
        let net = format!("--net=/proc/{}/ns/net", self.inspect("{{.State.Pid}}"));
        let output = Command::new("nsenter").arg(&net).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Everything that somebody could have set up in and about it.
    pub fn everything(&self) -> String {
        let limits =
            "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}} {{.State.Status}}";
        let stat = format!("/proc/{}/stat", self.inspect("{{.State.Pid}}"));
        let state = std::fs::read_to_string(stat).unwrap();
        [
            self.inside(&["nft", "-s", "list", "ruleset"]),
            self.inside(&["tc", "-d", "qdisc", "show"]),
            self.inside(&["tc", "filter", "show", "dev", "eth0"]),
            self.inside(&["ip", "-o", "link"]),
            self.inspect(limits),
            if state.contains(") T ") { "stopped".into() } else { "goes on".into() },
        ]
        .join("\n")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = Command::new("docker").args(["rm", "-f", &self.name]).output();
    }
}
