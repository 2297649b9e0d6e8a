use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use viaduct_net::LossCause;

/// For how long a node that is back must stay before new flows go there again, after its first loss;
/// twice as long after each that follows, up to [`HOLD_MAX`]. BFD is up as soon as three packets have
/// passed, which a bad link does again and again; and whoever was cut off reads the API again first.
const HOLD: Duration = Duration::from_secs(3);
pub(crate) const HOLD_MAX: Duration = Duration::from_secs(60);

/// A node that has not been lost again for so long after is one that never was.
const FORGET: Duration = Duration::from_secs(300);
const _: () = assert!(FORGET.as_nanos() > HOLD_MAX.as_nanos());

/// More than this share of a service's backends, in percent, is never masked: then none of them is.
/// It is the panic threshold of Envoy, with its default. So many lost at once say rather that it is we
/// who do not hear, or else the few that are left would have to carry what all did; and as a service's
/// last backend is more than this share, there is always one.
const PANIC_PERCENT: usize = 50;

/// Why no new flows go to the backends of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    pub cause: LossCause,
    /// Of a node that is back: when they do again, if it stays.
    pub until: Option<Duration>,
}

/// How many of the backends that a frontend has are on masked nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub masked: usize,
    pub of: usize,
}

impl Share {
    /// Whether there are too many.
    pub const fn is_ignored(self) -> bool {
        self.masked * 100 > self.of * PANIC_PERCENT
    }
}

/// Nodes whose mask has been set or taken off.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MaskChanges {
    pub masked: BTreeSet<String>,
    pub unmasked: BTreeSet<String>,
}

impl MaskChanges {
    pub fn is_empty(&self) -> bool {
        self.masked.is_empty() && self.unmasked.is_empty()
    }
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Lost,
    Back {
        until: Duration,
    },
    /// Unmasked, and remembered until then.
    Released {
        until: Duration,
    },
}

#[derive(Clone, Copy, Debug)]
struct Record {
    phase: Phase,
    cause: LossCause,
    /// Losses before this one.
    before: u32,
}

impl Record {
    const fn is_masked(&self) -> bool {
        matches!(self.phase, Phase::Lost | Phase::Back { .. })
    }
}

/// The nodes that get no new flows because they cannot be reached: at once when they are lost, and
/// until they have been back for a while. `now` is the clock of [`crate::Balancer::plan`].
#[derive(Clone, Debug, Default)]
pub struct Masks(BTreeMap<String, Record>);

impl Masks {
    /// Takes in all that are lost right now.
    pub fn handle_lost(
        &mut self,
        lost: &BTreeMap<String, LossCause>,
        now: Duration,
    ) -> MaskChanges {
        // Before, so that what is over does not count as another loss.
        let mut changes = self.handle_timeout(now);
        for (node, &cause) in lost {
            let before = match self.0.get(node) {
                Some(Record { phase: Phase::Lost, before, .. }) => *before,
                Some(record) => record.before.saturating_add(1),
                None => 0,
            };
            let old = self.0.insert(node.clone(), Record { phase: Phase::Lost, cause, before });
            if !old.is_some_and(|old| old.is_masked()) && !changes.unmasked.remove(node) {
                changes.masked.insert(node.clone());
            }
        }
        for (node, record) in &mut self.0 {
            if matches!(record.phase, Phase::Lost) && !lost.contains_key(node) {
                record.phase = Phase::Back { until: now + hold(record.before) };
            }
        }
        changes
    }

    /// Unmasks the nodes that have stayed for long enough.
    pub fn handle_timeout(&mut self, now: Duration) -> MaskChanges {
        let mut changes = MaskChanges::default();
        self.0.retain(|node, record| match record.phase {
            Phase::Back { until } if until <= now => {
                record.phase = Phase::Released { until: now + FORGET };
                changes.unmasked.insert(node.clone());
                true
            }
            Phase::Released { until } => until > now,
            Phase::Lost | Phase::Back { .. } => true,
        });
        changes
    }

