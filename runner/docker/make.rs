//! Making things on the daemon: the image, networks, containers. All of it labelled with run and role.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::image::Image;
use super::{
    CALL_LIMIT, Docker, LOAD_LIMIT, NOBODY, VOLUME, absent_is_none, api, body_try_stream, bounded, full_name,
    host_id, label, query, short,
};
use crate::error::{Error, Result};

/// Of a lab container: generous, so that only faults break it.
const LAB_MEMORY_BYTES: i64 = 512 << 20;
/// Threads of a lab role; it uses a handful, and more while names don't resolve.
const LAB_PIDS_LIMIT: i64 = 128;
/// Below the kernel's usual range for outgoing connections (32768 and up), so that no client of this
/// machine takes the port of a container while it is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Somebody else may take a free port between the look and the use.
const PORT_TRIES: u32 = 8;
/// Images of older builds are removed when a new one is loaded, unless tagged within this long.
const IMAGE_IDLE_S: i64 = 3600;
/// Size of the pieces in which an image is sent.
const PIECE_BYTES: usize = 256 << 10;
/// Longer than the usual call: the runtime and the network are set up meanwhile, for several containers at once, and
/// nothing is broken yet that would have to be taken back in time. A slow machine takes more than 15 s for it.
const START_LIMIT: Duration = Duration::from_secs(60);
/// How long a network's last endpoints may take to go away.
const NETWORK_LIMIT: Duration = Duration::from_secs(10);
/// How often to try again meanwhile.
const RETRY_EVERY: Duration = Duration::from_millis(50);

/// A lab's container to be started.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// The run.
    pub run: String,
    /// Its short name; the container is called `chaos-RUN-NAME` and reached as NAME in its network.
    pub name: String,
    /// Its service, by which it is reached too.
    pub service: String,
    /// Arguments of the program.
    pub command: Vec<String>,
    /// The network's name or id.
    pub network: String,
    /// TCP ports published on 127.0.0.1.
    pub publish: Vec<u16>,
    /// True for one with a volume of its own at [`VOLUME`], which is removed with it.
    pub volume: bool,
    /// Labels beyond run, role, name, service and host.
    pub labels: BTreeMap<String, String>,
}

/// A lab's container that was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its id.
    pub id: String,
    /// Where each published port is reached.
    pub ports: BTreeMap<u16, SocketAddr>,
}

impl Docker {
    /// The image of this program, loaded into the daemon unless it is there; returns its tag. Two at the
    /// same time do the work twice and make one image: its id is a hash of its content.
    ///
    /// # Errors
    /// The program's files can't be read, or the daemon refuses them.
    pub async fn ensure_image(&self) -> Result<String> {
        let mut known = self.image.lock().await;
        if let Some(tag) = &*known {
            return Ok(tag.clone());
        }
        let program = Arc::clone(&self.program);
        let image = tokio::task::spawn_blocking(move || Image::of(&program))
            .await
            .expect("making an image does not panic")
            .map_err(|error| Error::environment("could not make an image of this program").because(error))?;
        let tag = image.tag.clone();
        let there = bounded("look for our image", CALL_LIMIT, self.api.inspect_image(&tag)).await;
        if absent_is_none(there)?.is_none() {
            self.load(image).await?;
            self.remove_old_images(&tag).await;
        }
        self.touch(&tag).await;
        Ok(known.insert(tag).clone())
    }

    async fn load(&self, image: Image) -> Result<()> {
        let (sender, receiver) = mpsc::channel(4);
        let writer = tokio::task::spawn_blocking(move || {
            let out = BufWriter::with_capacity(PIECE_BYTES, Pieces(sender.clone()));
            if let Err(error) = image.write(out) {
                // The other end is gone if the daemon refused: it says why.
                let _ = sender.blocking_send(Err(error));
            }
        });
        let pieces = stream::unfold(receiver, |mut receiver| async move {
            receiver.recv().await.map(|piece| (piece, receiver))
        });
        let options = query::ImportImageOptions { quiet: true, platform: None };
        let mut answers = self.api.import_image(options, body_try_stream(pieces), None);
        let load = async {
            while let Some(answer) = answers.next().await {
                answer?;
            }
            Ok(())
        };
        bounded("load our image into Docker", LOAD_LIMIT, load).await?;
        writer.await.expect("writing an image does not panic");
        Ok(())
    }

    /// Notes on the daemon that the image is in use, for whoever removes old ones. Best effort.
    async fn touch(&self, tag: &str) {
        let (repo, version) = tag.split_once(':').unwrap_or((tag, "latest"));
        let options = query::TagImageOptions { repo: Some(repo.into()), tag: Some(version.into()) };
        let _ = bounded("tag our image", CALL_LIMIT, self.api.tag_image(tag, Some(options))).await;
    }

