//! A compose file, as far as a plan and labels need it: which containers, networks and volumes there will be.
//!
//! Compose itself knows best and is what starts the project; this is for planning without touching anything,
//! and on machines without compose. Only this one file is read: services that it takes from others
//! (`extends`, `include`) are not predicted. Start at [`ComposeFile::read`].

use std::collections::BTreeMap;
use std::path::Path;

use serde_yaml::Value;

use crate::docker::label;
use crate::error::{Error, Result};
use crate::plan::inventory::Container;

/// No compose file written by people is larger.
const MAX_BYTES: u64 = 1 << 20;
/// More containers of one service than any machine starts.
const MAX_REPLICAS: u64 = 1000;

/// What a compose file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ComposeFile {
    /// Its `version`, where it has one.
    pub version: Option<String>,
    /// The services that `up` starts: those without profiles.
    pub services: Vec<Service>,
    /// Its networks, the implicit `default` included.
    pub networks: Vec<Resource>,
    /// Its volumes.
    pub volumes: Vec<Resource>,
}

/// A service.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// How many containers it has.
    pub replicas: u64,
    /// One of its containers, without name.
    container: Container,
}

/// A network or volume.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Its name in the file.
    pub key: String,
    /// Its `name`: the same on the whole daemon.
    pub name: Option<String>,
    /// It must be there already.
    pub external: bool,
}

impl Resource {
    /// True if compose makes it for this project alone. One with a name of its own may be there already,
    /// with somebody's data in it.
    pub const fn is_the_projects_own(&self) -> bool {
        !self.external && self.name.is_none()
    }
}

impl ComposeFile {
    /// Reads a file; variables come from the environment and the `.env` file beside it, as in compose.
    ///
    /// # Errors
    /// The file can't be read, is too large, or is no compose file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = read_limited(path)
            .map_err(|error| Error::mistake(format!("could not read {}", path.display())).because(error))?;
        let beside = path.with_file_name(".env");
        let dotenv: BTreeMap<String, String> = read_limited(&beside)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.trim().split_once('='))
            .filter(|(key, _)| !key.starts_with('#'))
            .map(|(key, value)| (key.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()))
            .collect();
        let variable = |name: &str| std::env::var(name).ok().or_else(|| dotenv.get(name).cloned());
        Self::parse(&path.display().to_string(), &text, &variable)
    }

    /// Reads a file's text.
    ///
    /// # Errors
    /// It is no YAML or has no services.
    pub fn parse(file: &str, text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Self> {
        let wrong = |what: &str| Error::mistake(format!("{file} is no compose file: {what}"));
        let mut root: Value =
            serde_yaml::from_str(text).map_err(|error| wrong("it is no YAML").because(error))?;
        root.apply_merge().map_err(|error| wrong("it merges what can't be merged").because(error))?;
        let services =
            root.get("services").and_then(Value::as_mapping).ok_or_else(|| wrong("it has no `services`"))?;
        let mut networks = resources(root.get("networks"));
        if !networks.iter().any(|network| network.key == "default") {
            networks.push(Resource { key: "default".into(), ..Default::default() });
        }
        let reader = Reader { variable, networks: &networks };
        let services = services
            .iter()
            .filter(|(_, service)| service.get("profiles").is_none())
            .filter_map(|(name, service)| Some(reader.service(name.as_str()?, service)))
            .collect();
        Ok(Self {
            version: root.get("version").map(scalar),
            services,
            volumes: resources(root.get("volumes")),
            networks,
        })
    }

    /// The containers there will be, by their short names and sorted by them.
    pub fn containers(&self) -> Vec<Container> {
        let mut containers: Vec<Container> = self
            .services
            .iter()
            .flat_map(|service| {
                (1..=service.replicas).map(|number| Container {
                    name: format!("{}-{number}", service.name),
                    ..service.container.clone()
                })
            })
            .collect();
        containers.sort_by(|a, b| a.name.cmp(&b.name));
        containers
    }
}

/// What is needed to read a service.
struct Reader<'f> {
    variable: &'f dyn Fn(&str) -> Option<String>,
    networks: &'f [Resource],
}

