//! Labs on real Docker: up, serving, defending, and down without a trace.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chaos::docker::{Docker, full_name, label};
use chaos::lab::role::upstream::{Answer, Failure, Head, Upstream};
use chaos::lab::{self, Up};
use chaos::spec::{Balance, Lab, Replicas};
use chaos::units;
use hyper::StatusCode;

use super::docker::{CHAOS, Run, connect, eventually, within_limit};

fn replicas() -> Replicas {
    Replicas {
        apis: 2,
        timeout: units::Duration::from_ms(300),
        retries: 0,
        balance: Balance::RoundRobin,
        hedge: None,
        eject_after: None,
        eject_for: units::Duration::from_s(60),
        store_delay: units::Duration::from_ms(1),
        durable: false,
        store_disk: false,
    }
}

/// A lab of the test's own, and a client of its gateway.
struct Gateway {
    client: Upstream,
    up: Up,
}

impl Gateway {
    async fn up(docker: &Docker, run: &Run, replicas: Replicas) -> Self {
        let up = lab::up(docker, &run.0, &Lab::Replicas(replicas), Path::new("")).await.unwrap();
        Self { client: Upstream::new(&up.endpoints["gateway"]).unwrap(), up }
    }

    fn id(&self, name: &str) -> &str {
        &self.up.containers.iter().find(|(short, _)| short == name).unwrap().1
    }

    async fn get(&self, path: &'static str) -> Result<Answer, Failure> {
        self.client.ask(&Head::get(path), Bytes::new()).await
    }

    /// Statuses of `count` requests for the cart, one after the other.
    async fn carts(&self, count: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..count {
            statuses.push(self.get("/cart").await.unwrap().status.as_u16());
        }
        statuses
    }

    async fn stats(&self) -> serde_json::Value {
        serde_json::from_slice(&self.get("/stats").await.unwrap().body).unwrap()
    }
}

#[test]
fn a_lab_comes_up_as_predicted_serves_and_goes_without_a_trace() {
    let run = Run::new("lab");
    within_limit(async {
        let docker = connect().await;
        // Up to five seconds are promised with the image there; loading it is the build's doing.
        docker.ensure_image().await.unwrap();
        let begun = Instant::now();
        let gateway = Gateway::up(&docker, &run, replicas()).await;
        eprintln!("up in {:?}", begun.elapsed());
        let predicted = lab::predicted(&Lab::Replicas(replicas()), Path::new("")).unwrap();
        let containers = docker.containers().await.unwrap();
        let ours: Vec<_> =
            containers.into_iter().filter(|found| found.run.as_deref() == Some(&run.0)).collect();
        assert_eq!(ours.len(), predicted.len());
        for (found, mut wanted) in ours.into_iter().zip(predicted) {
            let mut seen = found.container;
            assert!(seen.image.starts_with("chaos:"), "{}", seen.image);
            wanted.image.clone_from(&seen.image);
            // The run and this machine can't be predicted.
            seen.labels.retain(|key, _| ![label::RUN, label::HOST].contains(&key.as_str()));
            assert_eq!(seen, wanted);
        }
        assert_eq!(gateway.carts(4).await, [200; 4]);
        let order = Head { method: hyper::Method::POST, ..Head::get("/checkout") };
        let answer = gateway.client.ask(&order, Bytes::from_static(b"{\"item\": 1}")).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(gateway.get("/health").await.unwrap().status, StatusCode::OK);
        let stats = gateway.stats().await;
        assert_eq!((&stats["asked"], &stats["failed"]), (&5.into(), &0.into()), "{stats}");
        let begun = Instant::now();
        lab::down(&docker, &run.0).await.unwrap();
        eprintln!("down in {:?}", begun.elapsed());
        assert_eq!(run.left(&docker).await, Vec::<String>::new());
        lab::down(&docker, &run.0).await.unwrap();
    });
}

