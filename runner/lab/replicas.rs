//! The built-in lab `replicas`: gateway before API replicas before a store, out of this program alone.

use std::collections::BTreeMap;

use futures_util::future::{join_all, try_join_all};

use super::role::PORT;
use super::{Member, Up, await_ready, lab_labels};
use crate::docker::{ContainerSpec, Docker, VOLUME};
use crate::error::{Error, Result};
use crate::patience::Patience;
use crate::plan::inventory::Container;
use crate::spec::Replicas;

/// The lab's network, by its short name.
const NETWORK: &str = "lab";
/// The most API replicas: enough for every experiment, few enough for a laptop.
pub const MAX_APIS: u32 = 20;
/// Where a durable store without a disk keeps orders: in memory, so that an experiment may fill it up.
const STORE_FOLDER: &str = "/dev/shm";
/// The API gives up on the store before the gateway gives up on the API, so that errors say which it was.
const API_PATIENCE: f64 = 0.8;

/// The lab's containers: short name, service and arguments, in the order in which traffic passes them.
pub fn members(lab: &Replicas) -> Vec<Member> {
    let apis: Vec<String> = (1..=lab.apis).map(|number| format!("api-{number}")).collect();
    let at = |name: &str| format!("{name}:{PORT}");
    let mut gateway = vec!["gateway".to_owned()];
    for api in &apis {
        gateway.extend(["--upstream".into(), at(api)]);
    }
    let mut option = |name: &str, value: String| gateway.extend([format!("--{name}"), value]);
    option("timeout", lab.timeout.to_string());
    option("retries", lab.retries.to_string());
    option("balance", lab.balance.word().into());
    option("eject-for", lab.eject_for.to_string());
    if let Some(hedge) = lab.hedge {
        option("hedge", hedge.to_string());
    }
    if let Some(failures) = lab.eject_after {
        option("eject-after", failures.to_string());
    }
    let patience = crate::units::Duration::from_ns((lab.timeout.as_ns() as f64 * API_PATIENCE) as u64);
    let mut members = vec![Member::new("gateway-1", "gateway", gateway)];
    members.extend(apis.iter().map(|name| {
        let arguments =
            ["api", "--name", name, "--store", &at("store-1"), "--timeout", &patience.to_string()];
        Member::new(name, "api", arguments.map(str::to_owned).to_vec())
    }));
    let mut store = ["store", "--delay", &lab.store_delay.to_string()].map(str::to_owned).to_vec();
    if lab.store_disk {
        store.extend(["--keep-in".into(), VOLUME.into(), "--sync".into()]);
    } else if lab.durable {
        store.extend(["--keep-in".into(), STORE_FOLDER.into()]);
    }
    members.push(Member { disk: lab.store_disk, ..Member::new("store-1", "store", store) });
    members
}

/// The containers the lab will have.
///
/// # Errors
/// More replicas than there may be, or none.
pub fn predicted(lab: &Replicas) -> Result<Vec<Container>> {
    check(lab)?;
    let mut containers: Vec<Container> = members(lab)
        .into_iter()
        .map(|member| Container {
            labels: lab_labels(&member.name, &member.service),
            image: crate::docker::image::NAME.into(),
            networks: vec![NETWORK.into()],
            restart_policy: "no".into(),
            name: member.name,
            service: Some(member.service),
            ..Default::default()
        })
        .collect();
    containers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(containers)
}

fn check(lab: &Replicas) -> Result<()> {
    if (1..=MAX_APIS).contains(&lab.apis) {
        return Ok(());
    }
    Err(Error::mistake(format!("a lab has 1 to {MAX_APIS} API replicas, not {}", lab.apis)))
}

/// Starts the lab and returns when every part of it answers.
pub async fn up(
    docker: &Docker,
    run: &str,
    lab: &Replicas,
    labels: &BTreeMap<String, String>,
    patience: &Patience,
) -> Result<Up> {
    check(lab)?;
    let network = async { docker.create_network(run, NETWORK, labels).await };
    // Neither needs the other. Both are awaited to the end: a failed one must not leave the other half made.
    let (image, network) = tokio::join!(docker.ensure_image(), network);
    image?;
    let network = network?;
    patience.check()?;
    let started = members(lab).into_iter().map(|member| {
        let spec = ContainerSpec {
            run: run.into(),
            publish: if member.service == "gateway" { vec![PORT] } else { Vec::new() },
            command: ["inside", "role"].into_iter().map(str::to_owned).chain(member.arguments).collect(),
            name: member.name,
            service: member.service,
            network: network.clone(),
            volume: member.disk,
            labels: labels.clone(),
        };
        async move { docker.run_container(&spec).await.map(|started| (spec, started)) }
    });
    let started = join_all(started).await.into_iter().collect::<Result<Vec<_>>>()?;
    let mut up = Up::default();
    for (spec, started) in &started {
        for (port, address) in &started.ports {
            up.endpoints.insert(spec.service.clone(), address.to_string());
            up.endpoints.insert(format!("{}:{port}", spec.service), address.to_string());
        }
        up.containers.push((spec.name.clone(), started.id.clone()));
    }
    let gateways = started.iter().flat_map(|(_, started)| started.ports.values());
    let ready = try_join_all(gateways.map(|address| await_ready(docker, *address, &up.containers)));
    patience.wait(ready).await?;
    Ok(up)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Duration;

    fn replicas() -> Replicas {
        Replicas {
            apis: 2,
            timeout: Duration::from_ms(500),
            retries: 1,
            balance: crate::spec::Balance::RoundRobin,
            hedge: None,
            eject_after: None,
            eject_for: Duration::from_s(5),
            store_delay: Duration::from_ms(1),
            durable: false,
            store_disk: false,
        }
    }

    #[test]
    fn a_store_with_a_disk_keeps_orders_there_and_nowhere_else() {
        let store = |durable, store_disk| {
            let member = members(&Replicas { durable, store_disk, ..replicas() }).pop().unwrap();
            (member.arguments.join(" "), member.disk)
        };
        assert_eq!(store(false, false), ("store --delay 1ms".into(), false));
        assert_eq!(store(true, false), ("store --delay 1ms --keep-in /dev/shm".into(), false));
        for durable in [false, true] {
            assert_eq!(store(durable, true), ("store --delay 1ms --keep-in /data --sync".into(), true));
        }
    }

    #[test]
    fn defences_left_out_are_not_mentioned_to_the_gateway() {
        let line = |lab: &Replicas| members(lab)[0].arguments.join(" ");
        let plain = "gateway --upstream api-1:8080 --upstream api-2:8080 --timeout 500ms --retries 1 \
            --balance round_robin --eject-for 5s";
        assert_eq!(line(&replicas()), plain);
        let defended = Replicas { hedge: Some(Duration::from_ms(50)), eject_after: Some(3), ..replicas() };
        assert_eq!(line(&defended), format!("{plain} --hedge 50ms --eject-after 3"));
    }

    #[test]
    fn predicts_containers_by_their_short_names() {
        let containers = predicted(&replicas()).unwrap();
        let names: Vec<_> = containers.iter().map(|container| container.name.as_str()).collect();
        assert_eq!(names, ["api-1", "api-2", "gateway-1", "store-1"]);
        assert!(containers.iter().all(|container| container.networks == ["lab"]));
        for apis in [0, MAX_APIS + 1] {
            assert!(predicted(&Replicas { apis, ..replicas() }).is_err());
        }
    }
}
