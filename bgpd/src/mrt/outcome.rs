//! What a file comes to: whoever has taken its routes over is told that alone, for on its way a log takes
//! away what it tells again.

use std::collections::BTreeMap;

use bgp_rib::{AttributeInterner, Peer};
use bgp_wire::{Announcement, AttributeSet, BgpNextHop, Nlri, Update};

/// Paths as the last UPDATE that names them has them; no more than the table takes from one source.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    paths: BTreeMap<Nlri, (AttributeSet, BgpNextHop)>,
    attributes: AttributeInterner,
}

impl Outcome {
    pub(super) fn take(&mut self, update: Update) {
        for nlri in &update.withdrawn {
            self.paths.remove(nlri);
        }
        let attributes = self.attributes.intern(&update.attributes);
        for Announcement { next_hop, prefixes } in update.announced {
            for nlri in prefixes {
                let is_full = self.paths.len() >= Peer::DEFAULT_MAX_PREFIXES as usize;
                if !is_full || self.paths.contains_key(&nlri) {
                    self.paths.insert(nlri, (attributes.clone(), next_hop));
                }
            }
        }
    }

    /// Each path once, in the order of their prefixes.
    pub(super) fn updates(self) -> impl Iterator<Item = Update> {
        self.paths.into_iter().map(|(nlri, (attributes, next_hop))| Update {
            attributes,
            announced: vec![Announcement { next_hop, prefixes: vec![nlri] }],
            ..Update::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use bgp_wire::PathAttributes;

    use super::*;

    fn update(withdrawn: &[&str], announced: &[&str], med: u32) -> Update {
        let nlri = |text: &&str| Nlri { prefix: text.parse().unwrap(), path_id: 1 };
        let prefixes = announced.iter().map(nlri).collect();
        let next_hop = BgpNextHop::V4([192, 0, 2, 1].into());
        Update {
            withdrawn: withdrawn.iter().map(nlri).collect(),
            attributes: PathAttributes { med: Some(med), ..PathAttributes::default() }.into(),
            announced: vec![Announcement { next_hop, prefixes }],
            ..Update::default()
        }
    }

    #[test]
    fn the_last_word_on_each_path_counts() {
        let mut outcome = Outcome::default();
        outcome.take(update(&[], &["10.2.0.0/16", "10.1.0.0/16", "10.3.0.0/16"], 1));
        outcome.take(update(&["10.2.0.0/16", "10.9.0.0/16"], &["10.3.0.0/16"], 2));
        outcome.take(update(&[], &["10.2.0.0/16"], 3));
        outcome.take(update(&["10.1.0.0/16"], &[], 4));
        let left: Vec<_> = outcome.updates().collect();
        assert_eq!(left, [update(&[], &["10.2.0.0/16"], 3), update(&[], &["10.3.0.0/16"], 2)]);
    }
}