#[test]
fn roles_run_as_nobody_on_a_read_only_root_without_capabilities() {
    let run = Run::new("unprivileged");
    within_limit(async {
        let docker = connect().await;
        let gateway = Gateway::up(&docker, &run, replicas()).await;
        for (name, id) in &gateway.up.containers {
            let pid = docker.state(id).await.unwrap().unwrap().pid.unwrap();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let field = |name: &str| {
                status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
            };
            assert_eq!(field("Uid:"), "65534\t65534\t65534\t65534", "{name}");
            assert_eq!((field("CapBnd:"), field("NoNewPrivs:")), ("0".repeat(16), "1".to_owned()), "{name}");
            let mounts = std::fs::read_to_string(format!("/proc/{pid}/mounts")).unwrap();
            let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
            assert!(
                root.split(' ').nth(3).unwrap().split(',').any(|option| option == "ro"),
                "{name}: {root}"
            );
        }
    });
}

#[test]
fn a_replica_that_is_killed_and_started_again_is_found_again() {
    let run = Run::new("restart");
    within_limit(async {
        let docker = connect().await;
        let gateway = Gateway::up(&docker, &run, Replicas { apis: 1, ..replicas() }).await;
        assert_eq!(gateway.carts(2).await, [200, 200]);
        docker.kill(gateway.id("api-1"), "SIGKILL").await.unwrap();
        eventually(async || {
            docker.state(gateway.id("api-1")).await.unwrap().filter(|state| state.pid.is_none())
        })
        .await;
        // Its name no longer resolves: that must be an answer at once, not after the resolver's patience.
        let begun = Instant::now();
        assert_eq!(gateway.carts(5).await, [502; 5]);
        assert!(begun.elapsed() < Duration::from_secs(2), "five failures took {:?}", begun.elapsed());
        assert_eq!(gateway.get("/health").await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
        // Its old address goes to another, so that it must be looked up anew.
        let squatter = chaos::docker::ContainerSpec {
            run: run.0.clone(),
            name: "squatter".into(),
            service: "squatter".into(),
            command: ["inside", "role", "store", "--listen", "9999"].map(str::to_owned).to_vec(),
            network: full_name(&run.0, "lab"),
            ..Default::default()
        };
        docker.run_container(&squatter).await.unwrap();
        docker.start(gateway.id("api-1")).await.unwrap();
        eventually(async || (gateway.carts(1).await == [200]).then_some(())).await;
    });
}

#[test]
fn retries_go_elsewhere() {
    let run = Run::new("retries");
    within_limit(async {
        let docker = connect().await;
        let gateway = Gateway::up(&docker, &run, Replicas { retries: 1, ..replicas() }).await;
        docker.kill(gateway.id("api-1"), "SIGKILL").await.unwrap();
        assert_eq!(gateway.carts(6).await, [200; 6]);
        assert!(gateway.stats().await["retried"].as_u64() > Some(0));
    });
}

#[test]
fn without_defences_a_paused_replica_costs_its_share() {
    let run = Run::new("undefended");
    within_limit(async {
        let docker = connect().await;
        let gateway = Gateway::up(&docker, &run, replicas()).await;
        docker.pause(gateway.id("api-1")).await.unwrap();
        let statuses = gateway.carts(6).await;
        assert_eq!(statuses.iter().filter(|status| **status == 504).count(), 3, "{statuses:?}");
        docker.unpause(gateway.id("api-1")).await.unwrap();
    });
}

#[test]
fn hedges_hide_a_paused_replica() {
    let run = Run::new("hedges");
    within_limit(async {
        let docker = connect().await;
        let hedge = Some(units::Duration::from_ms(50));
        let gateway = Gateway::up(&docker, &run, Replicas { hedge, ..replicas() }).await;
        docker.pause(gateway.id("api-1")).await.unwrap();
        assert_eq!(gateway.carts(6).await, [200; 6]);
        let stats = gateway.stats().await;
        assert_eq!((&stats["hedged"], &stats["hedges_won"]), (&3.into(), &3.into()), "{stats}");
        docker.unpause(gateway.id("api-1")).await.unwrap();
    });
}

#[test]
fn ejection_leaves_out_a_paused_replica() {
    let run = Run::new("ejection");
    within_limit(async {
        let docker = connect().await;
        let gateway = Gateway::up(&docker, &run, Replicas { eject_after: Some(2), ..replicas() }).await;
        docker.pause(gateway.id("api-1")).await.unwrap();
        let statuses = gateway.carts(10).await;
        assert_eq!(statuses.iter().filter(|status| **status == 504).count(), 2, "{statuses:?}");
        assert_eq!(gateway.stats().await["replicas"]["api-1"]["ejected"], true);
        docker.unpause(gateway.id("api-1")).await.unwrap();
    });
}

#[test]
fn a_store_that_is_away_is_an_error_and_not_a_hang() {
    let run = Run::new("no-store");
    within_limit(async {
        let docker = connect().await;
        let gateway = Gateway::up(&docker, &run, replicas()).await;
        docker.pause(gateway.id("store-1")).await.unwrap();
        let answer = gateway.get("/cart").await.unwrap();
        assert_eq!(
            (answer.status, &answer.body[..]),
            (StatusCode::GATEWAY_TIMEOUT, &b"the store did not answer in time\n"[..])
        );
        docker.unpause(gateway.id("store-1")).await.unwrap();
    });
}

#[test]
fn a_lab_that_can_not_be_is_refused() {
    let run = Run::new("refused");
    within_limit(async {
        let docker = connect().await;
        for (lab, why) in [
            (Lab::Compose("missing.yaml".into()), "could not read /nowhere/missing.yaml"),
            (Lab::Replicas(Replicas { apis: 0, ..replicas() }), "a lab has 1 to 20 API replicas, not 0"),
        ] {
            let error = lab::up(&docker, &run.0, &lab, Path::new("/nowhere")).await.unwrap_err();
            assert_eq!(error.to_string(), why);
        }
        assert_eq!(run.left(&docker).await, Vec::<String>::new());
    });
}

const COMPOSE: &str = r#"
services:
  web:
    image: IMAGE
    command: [inside, role, store]
    ports: ["127.0.0.1::8080"]
    volumes: ["data:/data"]
    labels: { team: shop }
  worker:
    image: IMAGE
    command: [inside, role, store]
    deploy: { replicas: 1 }
    restart: on-failure:3
volumes:
  data: {}
"#;

#[test]
fn a_compose_project_comes_up_as_predicted_and_goes_with_its_volumes() {
    let run = Run::new("compose");
    within_limit(async {
        let docker = connect().await;
        let dir = tempfile::tempdir().unwrap();
        let image = docker.ensure_image().await.unwrap();
        std::fs::write(dir.path().join("shop.yaml"), COMPOSE.replace("IMAGE", &image)).unwrap();
        let lab = Lab::Compose("shop.yaml".into());
        let predicted = lab::predicted(&lab, dir.path()).unwrap();
        let up = lab::up(&docker, &run.0, &lab, dir.path()).await.unwrap();
        let containers = docker.containers().await.unwrap();
        let ours: Vec<_> =
            containers.into_iter().filter(|found| found.run.as_deref() == Some(&run.0)).collect();
        let names: Vec<_> = ours.iter().map(|found| found.container.name.as_str()).collect();
        assert_eq!(names, ["web-1", "worker-1"]);
        for (found, wanted) in ours.iter().zip(&predicted) {
            let seen = &found.container;
            assert_eq!(
                (&seen.name, &seen.image, &seen.service, &seen.networks, &seen.restart_policy),
                (&wanted.name, &wanted.image, &wanted.service, &wanted.networks, &wanted.restart_policy)
            );
            assert!(
                wanted.labels.iter().all(|(key, value)| seen.labels.get(key) == Some(value)),
                "{:?}",
                seen.labels
            );
        }
        assert_eq!(up.endpoints.keys().collect::<Vec<_>>(), ["web", "web:8080"]);
        let web = Upstream::new(&up.endpoints["web"]).unwrap();
        eventually(async || web.ask(&Head::get("/health"), Bytes::new()).await.ok()).await;
        let mut left = run.left(&docker).await;
        left.sort();
        let project = full_name(&run.0, "");
        let project = project.trim_end_matches('-');
        assert!(
            left.contains(&format!("{project}_data")) && left.contains(&format!("{project}_default")),
            "{left:?}"
        );
        lab::down(&docker, &run.0).await.unwrap();
        assert_eq!(run.left(&docker).await, Vec::<String>::new());
    });
}

#[test]
fn a_compose_project_that_fails_says_why_and_leaves_nothing() {
    let run = Run::new("compose-fails");
    within_limit(async {
        let docker = connect().await;
        let dir = tempfile::tempdir().unwrap();
        let image = docker.ensure_image().await.unwrap();
        let text = format!("services:\n  web: {{ image: '{image}', command: [inside, role, nonsense] }}\n");
        std::fs::write(dir.path().join("compose.yaml"), text).unwrap();
        let error =
            lab::up(&docker, &run.0, &Lab::Compose("compose.yaml".into()), dir.path()).await.unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("web-1 ended with exit code 2: ") && said.contains("nonsense"), "{said}");
        assert_eq!(run.left(&docker).await, Vec::<String>::new());
    });
}