    /// When [`Masks::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let times = self.0.values().filter_map(|record| match record.phase {
            Phase::Lost => None,
            Phase::Back { until } | Phase::Released { until } => Some(until),
        });
        times.min()
    }

    pub fn mask(&self, node: &str) -> Option<Mask> {
        let record = self.0.get(node).filter(|record| record.is_masked())?;
        let until = match record.phase {
            Phase::Back { until } => Some(until),
            Phase::Lost | Phase::Released { .. } => None,
        };
        Some(Mask { cause: record.cause, until })
    }

    /// Those that are masked, sorted.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &str> {
        let masked = self.0.iter().filter(|(_, record)| record.is_masked());
        masked.map(|(node, _)| node.as_str())
    }

    /// How many nodes are masked.
    pub fn len(&self) -> usize {
        self.nodes().count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn hold(before: u32) -> Duration {
    HOLD.saturating_mul(2_u32.saturating_pow(before)).min(HOLD_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(nodes: &[&str]) -> BTreeMap<String, LossCause> {
        nodes.iter().map(|node| ((*node).to_owned(), LossCause::Bfd)).collect()
    }

    fn set(nodes: &[&str]) -> BTreeSet<String> {
        nodes.iter().map(|node| (*node).to_owned()).collect()
    }

    #[test]
    fn a_lost_node_is_masked_at_once_and_unmasked_when_it_has_stayed() {
        let mut masks = Masks::default();
        let at = Duration::from_millis;
        let changes = masks.handle_lost(&lost(&["a", "b"]), at(100));
        assert_eq!(changes, MaskChanges { masked: set(&["a", "b"]), unmasked: set(&[]) });
        assert_eq!((masks.len(), masks.poll_timeout()), (2, None));
        assert!(masks.handle_lost(&lost(&["a", "b"]), at(200)).is_empty());

        assert!(masks.handle_lost(&lost(&["b"]), at(1000)).is_empty());
        let until = Some(at(4000));
        assert_eq!(masks.mask("a"), Some(Mask { cause: LossCause::Bfd, until }));
        assert_eq!(masks.mask("b"), Some(Mask { cause: LossCause::Bfd, until: None }));
        assert_eq!(masks.poll_timeout(), until);
        assert!(masks.handle_timeout(at(3999)).is_empty());
        let changes = masks.handle_timeout(at(4000));
        assert_eq!(changes, MaskChanges { masked: set(&[]), unmasked: set(&["a"]) });
        assert_eq!((masks.mask("a"), masks.len()), (None, 1));
    }

    #[test]
    fn each_further_loss_doubles_the_time_up_to_a_bound_and_good_conduct_ends_it() {
        let mut masks = Masks::default();
        let mut now = Duration::ZERO;
        let mut times = Vec::new();
        for flap in 0..8 {
            masks.handle_lost(&lost(&["a"]), now);
            now += Duration::from_secs(1);
            assert_eq!(masks.handle_lost(&lost(&[]), now), MaskChanges::default());
            let at = masks.poll_timeout().unwrap();
            times.push((at - now).as_secs());
            // Whether it had been unmasked in between or not.
            if flap % 2 == 0 {
                now = at;
                assert_eq!(masks.handle_timeout(now).unmasked, set(&["a"]));
            }
        }
        assert_eq!(times, [3, 6, 12, 24, 48, 60, 60, 60]);
        now = masks.poll_timeout().unwrap();
        masks.handle_timeout(now);
        now = masks.poll_timeout().unwrap();
        assert!(masks.handle_timeout(now).is_empty());
        assert_eq!(masks.poll_timeout(), None, "nothing is kept of it");
        masks.handle_lost(&lost(&["a"]), now);
        masks.handle_lost(&lost(&[]), now);
        assert_eq!(masks.poll_timeout(), Some(now + HOLD));
    }

    /// The timer was late, and the node is lost again by then.
    #[test]
    fn who_is_lost_when_its_time_is_over_stays_masked() {
        let mut masks = Masks::default();
        masks.handle_lost(&lost(&["a"]), Duration::ZERO);
        masks.handle_lost(&lost(&[]), Duration::ZERO);
        assert!(masks.handle_lost(&lost(&["a"]), HOLD * 2).is_empty());
        assert!(masks.mask("a").is_some_and(|mask| mask.until.is_none()));
    }

    #[test]
    fn half_of_the_backends_are_masked_and_never_more() {
        for (masked, of, ignored) in [
            (0, 0, false),
            (0, 1, false),
            (1, 1, true),
            (1, 2, false),
            (1, 3, false),
            (2, 3, true),
            (2, 4, false),
            (3, 4, true),
        ] {
            assert_eq!(Share { masked, of }.is_ignored(), ignored, "{masked} of {of}");
        }
    }
}