    /// Removes our images of older builds that nothing uses. Best effort: they only cost space.
    async fn remove_old_images(&self, current: &str) {
        let ours = format!("{}={}", label::ROLE, label::ROLE_IMAGE);
        let options = query::ListImagesOptions {
            filters: Some(HashMap::from([("label".into(), vec![ours])])),
            ..Default::default()
        };
        let Ok(images) = bounded("list our images", CALL_LIMIT, self.api.list_images(Some(options))).await
        else {
            return;
        };
        let now_s = jiff::Timestamp::now().as_second();
        for tag in images.into_iter().flat_map(|image| image.repo_tags).filter(|tag| tag != current) {
            let inspected = bounded("look at an image", CALL_LIMIT, self.api.inspect_image(&tag)).await;
            let tagged = inspected
                .ok()
                .and_then(|image| image.metadata?.last_tag_time?.parse::<jiff::Timestamp>().ok());
            // Loading alone leaves the time at the year 1: that one is just being loaded.
            if tagged
                .is_some_and(|tagged| tagged.as_second() > 0 && now_s - tagged.as_second() > IMAGE_IDLE_S)
            {
                // Refused for one that a container uses.
                let remove = self.api.remove_image(&tag, None::<query::RemoveImageOptions>, None);
                let _ = bounded("remove an old image", CALL_LIMIT, remove).await;
            }
        }
    }

    /// Creates a container of our image, called `chaos-RUN-NAME`, without privileges beyond those asked for.
    pub(super) async fn create(
        &self,
        run: &str,
        name: &str,
        mut labels: BTreeMap<String, String>,
        mut body: api::ContainerCreateBody,
    ) -> Result<String> {
        labels.insert(label::RUN.into(), run.into());
        labels.insert(label::HOST.into(), host_id());
        body.labels = Some(labels.into_iter().collect());
        let host = body.host_config.get_or_insert_default();
        host.cap_drop = Some(vec!["ALL".into()]);
        host.security_opt = Some(vec!["no-new-privileges:true".into()]);
        host.readonly_rootfs = Some(true);
        let full = full_name(run, name);
        let options = query::CreateContainerOptions { name: Some(full.clone()), ..Default::default() };
        let mut tries = 0;
        loop {
            tries += 1;
            body.image = Some(self.ensure_image().await?);
            let call = self.api.create_container(Some(options.clone()), body.clone());
            match bounded(format!("create container {full}"), CALL_LIMIT, call).await {
                Ok(created) => return Ok(created.id),
                // Another chaos removed the image as an old one since we looked.
                Err(failed) if failed.says(&["No such image"]) && tries == 1 => {
                    *self.image.lock().await = None
                }
                Err(failed) => return Err(failed.into()),
            }
        }
    }

    /// Starts a container of a lab.
    ///
    /// # Errors
    /// The name is taken, the network does not exist, no port is free, or the daemon does not answer.
    /// Nothing is left.
    pub async fn run_container(&self, spec: &ContainerSpec) -> Result<Started> {
        let mut tries = 0;
        loop {
            tries += 1;
            let ports = spec
                .publish
                .iter()
                .map(|port| Ok((*port, SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?)))))
                .collect::<Result<BTreeMap<_, _>>>()?;
            let id = self.create(&spec.run, &spec.name, spec.labels(), spec.body(&ports)).await?;
            let start = self.api.start_container(&id, None::<query::StartContainerOptions>);
            let Err(failed) = bounded(format!("start {}", spec.name), START_LIMIT, start).await else {
                return Ok(Started { id, ports });
            };
            let removed = self.remove(&id).await;
            let port_taken = failed.says(&["port is already allocated", "address already in use"]);
            // The first failure is the one to act on; what could not be removed has the run's label.
            if !port_taken || tries == PORT_TRIES || removed.is_err() {
                return Err(failed.into());
            }
        }
    }

    /// Creates a bridge network called `chaos-RUN-NAME`; returns its id.
    ///
    /// # Errors
    /// The name is taken, the daemon has no addresses left, or does not answer.
    pub async fn create_network(
        &self,
        run: &str,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<String> {
        let mut labels: HashMap<String, String> = labels.clone().into_iter().collect();
        labels.extend([
            (label::RUN.into(), run.into()),
            (label::ROLE.into(), label::ROLE_NETWORK.into()),
            (label::NAME.into(), name.into()),
            (label::HOST.into(), host_id()),
        ]);
        let full = full_name(run, name);
        let request = api::NetworkCreateRequest {
            name: full.clone(),
            driver: Some("bridge".into()),
            labels: Some(labels),
            ..Default::default()
        };
        match bounded(format!("create network {full}"), CALL_LIMIT, self.api.create_network(request)).await {
            Ok(created) => Ok(created.id),
            Err(failed) => {
                let exhausted = failed.says(&["address pools", "available network"]);
                let error = Error::from(failed);
                Err(if exhausted {
                    error.hint("remove networks that nothing uses: `docker network prune`")
                } else {
                    error
                })
            }
        }
    }

    /// Removes a network by name or id, waiting for containers that are just leaving it. No error if there
    /// is none.
    ///
    /// # Errors
    /// A container is attached to it, or the daemon does not answer.
    pub async fn remove_network(&self, id: &str) -> Result<()> {
        let until = tokio::time::Instant::now() + NETWORK_LIMIT;
        loop {
            let call = self.api.remove_network(id);
            match bounded(format!("remove network {}", short(id)), CALL_LIMIT, call).await {
                Err(failed) if failed.says(&["active endpoints"]) && tokio::time::Instant::now() < until => {
                    tokio::time::sleep(RETRY_EVERY).await;
                }
                other => return absent_is_none(other).map(|_| ()),
            }
        }
    }

    /// Removes a volume by name. No error if there is none.
    ///
    /// # Errors
    /// A container uses it, or the daemon does not answer.
    pub async fn remove_volume(&self, name: &str) -> Result<()> {
        let call = self.api.remove_volume(name, None::<query::RemoveVolumeOptions>);
        absent_is_none(bounded(format!("remove volume {name}"), CALL_LIMIT, call).await).map(|_| ())
    }
}

