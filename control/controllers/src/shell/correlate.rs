//! Which Events are one: what is told again and again must not fill the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use sha2::{Digest, Sha256};

use crate::operation::Note;

/// The same Event about the same object is told so often at most.
const REPEAT_AFTER: Duration = Duration::from_secs(30);
/// Different messages of one reason about one object, within the time, that are told one by one;
/// beyond it they are one Event. As in Kubernetes.
const SIMILAR_LIMIT: usize = 10;
const SIMILAR_TIME: Duration = Duration::from_secs(600);
/// Events, and reasons about objects, that are remembered.
const LIMIT: usize = 4096;
/// What stands before the last message of many.
const COMBINED: &str = "(combined from similar events): ";

/// Times are uptimes.
#[derive(Debug, Default)]
pub(super) struct Correlator {
    told: BTreeMap<String, Duration>,
    similar: BTreeMap<Hash, Similar>,
}

type Hash = [u8; 8];

#[derive(Debug, Default)]
struct Similar {
    last: Duration,
    messages: BTreeSet<Hash>,
}

/// An Event as it is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Telling {
    pub(super) name: String,
    pub(super) message: String,
}

impl Correlator {
    /// `None` for what was told a moment ago.
    pub(super) fn telling(&mut self, note: &Note, now: Duration) -> Option<Telling> {
        let telling = match self.is_one_of_many(note, now) {
            false => Telling { name: name_of(note, &note.message), message: note.message.clone() },
            true => Telling {
                name: name_of(note, COMBINED),
                message: format!("{COMBINED}{}", note.message),
            },
        };
        let is_recent = |at: &Duration| now.saturating_sub(*at) < REPEAT_AFTER;
        if self.told.get(&telling.name).is_some_and(is_recent) {
            return None;
        }
        if self.told.len() >= LIMIT {
            self.told.retain(|_, at| is_recent(at));
        }
        if self.told.len() < LIMIT {
            self.told.insert(telling.name.clone(), now);
        }
        Some(telling)
    }

    fn is_one_of_many(&mut self, note: &Note, now: Duration) -> bool {
        let group = hash(note, "");
        if self.similar.len() >= LIMIT && !self.similar.contains_key(&group) {
            self.similar.retain(|_, one| now.saturating_sub(one.last) < SIMILAR_TIME);
            if self.similar.len() >= LIMIT {
                // So many objects are told of that no one of them is told of much.
                return false;
            }
        }
        let similar = self.similar.entry(group).or_default();
        if now.saturating_sub(similar.last) >= SIMILAR_TIME {
            similar.messages.clear();
        }
        similar.last = now;
        let message = hash(note, &note.message);
        if similar.messages.len() < SIMILAR_LIMIT {
            similar.messages.insert(message);
        }
        !similar.messages.contains(&message)
    }
}

/// The same for the same thing said of the same object, also by another process.
fn hash(note: &Note, message: &str) -> Hash {
    let digest = Sha256::new()
        .chain_update(note.about.uid.as_deref().unwrap_or_default())
        .chain_update([0])
        .chain_update(note.reason)
        .chain_update([0])
        .chain_update(message)
        .finalize();
    std::array::from_fn(|index| digest[index])
}

fn name_of(note: &Note, message: &str) -> String {
    let hash: String = hash(note, message).iter().map(|byte| format!("{byte:02x}")).collect();
    let object = note.about.name.as_deref().unwrap_or("object");
    // 253 octets for the whole name.
    let object: String = object.chars().take(230).collect();
    format!("{object}.{hash}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{kinds::Object, testing::pod};

    fn note(message: &str) -> Note {
        let about: Object = pod("a", json!({})).into();
        Note::normal("test", &about, "Reason", message)
    }

    fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn one_thing_has_one_name_and_is_not_told_twice_at_once() {
        let mut correlator = Correlator::default();
        let first = correlator.telling(&note("x"), secs(1000)).unwrap();
        assert!(first.name.starts_with("a."));
        assert_eq!(correlator.telling(&note("x"), secs(1029)), None);
        assert_eq!(correlator.telling(&note("x"), secs(1030)), Some(first));
        assert!(correlator.telling(&note("y"), secs(1030)).is_some());
    }

    #[test]
    fn what_is_always_told_in_other_words_becomes_one() {
        let mut correlator = Correlator::default();
        let mut names = BTreeSet::new();
        for number in 0..100 {
            let now = secs(1000 + number * 40);
            let telling = correlator.telling(&note(&format!("{number} nodes")), now).unwrap();
            assert_eq!(telling.message.starts_with(COMBINED), number >= 10, "{telling:?}");
            names.insert(telling.name);
        }
        assert_eq!(names.len(), 11);
        // After a time of quiet it is told as it is again.
        let telling = correlator.telling(&note("1 node"), secs(10_000)).unwrap();
        assert_eq!(telling.message, "1 node");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut correlator = Correlator::default();
        for number in 0..2 * LIMIT {
            let about: Object = pod(&format!("p{number}"), json!({})).into();
            correlator.telling(&Note::normal("test", &about, "Reason", "x"), secs(1000));
        }
        assert!(correlator.told.len() <= LIMIT && correlator.similar.len() <= LIMIT);
    }
}
