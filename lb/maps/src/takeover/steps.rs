//! What changed from each ABI version to the next.
//!
//! A new version adds an entry to [`STEPS`] with the maps whose layout or meaning it changed, and a
//! file beside this one that converts them. Both layouts are written down there once more: what the
//! other crates know of a version ends with it.

use ebpf_abi::map;

use super::{Loss, raw::Contents, v1};

struct Step {
    /// The version before.
    from: u32,
    /// The maps that it changed, whether by their sizes or by what is meant. All others are shared.
    maps: &'static [&'static str],
    /// Makes the contents of these maps those of the next version.
    convert: fn(&mut Contents) -> Vec<Loss>,
}

static STEPS: [Step; 1] = [Step {
    from: 1,
    maps: &[map::SERVICES, map::MAGLEV, map::BACKENDS, map::CONFIG],
    convert: v1::convert,
}];

fn between(from: u32, to: u32) -> impl Iterator<Item = &'static Step> {
    STEPS.iter().filter(move |step| (from..to).contains(&step.from))
}

/// Whether a map of one version is another in a later one.
pub(super) fn changed(map: &str, from: u32, to: u32) -> bool {
    between(from, to).any(|step| step.maps.contains(&map))
}

pub(super) fn convert(contents: &mut Contents, from: u32, to: u32) -> Vec<Loss> {
    between(from, to).flat_map(|step| (step.convert)(contents)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_step_from_every_version_to_the_next() {
        for (step, from) in STEPS.iter().zip(1..) {
            assert_eq!(step.from, from);
        }
        assert!(changed(map::SERVICES, 1, 2));
        assert!(changed(map::SERVICES, 1, 7));
        assert!(!changed(map::SERVICES, 2, 7));
        assert!(!changed(map::FLOWS_ESTABLISHED, 1, 2));
    }
}
