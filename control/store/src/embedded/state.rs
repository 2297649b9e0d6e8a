//! The whole state in memory, with the window of history that watches and old lists are served
//! from. Pure: what is durable is decided elsewhere.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;

use crate::{Entry, Event, List, Page, Revision, StoreError};

/// How much history is kept. The oldest goes when either bound is passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) events: usize,
    pub(super) bytes: usize,
}

#[derive(Debug, Default)]
pub(super) struct State {
    current: BTreeMap<Arc<str>, Arc<Entry>>,
    current_bytes: usize,
    /// One event for each revision of `compacted + 1 ..= revision`.
    history: VecDeque<Arc<Event>>,
    history_bytes: usize,
    revision: Revision,
    compacted: Revision,
}

/// A change that was asked for.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Create { key: Arc<str>, value: Bytes },
    Update { key: Arc<str>, value: Bytes, expected: Revision },
    Delete { key: Arc<str>, expected: Revision },
}

fn event_size(event: &Event) -> usize {
    let sizes = [&event.current, &event.previous].map(|e| e.as_ref().map_or(0, |e| e.size()));
    sizes[0] + sizes[1] + event.key.len() + 16
}

impl State {
    /// What a file held: `entries` as of `revision`, and the events behind `compacted`.
    pub(super) fn restore(
        entries: Vec<Entry>,
        history: Vec<Event>,
        revision: Revision,
        compacted: Revision,
    ) -> Result<Self, StoreError> {
        let corrupt = |what: String| Err(StoreError::Corrupt(what));
        if (history.len() as u64) != revision.saturating_sub(compacted) {
            return corrupt(format!(
                "{} events between revisions {compacted} and {revision}",
                history.len()
            ));
        }
        let mut state = Self { revision, compacted, ..Self::default() };
        for entry in entries {
            if entry.mod_revision > revision {
                return corrupt(format!("{entry:?} is newer than revision {revision}"));
            }
            state.current_bytes += entry.size();
            state.current.insert(entry.key.clone(), Arc::new(entry));
        }
        // Entries that are the same share their memory, as they did before.
        let mut last: HashMap<Arc<str>, Arc<Entry>> = HashMap::new();
        for (mut event, expected) in history.into_iter().zip(compacted + 1..) {
            if event.revision != expected {
                return corrupt(format!("event {} where {expected} is due", event.revision));
            }
            if let Some(known) = last.get(&event.key)
                && event.previous.as_deref() == Some(&**known)
            {
                event.previous = Some(known.clone());
            }
            if let Some(known) = state.current.get(&event.key)
                && event.current.as_deref() == Some(&**known)
            {
                event.current = Some(known.clone());
            }
            if let Some(entry) = &event.current {
                last.insert(event.key.clone(), entry.clone());
            }
            state.history_bytes += event_size(&event);
            state.history.push_back(Arc::new(event));
        }
        Ok(state)
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn compacted(&self) -> Revision {
        self.compacted
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Entry>> {
        self.current.get(key)
    }

    /// Whether every change behind `revision` is known, and `revision` has been.
    fn check(&self, revision: Revision) -> Result<(), StoreError> {
        if revision < self.compacted {
            let oldest = self.compacted;
            return Err(StoreError::Compacted { requested: revision, oldest });
        }
        if revision > self.revision {
            return Err(StoreError::Future { requested: revision, current: self.revision });
        }
        Ok(())
    }

    /// At most `max` events behind `after` whose key starts with `prefix`, fewer where these have
    /// `max_bytes`, and the revision up to which the history has been searched for them.
    pub(super) fn events_after(
        &self,
        prefix: &str,
        after: Revision,
        max: usize,
        max_bytes: usize,
    ) -> Result<(Vec<Arc<Event>>, Revision), StoreError> {
        self.check(after)?;
        let skip = usize::try_from(after - self.compacted).unwrap_or(usize::MAX);
        let mut found = Vec::new();
        let mut bytes = 0;
        for event in self.history.range(skip.min(self.history.len())..) {
            if event.key.starts_with(prefix) {
                found.push(event.clone());
                bytes += event_size(event);
                if found.len() == max || bytes >= max_bytes {
                    return Ok((found, event.revision));
                }
            }
        }
        Ok((found, self.revision))
    }

    pub(super) fn list(&self, list: &List) -> Result<Page, StoreError> {
        let revision = list.at.unwrap_or(self.revision);
        self.check(revision)?;
        let limit = if list.limit == 0 { usize::MAX } else { list.limit };
        let mut page = Page { entries: Vec::new(), remaining: 0, revision };
        let mut take = |entry: &Arc<Entry>| {
            if page.entries.len() < limit {
                page.entries.push(entry.clone());
            } else {
                page.remaining += 1;
            }
        };
        let start = start(list);
        let current = self
            .current
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(&list.prefix));
        if revision == self.revision {
            current.for_each(|(_, entry)| take(entry));
        } else {
            let mut then: BTreeMap<&str, &Arc<Entry>> =
                current.map(|(key, entry)| (&**key, entry)).collect();
            for event in self.history.iter().rev().take_while(|e| e.revision > revision) {
                if !event.key.starts_with(&list.prefix) || is_before(&event.key, start) {
                    continue;
                }
                match &event.previous {
                    Some(previous) => then.insert(&event.key, previous),
                    None => then.remove(&*event.key),
                };
            }
            then.into_values().for_each(take);
        }
        Ok(page)
    }

    /// What `ops` would do one after the other: an answer to each, and the events of those that
    /// succeed.
    pub(super) fn stage(&self, ops: Vec<Op>, quota: usize) -> (Vec<Staged>, Vec<Arc<Event>>) {
        let mut staged: HashMap<Arc<str>, Option<Arc<Entry>>> = HashMap::new();
        let mut events: Vec<Arc<Event>> = Vec::new();
        let mut used = self.current_bytes;
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            let revision = self.revision + 1 + events.len() as u64;
            let (Op::Create { key, .. } | Op::Update { key, .. } | Op::Delete { key, .. }) = &op;
            let previous = match staged.get(key) {
                Some(entry) => entry.clone(),
                None => self.current.get(key).cloned(),
            };
            let result = decide(op, previous.as_ref(), revision).and_then(|event| {
                let before = event.previous.as_ref().map_or(0, |e| e.size());
                let after = event.current.as_ref().map_or(0, |e| e.size());
                if after > before && used + after - before > quota {
                    return Err(StoreError::Full { used, quota });
                }
                used = used + after - before;
                Ok(event)
            });
            results.push(result.map(|event| {
                let event = Arc::new(event);
                staged.insert(event.key.clone(), event.current.clone());
                events.push(event.clone());
                event
            }));
        }
        (results, events)
    }

