//! Another process goes on, and nobody notices.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bgp_bfd::Path;
use bgp_rib::{Change, PeerCounts, Policy};
use bgp_wire::{Announcement, AsPath, PathAttributes, Update};
use viaduct_net::{Asn, LossCause, OriginSource, Origination, Underlay};

use super::{
    bfd::{LOST, NEXT_HOP_LOST, beside_a_reflector, key, reasons},
    dynamic,
    harness::{Network, own, prefix, underlay, v4, with_peers},
};
use crate::{
    Action, Adopted, Config, Handover, HandoverError, LocalAs, Matches, PolicyAction, RangeAsns,
    RestartTime, Rule, SourceConfig, SourceId, Speaker, State, Successor, rng::Rng,
};

impl Network {
    /// Pauses a speaker and takes down what it hands over.
    fn frames(&mut self, number: u8) -> Vec<Vec<u8>> {
        let now = self.now();
        assert!(self.speaker(number).can_hand_over());
        self.speaker(number).handle_pause(now);
        self.poll();
        let mut frames = Vec::new();
        self.speaker(number).hand_over(now, &mut |frame| frames.push(frame));
        frames
    }

    /// Another process takes a speaker's place, under a configuration that may be another.
    fn replace(&mut self, number: u8, config: Config) {
        let mut originations = own(number);
        originations.extend(self.extra.get(&number).into_iter().flatten().copied());
        let frames = self.frames(number);
        self.replace_by(number, config, &frames, &originations, Vec::new());
    }

    fn replace_by(
        &mut self,
        number: u8,
        config: Config,
        frames: &[Vec<u8>],
        originations: &std::collections::BTreeSet<Origination>,
        sources: Vec<SourceConfig>,
    ) {
        let now = self.now();
        let mut handover = Handover::default();
        frames.iter().for_each(|frame| handover.read(frame).unwrap());
        let sessions: Vec<_> = handover.sessions().collect();
        let old = self.speaker(number);
        let (mut connections, mut lost) = (BTreeMap::new(), Vec::new());
        for (&address, peer) in &old.peers {
            let main = peer.connection.as_ref();
            match main.filter(|_| sessions.contains(&address)) {
                Some(one) => {
                    let adopted = Adopted { conn: one.id, unwritten: one.unwritten };
                    connections.insert(address, adopted);
                }
                None => lost.extend(main.map(|one| one.id)),
            }
            lost.extend(peer.second.as_ref().map(|one| one.id));
        }
        let successor = Successor {
            config: Arc::new(config),
            underlay: &underlay(),
            originations,
            sources,
            forwards: true,
            connections,
            seed: 99,
        };
        let speaker = Speaker::taken_over(handover, successor, now).unwrap();
        self.put(number, speaker);
        lost.into_iter().for_each(|conn| self.close(number, conn));
        self.poll();
    }

    /// How many messages a node has sent on sessions, but for keepalives.
    fn told(&self, number: u8) -> usize {
        let of = format!(" {number}: Send");
        let sent = self.trace.iter().filter(|line| line.contains(&of));
        sent.filter(|line| !line.contains("\\0\\x13\\x04")).count()
    }
}

/// Nobody keeps anything over a session that is lost.
fn graceless(mut config: Config) -> Config {
    config.restart_time = RestartTime::default();
    config
}