impl ContainerSpec {
    fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.labels.clone();
        labels.extend([
            (label::ROLE.into(), label::ROLE_LAB.into()),
            (label::NAME.into(), self.name.clone()),
            (label::SERVICE.into(), self.service.clone()),
        ]);
        labels
    }

    /// A volume without a name, so that it goes with its container; labelled all the same, so that it is found if the
    /// daemon dies between the two.
    fn mount(&self) -> api::Mount {
        let mut labels: HashMap<String, String> = self.labels().into_iter().collect();
        labels.extend([(label::RUN.into(), self.run.clone()), (label::HOST.into(), host_id())]);
        api::Mount {
            typ: Some(api::MountType::VOLUME),
            target: Some(VOLUME.into()),
            volume_options: Some(api::MountVolumeOptions { labels: Some(labels), ..Default::default() }),
            ..Default::default()
        }
    }

    fn body(&self, ports: &BTreeMap<u16, SocketAddr>) -> api::ContainerCreateBody {
        let bindings = ports.iter().map(|(port, address)| {
            let binding = api::PortBinding {
                host_ip: Some(address.ip().to_string()),
                host_port: Some(address.port().to_string()),
            };
            (format!("{port}/tcp"), Some(vec![binding]))
        });
        let endpoint = api::EndpointSettings {
            aliases: Some(vec![self.name.clone(), self.service.clone()]),
            ..Default::default()
        };
        let log_options = HashMap::from([("max-size".into(), "1m".into()), ("max-file".into(), "1".into())]);
        api::ContainerCreateBody {
            cmd: Some(self.command.clone()),
            hostname: Some(self.name.clone()),
            user: Some(format!("{NOBODY}:{NOBODY}")),
            exposed_ports: Some(ports.keys().map(|port| format!("{port}/tcp")).collect()),
            networking_config: Some(api::NetworkingConfig {
                endpoints_config: Some(HashMap::from([(self.network.clone(), endpoint)])),
            }),
            host_config: Some(api::HostConfig {
                network_mode: Some(self.network.clone()),
                port_bindings: Some(bindings.collect()),
                memory: Some(LAB_MEMORY_BYTES),
                pids_limit: Some(LAB_PIDS_LIMIT),
                mounts: self.volume.then(|| vec![self.mount()]),
                // A name that does not resolve must fail fast, not in the resolver's ten seconds.
                // With ndots set and no search domain, Docker answers for short names itself instead of asking around.
                dns_options: Some(vec!["ndots:1".into(), "timeout:1".into(), "attempts:1".into()]),
                dns_search: Some(vec![".".into()]),
                log_config: Some(api::HostConfigLogConfig {
                    typ: Some("json-file".into()),
                    config: Some(log_options),
                }),
                ..Default::default()
            }),
            ..Default::default()
        }
    }
}

/// A port of 127.0.0.1 that nothing listens on.
fn free_port() -> Result<u16> {
    (0..PORT_TRIES)
        .map(|_| rand::random_range(PORTS))
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| {
            Error::environment(format!("no free port on 127.0.0.1 from {} to {}", PORTS.start, PORTS.end))
        })
}

/// Sends what is written as pieces of a request's body.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map(|()| bytes.len()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
