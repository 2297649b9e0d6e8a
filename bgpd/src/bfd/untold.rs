//! What the speaker has had no room for: bounded by the number of sessions.

use std::collections::BTreeMap;

use bgp_bfd::{Change, Event, SessionKey};

/// Of each session the latest loss, and whether it has come Up since: a loss is a loss, however short.
#[derive(Debug, Default)]
pub(super) struct Untold(BTreeMap<SessionKey, Waiting>);

#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    down: Option<Change>,
    up: bool,
}

impl Untold {
    pub(super) fn push(&mut self, Event { session, change }: Event) {
        let waiting = self.0.entry(session).or_default();
        *waiting = match change {
            Change::Up => Waiting { up: true, ..*waiting },
            Change::Down { .. } => Waiting { down: Some(change), up: false },
        };
    }

    /// The next to be told.
    pub(super) fn first(&self) -> Option<Event> {
        let (&session, waiting) = self.0.first_key_value()?;
        Some(Event { session, change: waiting.down.unwrap_or(Change::Up) })
    }

    /// It is told.
    pub(super) fn pop(&mut self) {
        let Some(mut entry) = self.0.first_entry() else { return };
        let waiting = entry.get_mut();
        if waiting.down.take().is_none() || !waiting.up {
            entry.remove();
        }
    }

    /// All of it, in order.
    pub(super) fn take(&mut self) -> Vec<Event> {
        let next = || {
            let event = self.first()?;
            self.pop();
            Some(event)
        };
        std::iter::from_fn(next).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use bgp_bfd::{DownReason, Path};

    use super::*;

    fn down(reason: DownReason) -> Change {
        Change::Down { reason, control_plane_independent: false }
    }

    #[test]
    fn a_loss_is_told_also_where_it_is_over_by_then() {
        use DownReason::{DetectionTimeExpired, NeighborDown};
        let session = |last| SessionKey { peer: [192, 0, 2, last].into(), path: Path::SingleHop };
        let mut untold = Untold::default();
        for (last, change) in [
            (1, Change::Up),
            (2, Change::Up),
            (1, down(NeighborDown)),
            (1, Change::Up),
            (1, down(DetectionTimeExpired)),
            (1, Change::Up),
            (3, down(NeighborDown)),
        ] {
            untold.push(Event { session: session(last), change });
        }
        let expected = [
            (session(1), down(DetectionTimeExpired)),
            (session(1), Change::Up),
            (session(2), Change::Up),
            (session(3), down(NeighborDown)),
        ];
        assert_eq!(untold.take(), expected.map(|(session, change)| Event { session, change }));
        assert!(untold.is_empty());
    }
}