/// A router between one of its own AS and two others of theirs.
fn world() -> (Network, Config) {
    let open = |mut config: Config| {
        for peer in config.peers.values_mut() {
            (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
        }
        graceless(config)
    };
    let mut network = Network::default();
    let middle = open(with_peers(1, 64512, &[(2, 64512), (3, 65003), (4, 65004)]));
    network.start(1, middle.clone());
    for (node, asn) in [(2, 64512), (3, 65003), (4, 65004)] {
        network.start(node, open(with_peers(node, asn, &[(1, 64512)])));
    }
    for node in 2..=4 {
        network.wait_established(1, node);
    }
    network.run(Duration::from_secs(5));
    (network, middle)
}

fn flaps(network: &mut Network) -> u64 {
    let pairs = [(1, 2), (1, 3), (1, 4), (2, 1), (3, 1), (4, 1)];
    pairs.into_iter().map(|(node, peer)| network.status(node, v4(peer)).flaps).sum()
}

#[test]
fn peers_without_graceful_restart_see_nothing() {
    let (mut network, config) = world();
    let (told, updates) = (network.told(1), network.nodes[&3].fib_updates);
    let (before, fib) = (network.status(1, v4(3)), network.nodes[&1].fib.clone());
    for _ in 0..3 {
        network.replace(1, config.clone());
        network.run(Duration::from_secs(30));
    }
    assert_eq!(network.told(1), told, "{}", network.trace.join("\n"));
    assert_eq!(network.nodes[&3].fib_updates, updates);
    assert!(network.nodes[&1].synced);
    assert_eq!(network.nodes[&1].fib, fib, "the same routes once more");
    assert_eq!(flaps(&mut network), 0);
    let after = network.status(1, v4(3));
    assert_eq!(after.since, before.since + Duration::from_secs(90));
    assert_eq!(after.prefixes_sent, before.prefixes_sent);
    assert_eq!(after.updates_received, before.updates_received);
    assert!(after.messages_received > before.messages_received);
    assert_eq!(after.router_id, before.router_id);
}

/// To 2 of AS 64999 we are of its AS, and it stays as near to us as it was.
#[test]
fn an_internal_peer_of_another_as_stays_internal() {
    let local = LocalAs { asn: Asn::new(64999), prepend_received: true, replace_sent: true };
    let mut config = graceless(with_peers(1, 64512, &[(2, 64999)]));
    let peer = config.peers.get_mut(&v4(2)).unwrap();
    peer.local_as = Some(local);
    (peer.import, peer.export) = (Policy::accept_all(), Policy::accept_all());
    let mut network = Network::default();
    network.start(1, config.clone());
    network.start(2, graceless(with_peers(2, 64999, &[(1, 64999)])));
    network.wait_established(1, 2);
    network.run(Duration::from_secs(5));
    let (told, updates) = (network.told(1), network.nodes[&2].fib_updates);
    for _ in 0..2 {
        network.replace(1, config.clone());
        network.run(Duration::from_secs(30));
    }
    assert_eq!(network.told(1), told, "{}", network.trace.join("\n"));
    assert_eq!(network.nodes[&2].fib_updates, updates);
    assert_eq!((network.status(1, v4(2)).flaps, network.status(2, v4(1)).flaps), (0, 0));
    // What comes and goes by now is told as before: without an AS, with a preference.
    let origination = Origination { prefix: prefix("10.1.7.0/24"), source: OriginSource::Block };
    let mut all = own(1);
    all.insert(origination);
    let now = network.now();
    network.speaker(1).handle_originations(&all, now);
    network.poll();
    network.run(Duration::from_secs(1));
    let path = network.speaker(2).paths().find(|path| path.prefix == origination.prefix).unwrap();
    assert_eq!(path.attributes.facts().local_pref(), Some(100));
    assert_eq!(path.attributes.open().as_path.to_string(), "");
    // A configuration that makes it another session ends it.
    config.peers.get_mut(&v4(2)).unwrap().local_as = None;
    network.replace(1, config);
    network.run(Duration::from_secs(5));
    assert_eq!(network.status(2, v4(1)).flaps, 1);
}

/// What happens to the network of [`world`], at random.
fn happen(network: &mut Network, rng: &mut Rng) {
    let node = 1 + rng.below(4) as u8;
    let some: Vec<String> =
        (0..rng.below(6)).map(|_| format!("10.{node}.{}.0/24", rng.below(8))).collect();
    let set =
        some.iter().map(|text| Origination { prefix: prefix(text), source: OriginSource::Block });
    let mut all = own(node);
    network.extra.insert(node, set.collect());
    all.extend(network.extra[&node].iter().copied());
    let now = network.now();
    network.speaker(node).handle_originations(&all, now);
    network.poll();
    // Often not long enough for a message to arrive.
    network.run(Duration::from_micros(100 + rng.below(4000)));
}

#[test]
fn it_may_happen_at_any_time() {
    for seed in 0..12 {
        let (mut with, config) = world();
        let (mut without, _) = world();
        let (mut dice, mut again) = (Rng::new(seed), Rng::new(seed));
        let mut moments = Rng::new(seed + 1000);
        for _ in 0..30 {
            happen(&mut with, &mut dice);
            happen(&mut without, &mut again);
            if moments.below(6) == 0 {
                with.replace(1, config.clone());
            }
        }
        with.run(Duration::from_secs(60));
        without.run(Duration::from_secs(60));
        assert_eq!(flaps(&mut with), 0, "seed {seed}");
        for node in 1..=4 {
            let fib = |network: &Network| network.nodes[&node].fib.clone();
            assert_eq!(fib(&with), fib(&without), "seed {seed}, node {node}");
        }
        for peer in 2..=4 {
            let sent = |network: &mut Network| network.status(1, v4(peer)).prefixes_sent;
            assert_eq!(sent(&mut with), sent(&mut without), "seed {seed}, peer {peer}");
        }
    }
}

#[test]
fn a_message_may_be_cut_in_two() {
    let (mut network, config) = world();
    let now = network.now();
    let conn = network.speaker(1).peers[&v4(3)].connection.as_ref().unwrap().id;
    // An End-of-RIB in pieces: as good a message as any.
    let mut whole = vec![0xff; 16];
    whole.extend([0, 23, 2, 0, 0, 0, 0]);
    let received = |network: &mut Network| network.status(1, v4(3)).updates_received;
    let before = received(&mut network);
    network.speaker(1).handle_bytes(conn, &whole[..18], now);
    network.replace(1, config);
    let now = network.now();
    network.speaker(1).handle_bytes(conn, &whole[18..], now);
    assert_eq!(received(&mut network), before + 1);
    assert_eq!(network.state(1, 3), State::Established);
}

#[test]
fn the_configuration_may_be_another() {
    let (mut network, mut config) = world();
    // One is told less, one is parted from, one speaks of fewer families, and so begins anew.
    config.peers.get_mut(&v4(3)).unwrap().export = Policy::reject_all();
    config.peers.remove(&v4(4));
    config.peers.get_mut(&v4(2)).unwrap().families.v6 = false;
    network.replace(1, config);
    network.run(Duration::from_secs(20));
    assert_eq!(network.state(1, 3), State::Established);
    assert_eq!((network.status(1, v4(3)).flaps, network.fib(3)), (0, Vec::new()));
    assert_eq!(network.status(4, v4(1)).flaps, 1);
    let last = network.status(4, v4(1)).last_error;
    assert!(network.fib(4).is_empty(), "{last:?}");
    assert_eq!(network.status(2, v4(1)).flaps, 1);
    assert_eq!(network.state(2, 1), State::Established);
    assert_eq!(network.status(2, v4(1)).families.len(), 1);
}

#[test]
fn what_is_originated_may_be_other() {
    let (mut network, config) = world();
    let fib = |network: &Network| network.fib(4);
    assert!(fib(&network).contains(&"10.1.0.0/24".to_owned()));
    let frames = network.frames(1);
    let other = [Origination { prefix: prefix("10.1.9.0/24"), source: OriginSource::Block }];
    network.replace_by(1, config, &frames, &other.into(), Vec::new());
    network.run(Duration::from_secs(1));
    assert!(!fib(&network).contains(&"10.1.0.0/24".to_owned()));
    assert!(fib(&network).contains(&"10.1.9.0/24".to_owned()));
    assert_eq!(flaps(&mut network), 0);
}

#[test]
fn whoever_restarts_meanwhile_is_waited_for() {
    let mut network = Network::default();
    let config = with_peers(1, 64512, &[(2, 64512), (3, 64512)]);
    network.start(1, config.clone());
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.start(3, with_peers(3, 64512, &[(1, 64512)]));
    network.wait_established(1, 2);
    network.wait_established(1, 3);
    network.run(Duration::from_secs(10));
    network.kill(2);
    network.run(Duration::from_secs(5));
    assert_eq!(network.status(1, v4(2)).prefixes_stale, 2);
    network.replace(1, config.clone());
    network.run(Duration::from_secs(5));
    assert_eq!(network.status(1, v4(2)).prefixes_stale, 2);
    // It does not come; its time runs on.
    network.run(Duration::from_secs(25));
    assert_eq!(network.status(1, v4(2)).prefixes_received, 0);
    assert_eq!(network.status(1, v4(3)).prefixes_received, 2);
    // And whoever was away is connected to.
    network.start(2, with_peers(2, 64512, &[(1, 64512)]));
    network.wait_established(1, 2);
}

/// They are in no configuration by their address.
#[test]
fn peers_of_ranges_stay_while_the_range_does() {
    let mut network = Network::default();
    let mut config = dynamic::open(RangeAsns::External, 10);
    network.start(1, config.clone());
    for number in 2..=4 {
        dynamic::join(&mut network, number, 65000 + u32::from(number));
    }
    network.wait("told", |network| network.fib(1).len() == 6);
    network.run(Duration::from_secs(10));
    network.kill(4);
    network.run(Duration::from_secs(1));
    let before = dynamic::known(&mut network);
    assert_eq!(before.len(), 3);
    network.replace(1, config.clone());
    assert_eq!(dynamic::known(&mut network), before);
    network.run(Duration::from_secs(60));
    assert_eq!(dynamic::known(&mut network), before[..2], "who does not come back is forgotten");
    assert_eq!((network.status(2, v4(1)).flaps, network.status(3, v4(1)).flaps), (0, 0));
    assert_eq!(network.fib(1).len(), 4);
    // The next one allows only one of them, and then none.
    let asns = RangeAsns::Any([Asn::new(65002)].into());
    config = dynamic::open(asns, 10);
    network.replace(1, config.clone());
    network.run(Duration::from_secs(20));
    assert_eq!(dynamic::known(&mut network), before[..1]);
    assert_eq!(network.status(2, v4(1)).flaps, 0);
    config.ranges.clear();
    network.replace(1, config);
    network.run(Duration::from_secs(20));
    assert_eq!((dynamic::known(&mut network), network.fib(1)), (Vec::new(), Vec::new()));
}

/// What a file says, with a policy that makes something else of it.
fn file() -> SourceConfig {
    let prepend = Some((Asn::new(65010), 2));
    let change = Arc::new(Change { prepend, ..Change::default() });
    let import =
        Policy::new([Rule { change, ..Rule::new(Matches::default(), PolicyAction::Accept) }]);
    SourceConfig { name: "a file".to_owned(), asn: Asn::new(65009), import }
}

fn says(network: &mut Network, id: SourceId, prefixes: &[&str]) {
    let as_path = AsPath::sequence([Asn::new(65009)]);
    let attributes = PathAttributes { as_path, ..PathAttributes::default() };
    let prefixes = prefixes.iter().map(|text| prefix(text).into()).collect();
    let announced = vec![Announcement { next_hop: v4(3).into(), prefixes }];
    let update = Update { attributes: attributes.into(), announced, ..Update::default() };
    let now = network.now();
    network.speaker(1).handle_source(id, &update, now).unwrap();
    network.poll();
    network.run(Duration::from_secs(1));
}

fn source(network: &mut Network) -> (SourceId, PeerCounts) {
    let speaker = network.speaker(1);
    let id = speaker.sources().find(|(_, name)| *name == "a file").unwrap().0;
    (id, speaker.routing.rib.peer_counts(speaker.sources[&id].peer))
}

#[test]
fn what_no_peer_has_told_goes_on_and_is_told_again() {
    let (mut network, config) = world();
    let first = network.speaker(1).add_source(SourceConfig { name: "gone".into(), ..file() });
    let id = network.speaker(1).add_source(file());
    network.speaker(1).remove_source(first);
    says(&mut network, id, &["10.7.0.0/24", "10.8.0.0/24"]);
    assert!(network.fib(4).contains(&"10.7.0.0/24".to_owned()));
    let (told, updates) = (network.told(1), network.nodes[&4].fib_updates);
    for _ in 0..2 {
        let frames = network.frames(1);
        network.replace_by(1, config.clone(), &frames, &own(1), vec![file()]);
        network.run(Duration::from_secs(5));
        let (again, counts) = source(&mut network);
        assert_eq!((again, counts.received, counts.stale), (id, 2, 2));
    }
    says(&mut network, id, &["10.7.0.0/24"]);
    assert_eq!(source(&mut network).1.stale, 1);
    assert_eq!((network.told(1), network.nodes[&4].fib_updates), (told, updates));
    // What it has not said again goes when it has said all.
    let now = network.now();
    network.speaker(1).end_source(id, now);
    network.poll();
    network.run(Duration::from_secs(1));
    assert_eq!(source(&mut network).1.received, 1);
    assert_eq!(network.nodes[&4].fib_updates, updates + 1);
    let fib = network.fib(4);
    assert!(fib.contains(&"10.7.0.0/24".to_owned()) && !fib.contains(&"10.8.0.0/24".to_owned()));
    // Another one is another.
    let next = network.speaker(1).add_source(SourceConfig { name: "new".into(), ..file() });
    assert!(next > id);
    assert_eq!(flaps(&mut network), 0);
}

#[test]
fn a_source_that_the_next_one_has_not_is_withdrawn() {
    let (mut network, config) = world();
    let id = network.speaker(1).add_source(file());
    says(&mut network, id, &["10.7.0.0/24"]);
    let frames = network.frames(1);
    let other = SourceConfig { name: "another file".to_owned(), ..file() };
    network.replace_by(1, config, &frames, &own(1), vec![other]);
    network.run(Duration::from_secs(1));
    assert_eq!(network.speaker(1).sources().count(), 0, "it is for the shell to add");
    assert!(!network.fib(4).contains(&"10.7.0.0/24".to_owned()));
    assert!(network.fib(4).contains(&"10.1.0.0/24".to_owned()));
    assert_eq!(flaps(&mut network), 0);
}

/// What the versions before hand over has no source in it and nobody who is lost, and is else the same.
#[test]
fn the_versions_before_are_taken() {
    for version in [2, 3, 4] {
        let (mut network, config) = world();
        let (told, mut frames) = (network.told(1), network.frames(1));
        assert_eq!(frames[0][..2], [0, 5]);
        frames[0][1] = version;
        network.replace_by(1, config, &frames, &own(1), Vec::new());
        network.run(Duration::from_secs(20));
        assert_eq!((network.told(1), flaps(&mut network)), (told, 0));
    }
}

#[test]
fn whom_bfd_has_lost_is_lost_to_the_next_one_too() {
    let mut network = beside_a_reflector();
    let config = Config::clone(network.speaker(1).config());
    network.cut(1, 3);
    network.bfd_down(1, key(3, Path::SingleHop), LOST, false);
    let fib = network.fib(1);
    network.replace(1, config.clone());
    network.run(Duration::from_secs(1));
    assert_eq!(reasons(&mut network, "10.3.0.0/24"), [NEXT_HOP_LOST]);
    assert_eq!(network.fib(1), fib);
    network.bfd_up(1, key(3, Path::SingleHop));
    assert_eq!(network.hops(1, "10.3.0.0/24"), [v4(3)]);

    // Another configuration may have no use for it.
    network.bfd_down(1, key(3, Path::SingleHop), LOST, false);
    assert_eq!(network.fib(1), fib);
    let mut unwatched = config;
    unwatched.peers.get_mut(&v4(3)).unwrap().bfd = None;
    network.replace(1, unwatched);
    network.run(Duration::from_secs(1));
    assert_eq!(network.hops(1, "10.3.0.0/24"), [v4(3)]);
}

#[test]
fn whom_no_link_leads_to_is_lost_to_the_next_one_too() {
    let mut network = beside_a_reflector();
    let now = network.now();
    let nowhere = Underlay::from([]);
    network.speaker(1).handle_underlay(&nowhere, now);
    let lost = network.speaker(1).lost_neighbours();
    assert_eq!(lost.get(&v4(3)), Some(&LossCause::Link));
    let config = network.speaker(1).config().clone();
    let mut handover = Handover::default();
    network.frames(1).iter().for_each(|frame| handover.read(frame).unwrap());
    let successor = Successor {
        config,
        underlay: &nowhere,
        originations: &own(1),
        sources: Vec::new(),
        forwards: true,
        connections: BTreeMap::new(),
        seed: 99,
    };
    let mut speaker = Speaker::taken_over(handover, successor, now).unwrap();
    assert_eq!(speaker.lost_neighbours(), lost);
    speaker.handle_underlay(&underlay(), now);
    assert_eq!(speaker.lost_neighbours(), BTreeMap::new());
}

#[test]
fn a_lost_connection_is_a_lost_session() {
    let (mut network, config) = world();
    let frames = network.frames(1);
    let mut handover = Handover::default();
    frames.iter().for_each(|frame| handover.read(frame).unwrap());
    let now = network.now();
    let successor = Successor {
        config: Arc::new(config),
        underlay: &underlay(),
        originations: &own(1),
        sources: Vec::new(),
        forwards: true,
        connections: BTreeMap::new(),
        seed: 1,
    };
    let mut speaker = Speaker::taken_over(handover, successor, now).unwrap();
    assert_eq!(speaker.session_counts().established, 0);
    assert_eq!(speaker.rib_counts().paths, 2, "our own");
    assert!(
        std::iter::from_fn(|| speaker.poll_action())
            .all(|action| !matches!(action, Action::Send { .. }))
    );
}

#[test]
fn what_is_no_handover_is_refused() {
    let (mut network, config) = world();
    let frames = network.frames(1);
    let now = network.now();
    let take = |frames: &[Vec<u8>]| {
        let mut handover = Handover::default();
        frames.iter().try_for_each(|frame| handover.read(frame))?;
        let successor = Successor {
            config: Arc::new(config.clone()),
            underlay: &underlay(),
            originations: &own(1),
            sources: Vec::new(),
            forwards: true,
            connections: BTreeMap::new(),
            seed: 1,
        };
        Speaker::taken_over(handover, successor, now)
    };
    assert!(take(&frames).is_ok());
    let mut other = frames.clone();
    other[0][1] = 77;
    assert_eq!(take(&other).unwrap_err(), HandoverError::Version(77));
    for len in 0..frames.len() {
        assert_eq!(take(&frames[..len]).unwrap_err(), HandoverError::Unfinished, "{len}");
    }
    assert_eq!(take(&frames[1..]).unwrap_err(), HandoverError::Version(0x0100));
    assert!(frames.iter().all(|frame| frame.len() <= crate::MAX_FRAME_BYTES));
    // Whatever it is, it does no harm.
    let mut rng = Rng::new(5);
    for _ in 0..500 {
        let mut frames = frames.clone();
        for _ in 0..=rng.below(3) {
            let frame = 1 + rng.below(frames.len() as u64 - 1) as usize;
            let at = rng.below(frames[frame].len() as u64) as usize;
            frames[frame][at] = rng.below(256) as u8;
        }
        drop(take(&frames));
    }
}
