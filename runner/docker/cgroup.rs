//! Where a container's cgroup is on the daemon's machine, and how an agent gets at it.
//!
//! An agent that works inside a target's limits sees the target's cgroup read-only and may write to one file of
//! each hierarchy: `cgroup.procs`, by which it brings processes of its own under those limits. It can change
//! none of the limits, needs no capability for it, and nothing is charged to the target before a step is fired. One that
//! is to limit I/O may write to the files of those limits instead, and to nothing else.
//! A container made with the target's cgroup as its parent would charge its own start to the target, tens of
//! megabytes, when nothing may be changed yet; and it works with one of Docker's cgroup drivers only.

use super::{CALL_LIMIT, Docker, api, bounded, query, short};
use crate::agent::cgroup::{AT, HIERARCHIES, IO_LIMITS, UNIFIED, UNIFIED_IO_LIMITS, door, lever, view};
use crate::agent::task::Place;
use crate::error::{Error, Result};

/// Where Linux distributions and Docker have it.
const ROOT: &str = "/sys/fs/cgroup";

/// How a daemon lays out its cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    /// Slices and scopes instead of plain folders.
    systemd: bool,
    /// One hierarchy for everything.
    unified: bool,
}

impl Docker {
    /// What an agent must mount to get at the cgroup of container `id`, where its daemon usually keeps it.
    ///
    /// # Errors
    /// The container does not exist, or the daemon has no cgroups or does not answer.
    pub(super) async fn cgroup_mounts(&self, id: &str, place: Place) -> Result<Vec<api::Mount>> {
        let layout = self.layout().await?;
        let host = self.inspect(id).await?.and_then(|container| container.host_config);
        let parent = host.and_then(|host| host.cgroup_parent).unwrap_or_default();
        Ok(mounts(layout, &path(layout, &parent, id), place))
    }

    /// The same, where its processes say that they are. A daemon may have a parent of its own for all containers
    /// (`cgroup-parent`), which it tells nobody; asked second, since a daemon within a container sees other paths
    /// than the ones it goes by.
    ///
    /// # Errors
    /// The container does not run, or its daemon has no `ps` that knows cgroups.
    pub(super) async fn cgroup_mounts_as_told(&self, id: &str, place: Place) -> Result<Vec<api::Mount>> {
        let options = query::TopOptions { ps_args: "-o pid,cgroup".into() };
        let call = self.api.top_processes(id, Some(options));
        let what = format!("ask for the cgroup of container {}", short(id));
        let told = bounded(what, CALL_LIMIT, call).await?.processes.unwrap_or_default();
        let path = told.iter().flatten().find_map(|text| told_path(text, id)).ok_or_else(|| {
            Error::environment(format!("the cgroup of container {} is nowhere to be found", short(id)))
                .hint("start Docker without `cgroup-parent`, or give the container one by `--cgroup-parent`")
        })?;
        Ok(mounts(self.layout().await?, path, place))
    }

    async fn layout(&self) -> Result<Layout> {
        let info = bounded("ask Docker for its cgroups", CALL_LIMIT, self.api.info()).await?;
        let driver = info.cgroup_driver.map(|driver| driver.to_string()).unwrap_or_default();
        if !matches!(driver.as_str(), "systemd" | "cgroupfs") {
            return Err(Error::environment("this Docker keeps its containers in no cgroups of their own")
                .hint(
                    "run Docker with systemd or as root; a rootless Docker without delegation has no limits",
                ));
        }
        let version = info.cgroup_version.map(|version| version.to_string()).unwrap_or_default();
        Ok(Layout { systemd: driver == "systemd", unified: version == "2" })
    }
}

/// True if the daemon refused to mount a cgroup because it is not where it was looked for.
pub(super) fn is_elsewhere(error: &Error) -> bool {
    error.chain().contains(&format!("bind source path does not exist: {ROOT}/"))
}

