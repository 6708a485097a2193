//! The `exec` probe: a command of the user's, inside containers or on this machine.

use super::{Asker, Reply, all, text};
use crate::error::Error;
use crate::event::Ran;
use crate::fault::step::{Exec, Where};
use crate::spec::ExecProbe;

/// Runs the command, in several containers at once. That it can't be started is no data.
pub(super) async fn ask(probe: &ExecProbe, asker: &Asker) -> Reply {
    let exec = |place| Exec {
        place,
        command: probe.run.value.clone(),
        user: probe.user.clone(),
        timeout: probe.asking.timeout.value,
    };
    let Some(target) = &probe.on else {
        let ran = crate::exec::on_host(&exec(Where::Host), "", "").await;
        return judge(probe, None, ran);
    };
    let (docker, containers) = match asker.containers(target) {
        Ok(found) => found,
        Err(reply) => return reply,
    };
    let exec = exec(Where::Container);
    let each = containers.iter().map(|one| async {
        let ran = docker.exec(&one.id, &exec).await;
        judge(probe, (containers.len() > 1).then_some(one.name.as_str()), ran)
    });
    all(futures_util::future::join_all(each).await)
}

fn judge(probe: &ExecProbe, container: Option<&str>, ran: Result<Ran, Error>) -> Reply {
    let of = container.map_or_else(String::new, |name| format!("{name}: "));
    let ran = match ran {
        Ok(ran) => ran,
        Err(error) => return Reply::Unknown(format!("{of}{}", error.chain())),
    };
    let Some(code) = ran.exit_code else {
        return Reply::No(format!("{of}it did not end within {}", probe.asking.timeout.value));
    };
    if code != i64::from(probe.exit) {
        let said = if ran.output.is_empty() { String::new() } else { format!(": {}", ran.output) };
        return Reply::No(format!("{of}exit code {code}{said}"));
    }
    match &probe.output {
        Some(wanted) => text(&format!("{of}it wrote"), &ran.output, &wanted.value),
        None => Reply::Yes(format!("{of}exit code {code}")),
    }
}
