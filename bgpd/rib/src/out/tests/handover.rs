//! Another process goes on in the middle of it all.

use super::*;

impl World {
    /// Hands everything to a table of its own, in which the peers have other numbers; a peer may be told
    /// by another policy from now on.
    pub(super) fn hand_over(&mut self, changed: Option<(usize, usize)>) {
        drop(self.out.flush(&mut self.rib));
        let mut pieces = Vec::new();
        self.rib.hand_over(&mut |piece| pieces.push(piece));

        let Self { rib: empty, out, .. } = Self::new(self.out.max_log_bytes);
        let mut next = Self { rib: empty, out, ids: Vec::new(), sessions: BTreeMap::new() };
        let peers: Vec<_> = next.rib.peers().map(|(_, peer)| peer.clone()).collect();
        let underlay = next.rib.underlay.routes().clone();
        next.rib = Rib::new(next.rib.config().clone());
        next.rib.set_underlay(underlay);
        next.ids = peers.iter().rev().map(|peer| next.rib.add_peer(peer.clone())).collect();
        next.ids.reverse();
        let numbers = self.ids.iter().zip(&next.ids).map(|(old, new)| (old.0, *new)).collect();
        let mut takeover = next.rib.take_over(numbers);
        pieces.into_iter().for_each(|piece| takeover.piece(piece).unwrap());
        takeover.finish();

        for (peer, (mut profile, reader)) in std::mem::take(&mut self.sessions) {
            let owed = self.out.owed(self.ids[peer]).unwrap();
            let same = changed.is_none_or(|(of, _)| of != peer);
            if let Some((_, policy)) = changed.filter(|_| !same) {
                profile.policy = policies()[policy].clone();
            }
            next.out.rejoin(&next.rib, next.ids[peer], profile.clone(), owed, same);
            next.sessions.insert(peer, (profile, reader));
        }
        next.rib.set_additional_paths(next.out.additional_paths());
        next.rib.decide_all();
        *self = next;
    }

    fn is_pending(&self) -> bool {
        self.ids.iter().any(|id| self.out.is_pending(*id))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.min(128)))]

    #[test]
    fn peers_that_know_all_are_told_nothing(
        operations in vec(operation(), 1..60),
        max_log_bytes in select(&[0, 300, MAX_LOG_BYTES][..]),
    ) {
        let mut world = World::new(max_log_bytes);
        operations.iter().for_each(|operation| world.apply(operation));
        world.check();
        let (before, paths) = (world.rib.counts(), world.rib.paths().count());
        world.hand_over(None);
        drop(world.out.flush(&mut world.rib));
        prop_assert!(!world.is_pending());
        world.check();
        let after = world.rib.counts();
        prop_assert_eq!(before.prefixes, after.prefixes);
        prop_assert_eq!((before.paths, before.routes), (after.paths, after.routes));
        prop_assert_eq!(world.rib.paths().count(), paths);
        for peer in 0..PEERS.len() {
            world.apply(&Operation::PeerDown { peer });
        }
        world.apply(&Operation::Originate(BTreeSet::new()));
        world.check();
    }
}

#[test]
fn what_is_no_table_is_refused() {
    let mut world = World::new(MAX_LOG_BYTES);
    let prefixes: BTreeSet<_> = (0..PREFIXES).collect();
    world.apply(&Operation::Announce { peer: 3, prefixes, kind: 1 });
    world.apply(&Operation::Flush);
    let mut pieces = Vec::new();
    world.rib.hand_over(&mut |piece| pieces.push(piece));
    let [whole] = <[TablePiece; 1]>::try_from(pieces).unwrap();
    let take = |change: &dyn Fn(&mut TablePiece)| {
        let mut piece = whole.clone();
        change(&mut piece);
        let World { mut rib, ids, .. } = World::new(MAX_LOG_BYTES);
        rib.take_over(ids.iter().map(|id| (id.0, *id)).collect()).piece(piece)
    };
    assert_eq!(take(&|_| {}), Ok(()));
    let of = |piece: &mut TablePiece| piece.destinations[7].paths[0];
    let with = |change: &dyn Fn(&mut PathRecord)| {
        take(&|piece| {
            let mut path = of(piece);
            change(&mut path);
            piece.destinations[7].paths[0] = path;
        })
    };
    assert_eq!(with(&|path| path.slot = 0), Err(TableError::Slot));
    assert_eq!(with(&|path| path.slot = u32::MAX), Err(TableError::Slot));
    assert_eq!(with(&|path| path.peer = Some(99)), Err(TableError::Path));
    assert_eq!(with(&|path| path.attributes = 99), Err(TableError::Path));
    assert_eq!(with(&|path| path.next_hop = 99), Err(TableError::Path));
    assert_eq!(with(&|path| (path.peer, path.source) = (None, 99)), Err(TableError::Path));
    assert_eq!(take(&|piece| piece.destinations[0].len = 129), Err(TableError::Prefix));
    assert_eq!(take(&|piece| piece.attributes[0].truncate(2)), Err(TableError::Attributes));
    let twice = |piece: &mut TablePiece| {
        let mut again = piece.destinations[0].clone();
        again.paths[0].slot = 1000;
        piece.destinations.push(again);
    };
    assert_eq!(take(&twice), Err(TableError::Path));
}
