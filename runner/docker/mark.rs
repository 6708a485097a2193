//! Marks on the daemon: empty volumes that say something by their names and labels, to every machine that uses it.
//!
//! A volume of a name is made once; whoever asks for it after that is given the first one's, labels included. So
//! a mark is a lock that needs no server of its own, and it is still there when the daemon starts again. Volumes
//! cost the daemon a directory each. Removing one is [`Docker::remove_volume`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::stream::{BoxStream, StreamExt as _};

use super::{CALL_LIMIT, Docker, Leftover, LeftoverKind, api, bounded, host_id, label, query};
use crate::error::Result;

impl Docker {
    /// Puts a mark unless it is there. The labels it has now: these, or those of whoever was first.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn mark(
        &self,
        name: &str,
        labels: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        let mut labels: HashMap<String, String> = labels.clone().into_iter().collect();
        labels.insert(label::HOST.into(), host_id());
        let request = api::VolumeCreateRequest {
            name: Some(name.into()),
            // Named, the daemon gives these labels to a volume that it was killed in the middle of making; else that one
            // stays without.
            driver: Some("local".into()),
            labels: Some(labels),
            ..Default::default()
        };
        let what = format!("put mark {name}");
        let made = bounded(what, CALL_LIMIT, self.api.create_volume(request)).await?;
        Ok(made.labels.into_iter().collect())
    }

    /// Tells each time a mark of this name is put from now on, and again if it is asked for once more. Ends when the
    /// connection does.
    pub fn puts(&self, name: &str) -> BoxStream<'static, ()> {
        let filters = [("type", "volume"), ("event", "create"), ("volume", name)];
        let filters = filters.map(|(key, value)| (key.to_owned(), vec![value.to_owned()]));
        let options = query::EventsOptions {
            since: self.since_now(),
            filters: Some(filters.into()),
            ..Default::default()
        };
        let events = self.api.events(Some(options)).take_while(|event| std::future::ready(event.is_ok()));
        events.map(drop).boxed()
    }

    /// The volumes whose names begin so and that have no label at all: a daemon that was killed while it made a mark
    /// leaves it so.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn unlabelled_marks(&self, prefix: &str) -> Result<BTreeSet<String>> {
        let filters = Some(HashMap::from([("name".to_owned(), vec![prefix.to_owned()])]));
        let options = query::ListVolumesOptions { filters };
        let found = bounded("list volumes", CALL_LIMIT, self.api.list_volumes(Some(options))).await?;
        let volumes = found.volumes.unwrap_or_default().into_iter();
        // The daemon's filter finds the text anywhere in the name.
        let bare = volumes.filter(|one| one.name.starts_with(prefix) && one.labels.is_empty());
        Ok(bare.map(|one| one.name).collect())
    }

    /// The marks with these labels, sorted by name.
    ///
    /// # Errors
    /// The daemon does not answer.
    pub async fn marks(&self, labels: &[(&str, &str)]) -> Result<Vec<Leftover>> {
        let all = self.labelled(labels).await?;
        Ok(all.into_iter().filter(|one| one.kind == LeftoverKind::Volume).collect())
    }
}