impl Reader<'_> {
    fn service(&self, name: &str, service: &Value) -> Service {
        let replicas =
            service.get("deploy").and_then(|deploy| deploy.get("replicas")).or_else(|| service.get("scale"));
        let mut labels: BTreeMap<String, String> = pairs(service.get("labels"))
            .into_iter()
            .map(|(key, value)| (key, self.interpolated(&value)))
            .collect();
        labels.extend([
            (label::ROLE.to_owned(), label::ROLE_LAB.to_owned()),
            (label::SERVICE.to_owned(), name.to_owned()),
            (label::COMPOSE_SERVICE.to_owned(), name.to_owned()),
        ]);
        let mode = service.get("network_mode").map(scalar);
        let restart = service.get("restart").map(scalar).unwrap_or_default();
        // `on-failure:3`; YAML 1.1 readers take a bare `no` for false.
        let policy =
            restart.split(':').next().filter(|policy| !matches!(*policy, "" | "false")).unwrap_or("no");
        let container = Container {
            image: service.get("image").map(|image| self.interpolated(&scalar(image))).unwrap_or_default(),
            service: Some(name.to_owned()),
            networks: if mode.is_some() { Vec::new() } else { self.networks_of(service) },
            restart_policy: policy.to_owned(),
            host_network: mode.as_deref() == Some("host"),
            protected: labels.get(label::PROTECT).is_some_and(|value| value == "true"),
            labels,
            ..Default::default()
        };
        let replicas = replicas.and_then(Value::as_u64).unwrap_or(1).min(MAX_REPLICAS);
        Service { name: name.to_owned(), replicas, container }
    }

    fn networks_of(&self, service: &Value) -> Vec<String> {
        let mut keys: Vec<String> = pairs(service.get("networks")).into_keys().collect();
        if keys.is_empty() {
            keys.push("default".into());
        }
        let mut names: Vec<String> = keys
            .into_iter()
            .map(|key| {
                let network = self.networks.iter().find(|network| network.key == key);
                match network {
                    Some(network) if !network.is_the_projects_own() => network.name.clone().unwrap_or(key),
                    _ => key,
                }
            })
            .collect();
        names.sort();
        names
    }

    /// Replaces `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME-default}`; `$$` is a dollar sign.
    fn interpolated(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                out.push('$');
                rest = after;
            } else if let Some((inside, after)) =
                rest.strip_prefix('{').and_then(|inside| inside.split_once('}'))
            {
                let end = inside.find([':', '-', '?', '+']).unwrap_or(inside.len());
                let (name, default) = inside.split_at(end);
                let default = default.trim_start_matches(':').strip_prefix('-').unwrap_or_default();
                out.push_str(
                    &(self.variable)(name)
                        .filter(|value| !value.is_empty())
                        .unwrap_or_else(|| default.into()),
                );
                rest = after;
            } else {
                let end = rest
                    .find(|letter: char| !letter.is_alphanumeric() && letter != '_')
                    .unwrap_or(rest.len());
                out.push_str(&(self.variable)(&rest[..end]).unwrap_or_default());
                rest = &rest[end..];
            }
        }
        out + rest
    }
}

/// Compose's two ways of writing pairs: a mapping, or a list of `key=value` (or just keys).
fn pairs(value: Option<&Value>) -> BTreeMap<String, String> {
    match value {
        Some(Value::Mapping(map)) => map.iter().map(|(key, value)| (scalar(key), scalar(value))).collect(),
        Some(Value::Sequence(list)) => list
            .iter()
            .map(|item| {
                let text = scalar(item);
                let (key, value) = text.split_once('=').unwrap_or((&text, ""));
                (key.to_owned(), value.to_owned())
            })
            .collect(),
        _ => BTreeMap::new(),
    }
}

fn resources(value: Option<&Value>) -> Vec<Resource> {
    let entries = value.and_then(Value::as_mapping).into_iter().flatten();
    entries
        .map(|(key, value)| {
            let external = value.get("external").unwrap_or(&Value::Null);
            Resource {
                key: scalar(key),
                // The older form: `external: { name: shared }`.
                name: value.get("name").or_else(|| external.get("name")).map(scalar),
                external: external.as_bool().unwrap_or(external.is_mapping()),
            }
        })
        .collect()
}

/// A scalar's text; nothing of anything else.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(value) => value.to_string(),
        _ => String::new(),
    }
}

fn read_limited(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> ComposeFile {
        ComposeFile::parse("c.yaml", text, &|name| (name == "TAG").then(|| "1.2".into())).unwrap()
    }

    #[test]
    fn predicts_containers() {
        let file = parse(
            "x-common: &common {restart: 'on-failure:3', labels: [team=shop, chaos.protect=true]}\n\
             services:\n  web: {<<: *common, image: 'web:${TAG}', deploy: {replicas: 2}, networks: [front, shared]}\n  \
             db: {image: 'db:${OTHER:-9}', networks: {front: {aliases: [x]}}}\n  \
             host: {image: h, network_mode: host, restart: no}\n  plain: {build: .}\n  tool: {image: t, profiles: [debug]}\n\
             networks: {front: , shared: {external: true, name: company}}\n",
        );
        let seen: Vec<_> = file
            .containers()
            .into_iter()
            .map(|one| {
                (
                    one.name,
                    one.image,
                    one.networks.join(","),
                    one.restart_policy,
                    one.host_network,
                    one.protected,
                )
            })
            .collect();
        let expected = [
            ("db-1", "db:9", "front", "no", false, false),
            ("host-1", "h", "", "no", true, false),
            ("plain-1", "", "default", "no", false, false),
            ("web-1", "web:1.2", "company,front", "on-failure", false, true),
            ("web-2", "web:1.2", "company,front", "on-failure", false, true),
        ];
        let expected = expected.map(|(name, image, networks, policy, host, protected)| {
            (name.to_owned(), image.to_owned(), networks.to_owned(), policy.to_owned(), host, protected)
        });
        assert_eq!(seen, expected);
        assert_eq!(file.containers()[3].labels["team"], "shop");
    }

    #[test]
    fn interpolates_as_compose_does() {
        let reader = Reader { variable: &|name| (name == "A").then(|| "1".into()), networks: &[] };
        for (text, expected) in [
            ("$A/${A}/$$A", "1/1/$A"),
            ("${B:-x}-${B-y}-${B}-${A:-z}", "x-y--1"),
            ("no variables", "no variables"),
            ("${open", "{open"),
        ] {
            assert_eq!(reader.interpolated(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_compose_file_is_a_mistake() {
        for (text, why) in [
            ("a: [", "it is no YAML"),
            ("experiment: x", "it has no `services`"),
            ("", "it has no `services`"),
        ] {
            let error = ComposeFile::parse("c.yaml", text, &|_| None).unwrap_err();
            assert_eq!(error.to_string(), format!("c.yaml is no compose file: {why}"));
        }
        let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\n\
            d: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\n\
            g: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: &h [*g,*g,*g,*g,*g,*g,*g,*g,*g]\nservices: {a: {labels: *h}}";
        assert!(ComposeFile::parse("c.yaml", bomb, &|_| None).is_err());
    }
}