    /// The revision up to which history must go so that `events` fit into the window.
    pub(super) fn floor_with(&self, events: &[Arc<Event>], window: Window) -> Revision {
        let mut count = self.history.len() + events.len();
        let mut bytes = self.history_bytes + events.iter().map(|e| event_size(e)).sum::<usize>();
        let mut floor = self.compacted;
        for event in self.history.iter().chain(events) {
            if count <= window.events && bytes <= window.bytes {
                break;
            }
            count -= 1;
            bytes -= event_size(event);
            floor = event.revision;
        }
        floor
    }

    /// Takes in what [`State::stage`] gave, then forgets the history up to `floor`.
    pub(super) fn apply(&mut self, events: Vec<Arc<Event>>, floor: Revision) {
        for event in events {
            self.current_bytes -= event.previous.as_ref().map_or(0, |e| e.size());
            match &event.current {
                Some(entry) => {
                    self.current_bytes += entry.size();
                    self.current.insert(entry.key.clone(), entry.clone());
                }
                None => {
                    self.current.remove(&event.key);
                }
            }
            self.revision = event.revision;
            self.history_bytes += event_size(&event);
            self.history.push_back(event);
        }
        while self.compacted < floor
            && let Some(event) = self.history.pop_front()
        {
            self.history_bytes -= event_size(&event);
            self.compacted = event.revision;
        }
    }
}

pub(super) type Staged = Result<Arc<Event>, StoreError>;

/// The event that `op` is, or why it may not be.
fn decide(op: Op, previous: Option<&Arc<Entry>>, revision: Revision) -> Result<Event, StoreError> {
    let expect = |expected| match previous {
        None => Err(StoreError::NotFound),
        Some(entry) if entry.mod_revision != expected => Err(StoreError::Conflict(entry.clone())),
        Some(entry) => Ok(entry.clone()),
    };
    let (key, current, previous) = match op {
        Op::Create { .. } if previous.is_some() => return Err(StoreError::AlreadyExists),
        Op::Create { key, value } => {
            let entry = Entry { key, value, create_revision: revision, mod_revision: revision };
            (entry.key.clone(), Some(Arc::new(entry)), None)
        }
        Op::Update { key, value, expected } => {
            let previous = expect(expected)?;
            let create_revision = previous.create_revision;
            let entry = Entry { key, value, create_revision, mod_revision: revision };
            (entry.key.clone(), Some(Arc::new(entry)), Some(previous))
        }
        Op::Delete { key, expected } => (key, None, Some(expect(expected)?)),
    };
    Ok(Event { revision, key, current, previous })
}

/// Where the keys of `list` begin.
fn start(list: &List) -> Bound<&str> {
    match list.start_after.as_deref() {
        Some(after) if after >= list.prefix.as_str() => Bound::Excluded(after),
        _ => Bound::Included(&list.prefix),
    }
}

fn is_before(key: &str, start: Bound<&str>) -> bool {
    match start {
        Bound::Included(start) => key < start,
        Bound::Excluded(start) => key <= start,
        Bound::Unbounded => false,
    }
}