/// Runs the program; its stdout.
fn chaos(arguments: &[&str]) -> String {
    let output = Command::new(CHAOS).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Takes the lab down however the test ends.
struct Kept(String);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = Command::new(CHAOS).args(["lab", "down", &self.0]).output();
    }
}

#[test]
fn chaos_lab_keeps_a_lab_until_it_is_taken_down() {
    let text = chaos(&["lab", "up"]);
    let kept = Kept(text.lines().next().unwrap().to_owned());
    assert!(text.contains("http://127.0.0.1:"), "{text}");
    let listed: serde_json::Value = serde_json::from_str(&chaos(&["lab", "list", "--json"])).unwrap();
    let ours = || listed.as_array().unwrap().iter().find(|lab| lab["run"] == kept.0.as_str());
    assert_eq!((&ours().unwrap()["kept"], &ours().unwrap()["containers"]), (&true.into(), &5.into()));
    assert!(chaos(&["lab", "list"]).contains(&kept.0));
    chaos(&["lab", "down", &kept.0]);
    assert!(!chaos(&["lab", "list"]).contains(&kept.0));
    let again = Command::new(CHAOS).args(["lab", "down", &kept.0]).output().unwrap();
    assert_eq!(again.status.code(), Some(3));
}

#[test]
fn chaos_doctor_says_what_this_machine_can_do() {
    let report: serde_json::Value = serde_json::from_str(&chaos(&["doctor", "--json"])).unwrap();
    assert_eq!((&report["schema"], &report["ok"]), (&"chaos.doctor/1".into(), &true.into()));
    let checks = report["checks"].as_array().unwrap();
    for name in ["docker", "cgroup", "storage", "image", "kernel", "compose", "open files", "clock", "state"]
    {
        let check = checks.iter().find(|check| check["name"] == name).unwrap_or_else(|| panic!("no {name}"));
        assert!(check["outcome"] == "ok" || !check["remedy"].is_null(), "{check}");
    }
    let broken = Command::new(CHAOS).arg("doctor").env("DOCKER_HOST", "unix:///nowhere").output().unwrap();
    assert_eq!(broken.status.code(), Some(3));
    let text = String::from_utf8(broken.stdout).unwrap();
    assert!(text.starts_with("FAIL  docker"), "{text}");
}
