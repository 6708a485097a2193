//! Choosing containers: which match a target's selectors, and which of those are picked.
//!
//! The draw depends on the seed, the target's name and the matching names, and on nothing else: adding a
//! target to an experiment does not change what another one picks.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::inventory::{Container, Inventory};
use crate::spec::{Pick, Target};

/// What a target's selectors found.
pub(super) struct Matches<'i> {
    /// Containers that may be hit, sorted by name.
    pub free: Vec<&'i Container>,
    /// Names of containers that match but are protected.
    pub protected: Vec<&'i str>,
}

/// Finds the containers that every selector of `target` matches.
pub(super) fn matching<'i>(target: &Target, inventory: &'i Inventory) -> Matches<'i> {
    let pattern = target.re.as_ref().and_then(|re| regex::Regex::new(&format!("^(?:{})$", re.value)).ok());
    let is_match = |container: &Container| {
        target.name.as_ref().is_none_or(|name| *name == container.name)
            && (target.re.is_none() || pattern.as_ref().is_some_and(|re| re.is_match(&container.name)))
            && target.label.as_ref().is_none_or(|label| has_label(container, label))
            && target.service.as_ref().is_none_or(|service| container.service.as_ref() == Some(service))
            && target.image.as_ref().is_none_or(|image| is_image(&container.image, image))
            && target.network.as_ref().is_none_or(|network| container.networks.contains(network))
    };
    let mut free: Vec<_> = inventory.containers.iter().filter(|container| is_match(container)).collect();
    free.sort_by(|a, b| a.name.cmp(&b.name));
    let protected = free.iter().filter(|found| found.protected).map(|found| found.name.as_str()).collect();
    free.retain(|found| !found.protected);
    Matches { free, protected }
}

fn has_label(container: &Container, label: &str) -> bool {
    match label.split_once('=') {
        Some((key, value)) => container.labels.get(key).is_some_and(|found| found == value),
        None => container.labels.contains_key(label),
    }
}

/// True if `wanted` names `image`, with its tag or without. A digest or a registry's port is part of the name.
fn is_image(image: &str, wanted: &str) -> bool {
    let untagged = match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    };
    image == wanted || untagged == wanted
}

/// Draws from `matches` as `pick` says, sorted by name; nothing if there are too few.
pub(super) fn picked(matches: &[&Container], pick: Pick, seed: u64, target: &str) -> Option<Vec<String>> {
    let wanted = match pick {
        Pick::All => matches.len(),
        Pick::Count(count) => count as usize,
        // Rounded up: 50% of one container is that container, not nothing.
        Pick::Share(share) => (share.get() * matches.len() as f64).ceil() as usize,
    };
    if wanted > matches.len() {
        return None;
    }
    let mut names: Vec<_> = matches.iter().map(|found| found.name.clone()).collect();
    names.shuffle(&mut ChaCha8Rng::seed_from_u64(derived_seed(seed, target)));
    names.truncate(wanted);
    names.sort();
    Some(names)
}

/// A seed of its own for everything that has a name (FNV-1a of the name, mixed with the experiment's seed).
pub(super) fn derived_seed(seed: u64, name: &str) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash = name.bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    // The multiplication spreads neighbouring seeds, so that 1 and 2 share no low bits by accident.
    hash ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_match_with_and_without_their_tag() {
        for (image, wanted, expected) in [
            ("redis:7", "redis", true),
            ("redis:7", "redis:7", true),
            ("redis:7", "redis:6", false),
            ("hub.example:5000/redis", "hub.example", false),
            ("hub.example:5000/redis:7", "hub.example:5000/redis", true),
        ] {
            assert_eq!(is_image(image, wanted), expected, "{image} {wanted}");
        }
    }

    #[test]
    fn the_draw_is_seeded_and_rounds_up() {
        let containers: Vec<_> =
            (0..5).map(|index| Container { name: format!("api-{index}"), ..Container::default() }).collect();
        let matches: Vec<_> = containers.iter().collect();
        let draw = |pick, seed| picked(&matches, pick, seed, "one").map(|names| names.join(" "));
        assert_eq!(draw(Pick::Count(2), 7), draw(Pick::Count(2), 7));
        assert!((0..50).any(|seed| draw(Pick::Count(2), seed) != draw(Pick::Count(2), 7)));
        let half = Pick::Share(crate::units::Ratio::new(0.5));
        assert_eq!(draw(half, 1).map(|names| names.split(' ').count()), Some(3));
        assert_eq!(draw(Pick::Count(6), 1), None);
    }
}