/// What is mounted of the cgroup at `path`, from the root of each hierarchy.
fn mounts(layout: Layout, path: &str, place: Place) -> Vec<api::Mount> {
    let hierarchies = if layout.unified { &[UNIFIED][..] } else { &HIERARCHIES[..] };
    hierarchies
        .iter()
        .flat_map(|hierarchy| {
            let from = match *hierarchy {
                UNIFIED => format!("{ROOT}{path}"),
                named => format!("{ROOT}/{named}{path}"),
            };
            let limits = match *hierarchy {
                UNIFIED => &UNIFIED_IO_LIMITS[..],
                "blkio" => &IO_LIMITS[..],
                _ => &[],
            };
            let files: Vec<_> = match place {
                Place::Devices => limits
                    .iter()
                    .map(|file| mount(format!("{from}/{file}"), &lever(AT.as_ref(), file), false))
                    .collect(),
                _ => vec![mount(format!("{from}/cgroup.procs"), &door(AT.as_ref(), hierarchy), false)],
            };
            std::iter::once(mount(from, &view(AT.as_ref(), hierarchy), true)).chain(files)
        })
        .collect()
}

fn mount(source: String, target: &std::path::Path, read_only: bool) -> api::Mount {
    api::Mount {
        typ: Some(api::MountType::BIND),
        source: Some(source),
        target: Some(target.to_string_lossy().into_owned()),
        read_only: Some(read_only),
        ..Default::default()
    }
}

/// The cgroup of container `id` in what `ps` says of a process (`9:pids:/a/ID,8:cpu:/a/ID` or `0::/a/docker-ID.scope`);
/// nothing if none of it is the container's own.
fn told_path<'t>(text: &'t str, id: &str) -> Option<&'t str> {
    let scope = format!("docker-{id}.scope");
    text.split(',').filter_map(|one| one.splitn(3, ':').nth(2)).find(|path| {
        let last = path.rsplit('/').next();
        last == Some(id) || last == Some(&scope)
    })
}

/// The cgroup of container `id`, from the root of its hierarchy, made with this `--cgroup-parent` (empty: none).
fn path(layout: Layout, parent: &str, id: &str) -> String {
    if !layout.systemd {
        let parent = parent.trim_matches('/');
        return format!("/{}/{id}", if parent.is_empty() { "docker" } else { parent });
    }
    let slice = if parent.is_empty() { "system.slice" } else { parent };
    // `a-b.slice` is kept within `a.slice`.
    let mut folders = String::new();
    let stem = slice.trim_end_matches(".slice");
    if stem != "-" {
        for (at, _) in stem.match_indices('-') {
            folders.push_str(&format!("/{}.slice", &stem[..at]));
        }
        folders.push_str(&format!("/{stem}.slice"));
    }
    format!("{folders}/docker-{id}.scope")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_found_where_each_driver_keeps_it() {
        let plain = Layout { systemd: false, unified: false };
        assert_eq!(path(plain, "", "ab12"), "/docker/ab12");
        assert_eq!(path(plain, "/team/a/", "ab12"), "/team/a/ab12");
        let systemd = Layout { systemd: true, unified: true };
        assert_eq!(path(systemd, "", "ab12"), "/system.slice/docker-ab12.scope");
        assert_eq!(path(systemd, "team-a.slice", "ab12"), "/team.slice/team-a.slice/docker-ab12.scope");
        assert_eq!(path(systemd, "-.slice", "ab12"), "/docker-ab12.scope");
    }

    #[test]
    fn a_container_is_found_where_its_processes_say() {
        for (text, expected) in [
            ("9:name=systemd:/team/ab12,8:pids:/team/ab12,0::/team/ab12", Some("/team/ab12")),
            ("4:memory:/elsewhere,1:cpu:/team/ab12", Some("/team/ab12")),
            ("0::/team.slice/docker-ab12.scope", Some("/team.slice/docker-ab12.scope")),
            ("0::/team/ab12/below", None),
            ("0::/team/ab123", None),
            ("4711", None),
            ("-", None),
        ] {
            assert_eq!(told_path(text, "ab12"), expected, "{text}");
        }
    }
}
