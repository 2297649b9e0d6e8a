//! Random changes of the table, sessions that come, go and change, readers of every pace: in the end
//! each knows what its profile says of the best paths, and nothing else.

mod handover;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bgp_wire::{
    AsPath, BgpNextHop, Community, EXTENDED_MESSAGE_LEN, Families, Message, PathAttributes,
    PeerKind, RouteRefreshSubtype, split_frame,
};
use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::select};
use viaduct_net::{Asn, IfIndex, OriginSource, Origination, Prefix, RouterId, UnderlayRoute};

use super::*;
use crate::{
    Action, Change, ExportPeer, ExportReject, Matches, PathRecord, Peer, PrefixMatch, RibConfig,
    Rule, Source, TableError, TablePiece, export,
    policy::{AsPathPattern, MedChange, NextHopChange},
};

const LOCAL_AS: u32 = 64512;
/// Address, AS, whether it is a client of ours.
const PEERS: &[(&str, u32, bool)] = &[
    ("192.0.2.1", LOCAL_AS, true),
    ("192.0.2.2", LOCAL_AS, true),
    ("192.0.2.3", LOCAL_AS, false),
    ("192.0.2.4", 65001, false),
    ("192.0.2.5", 65002, false),
    ("192.0.2.6", 65002, false),
];

fn prefix(number: usize) -> Prefix {
    let address: IpAddr = match number % 3 {
        0 => [0x20, 1, 0xd, 0xb8, 0, number as u8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].into(),
        _ => [10, number as u8, 0, 0].into(),
    };
    Prefix::new(address, if number.is_multiple_of(3) { 48 } else { 16 }).unwrap()
}

const POLICIES: usize = 5;

fn policies() -> [Policy; POLICIES] {
    let rule = |sources: &[Source], prefixes: Vec<PrefixMatch>| {
        let sources = sources.to_vec();
        let matches = Matches { prefixes: prefixes.into(), sources, ..Matches::default() };
        Rule::new(matches, Action::Accept)
    };
    let change = |prefixes: Vec<PrefixMatch>, change: Change| Rule {
        matches: Matches { prefixes: prefixes.into(), ..Matches::default() },
        change: change.into(),
        action: Action::Continue,
    };
    let v4 = PrefixMatch::or_longer("10.0.0.0/12".parse().unwrap());
    let as_paths = vec![AsPathPattern::new("_65101_").unwrap()];
    // What differs in MED alone, and so does not where we set it.
    let mut marked = Change { med: Some(MedChange::Set(7)), ..Change::default() };
    marked.communities.add.push(Community::new(65000, 1));
    let elsewhere = Change {
        next_hop: Some(NextHopChange::Unchanged),
        prepend: Some((Asn::new(LOCAL_AS), 2)),
        ..Change::default()
    };
    [
        Policy::accept_all(),
        Policy::new([rule(&[Source::Local, Source::External], Vec::new())]),
        Policy::new([rule(&[], vec![v4])]),
        Policy::new([change(vec![v4], marked), rule(&[], Vec::new())]),
        Policy::new([
            Rule::new(Matches { as_paths, ..Matches::default() }, Action::Reject),
            change(Vec::new(), elsewhere),
            rule(&[], Vec::new()),
        ]),
    ]
}

/// Whether a peer is told of several paths, and of how many beside the best one.
#[derive(Clone, Copy, Debug)]
enum Several {
    No,
    InV4(usize),
    InBoth(usize),
}

fn profile(peer: usize, policy: usize, v6: bool, several: Several) -> Profile {
    let (_, number, reflector_client) = PEERS[peer];
    let kind = if number == LOCAL_AS { PeerKind::Internal } else { PeerKind::External };
    let (add_path_send, additional_paths) = match several {
        Several::No => (Families::NONE, 0),
        Several::InV4(count) => (Families { v4: true, v6: false }, count),
        Several::InBoth(count) => (Families { v4: true, v6 }, count),
    };
    Profile {
        local: LocalSpeaker {
            asn: Asn::new(LOCAL_AS),
            cluster_id: [192, 0, 2, 99].into(),
            address_v4: Some([192, 0, 2, 254].into()),
            address_v6: Some("2001:db8::fe".parse().unwrap()),
            link_local: None,
            egress: Default::default(),
            extended_next_hop: false,
        },
        parameters: SessionParameters {
            four_octet_as: true,
            families: Families { v4: true, v6 },
            add_path_send,
            ..SessionParameters::before_open(kind)
        },
        reflector_client,
        next_hop_self: false,
        policy: policies()[policy].clone(),
        long_lived: peer < 2,
        additional_paths,
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Announce { peer: usize, prefixes: BTreeSet<usize>, kind: usize },
    Withdraw { peer: usize, prefixes: BTreeSet<usize> },
    PeerDown { peer: usize },
    Originate(BTreeSet<usize>),
    Flush,
    Join { peer: usize, policy: usize, v6: bool, several: Several },
    Leave { peer: usize },
    Change { peer: usize, policy: usize },
    Refresh { peer: usize, v6: bool },
    Read { peer: usize, room: usize },
    Gather { peer: usize },
    HandOver { changed: Option<(usize, usize)> },
}

const PREFIXES: usize = 40;

fn several() -> impl Strategy<Value = Several> {
    use Several::*;
    select(&[No, No, InV4(0), InV4(2), InBoth(1), InBoth(100)][..])
}

fn operation() -> impl Strategy<Value = Operation> {
    let peer = || 0..PEERS.len();
    let prefixes = || proptest::collection::btree_set(0..PREFIXES, 1..12);
    prop_oneof![
        12 => (peer(), prefixes(), 0..5_usize)
            .prop_map(|(peer, prefixes, kind)| Operation::Announce { peer, prefixes, kind }),
        6 => (peer(), prefixes())
            .prop_map(|(peer, prefixes)| Operation::Withdraw { peer, prefixes }),
        1 => peer().prop_map(|peer| Operation::PeerDown { peer }),
        1 => prefixes().prop_map(Operation::Originate),
        8 => Just(Operation::Flush),
        3 => (peer(), 0..POLICIES, any::<bool>(), several())
            .prop_map(|(peer, policy, v6, several)| Operation::Join { peer, policy, v6, several }),
        1 => peer().prop_map(|peer| Operation::Leave { peer }),
        2 => (peer(), 0..POLICIES).prop_map(|(peer, policy)| Operation::Change { peer, policy }),
        1 => (peer(), any::<bool>()).prop_map(|(peer, v6)| Operation::Refresh { peer, v6 }),
        6 => (peer(), select(&[1, 200, 100_000][..]))
            .prop_map(|(peer, room)| Operation::Read { peer, room }),
        2 => peer().prop_map(|peer| Operation::Gather { peer }),
        1 => proptest::option::of((peer(), 0..3_usize))
            .prop_map(|changed| Operation::HandOver { changed }),
    ]
}

fn attributes(peer: usize, kind: usize) -> PathAttributes {
    let number = PEERS[peer].1;
    let own = (number != LOCAL_AS).then_some(number);
    let asns = own.into_iter().chain((0..kind as u32 % 3).map(|i| 65100 + i));
    PathAttributes {
        as_path: AsPath::sequence(asns.map(Asn::new)),
        communities: if kind == 4 { vec![Community::NO_EXPORT] } else { Vec::new() },
        med: Some(kind as u32),
        ..PathAttributes::default()
    }
}

type Known = BTreeMap<Nlri, (PathAttributes, BgpNextHop)>;

/// The other end of a session.
#[derive(Debug, Default)]
struct Reader {
    known: Known,
    ends: Vec<Family>,
    /// Families it has asked for once more, and those that are being told.
    wanted: BTreeSet<Family>,
    refreshed: BTreeMap<Family, BTreeSet<Nlri>>,
}

impl Reader {
    fn read(&mut self, outgoing: &Outgoing, profile: &Profile) {
        let mut messages = 0;
        let parameters = SessionParameters {
            add_path_receive: profile.parameters.add_path_send,
            ..profile.parameters
        };
        for bytes in &outgoing.bytes {
            assert!(bytes.len() < ENTRY_BYTES + EXTENDED_MESSAGE_LEN, "{}", bytes.len());
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Some(frame) = split_frame(&mut buffer, EXTENDED_MESSAGE_LEN).unwrap() {
                messages += 1;
                let update = match Message::decode(&frame, &parameters).unwrap() {
                    Message::Update(update) => update,
                    Message::RouteRefresh(refresh) => {
                        self.demarcate(refresh, profile);
                        continue;
                    }
                    other => panic!("{other:?}"),
                };
                assert_eq!(update.malformed, []);
                self.ends.extend(update.end_of_rib);
                update.withdrawn.iter().for_each(|prefix| {
                    self.known.remove(prefix);
                });
                for announced in &update.announced {
                    for &nlri in &announced.prefixes {
                        let told = (update.attributes.open(), announced.next_hop);
                        self.known.insert(nlri, told);
                        if let Some(told) = self.refreshed.get_mut(&nlri.prefix.family()) {
                            told.insert(nlri);
                        }
                    }
                }
            }
            assert!(buffer.is_empty());
        }
        assert_eq!(messages, outgoing.messages);
    }

    /// RFC 7313 §4: between the two stands everything; what does not is gone.
    fn demarcate(&mut self, refresh: bgp_wire::RouteRefresh, profile: &Profile) {
        let family = refresh.family.family().unwrap();
        match refresh.subtype {
            RouteRefreshSubtype::Begin => {
                assert!(self.ends.contains(&family), "{profile:?}");
                self.refreshed.insert(family, BTreeSet::new());
            }
            RouteRefreshSubtype::End => {
                self.wanted.remove(&family);
                let told = self.refreshed.remove(&family).unwrap();
                self.known.retain(|nlri, _| nlri.prefix.family() != family || told.contains(nlri));
            }
            other => panic!("{other:?}"),
        }
    }
}

struct World {
    rib: Rib,
    out: AdjRibsOut,
    ids: Vec<PeerId>,
    sessions: BTreeMap<usize, (Profile, Reader)>,
}

impl World {
    fn new(max_log_bytes: usize) -> Self {
        let router_id = "192.0.2.254".parse().unwrap();
        let mut config = RibConfig::new(Asn::new(LOCAL_AS), router_id, Vec::new());
        config.cluster_id = Some([192, 0, 2, 99].into());
        let mut rib = Rib::new(config);
        let on_link = |text: &str| UnderlayRoute {
            prefix: text.parse().unwrap(),
            gateway: None,
            interface: IfIndex(1),
            metric: 0,
        };
        rib.set_underlay(vec![on_link("192.0.2.0/24"), on_link("2001:db8::/64")].into());
        let peers = PEERS.iter().enumerate().map(|(i, (address, number, reflector_client))| Peer {
            address: address.parse().unwrap(),
            asn: Asn::new(*number),
            router_id: RouterId::from_u32(i as u32 + 1).unwrap(),
            kind: profile(i, 0, true, Several::No).parameters.peer_kind,
            interface: Some(IfIndex(1)),
            reflector_client: *reflector_client,
            import: Policy::accept_all(),
            enforce_first_as: true,
            max_prefixes: Peer::DEFAULT_MAX_PREFIXES,
            max_v4: None,
            max_v6: None,
            ingress: Default::default(),
        });
        let ids = peers.map(|peer| rib.add_peer(peer)).collect();
        let out = AdjRibsOut::with_log_limit(max_log_bytes);
        Self { rib, out, ids, sessions: BTreeMap::new() }
    }

    fn apply(&mut self, operation: &Operation) {
        let Self { rib, out, ids, sessions } = self;
        match operation {
            Operation::Announce { peer, prefixes, kind } => {
                let set = attributes(*peer, *kind).into();
                for v6 in [false, true] {
                    let next_hop: IpAddr = match v6 {
                        false => PEERS[*peer].0.parse().unwrap(),
                        true => format!("2001:db8::{}", peer + 1).parse().unwrap(),
                    };
                    let of_family = |prefix: &Prefix| (prefix.family() == Family::V6) == v6;
                    let all = prefixes.iter().map(|number| prefix(*number));
                    let all: Vec<_> = all.filter(of_family).map(Nlri::from).collect();
                    rib.announce(ids[*peer], &set, next_hop.into(), &all).unwrap();
                }
            }
            Operation::Withdraw { peer, prefixes } => {
                let all: Vec<_> = prefixes.iter().map(|number| prefix(*number).into()).collect();
                rib.withdraw(ids[*peer], &all);
            }
            Operation::PeerDown { peer } => rib.peer_down(ids[*peer]),
            Operation::Originate(prefixes) => {
                let source = OriginSource::Vip;
                let all = prefixes.iter().map(|&n| Origination { prefix: prefix(n), source });
                rib.set_originations(&all.collect::<Vec<_>>());
            }
            Operation::Flush => drop(out.flush(rib)),
            Operation::Join { peer, policy, v6, several } => {
                drop(out.flush(rib));
                let profile = profile(*peer, *policy, *v6, *several);
                out.join(rib, ids[*peer], profile.clone());
                rib.set_additional_paths(out.additional_paths());
                sessions.insert(*peer, (profile, Reader::default()));
            }
            Operation::Leave { peer } => {
                out.leave(ids[*peer]);
                sessions.remove(peer);
            }
            Operation::Change { peer, policy } => {
                // As a speaker does, which settles the table before it changes what peers are told.
                drop(out.flush(rib));
                if let Some((old, _)) = sessions.get_mut(peer) {
                    old.policy = policies()[*policy].clone();
                    if *policy == 2 {
                        old.additional_paths += 1;
                    }
                    out.change(rib, ids[*peer], old.clone());
                    rib.set_additional_paths(out.additional_paths());
                }
            }
            Operation::Refresh { peer, v6 } => {
                let family = if *v6 { Family::V6 } else { Family::V4 };
                out.refresh(ids[*peer], family, true);
                let carried = |(profile, _): &&mut (Profile, Reader)| {
                    profile.parameters.families.contains(family)
                };
                if let Some((_, reader)) = sessions.get_mut(peer).filter(carried) {
                    reader.wanted.insert(family);
                }
            }
            Operation::Read { peer, room } => {
                drop(out.flush(rib));
                if let Some((profile, reader)) = sessions.get_mut(peer) {
                    reader.read(&out.next(rib, ids[*peer], *room).unwrap(), profile);
                }
            }
            Operation::Gather { peer } => {
                drop(out.flush(rib));
                out.gather(ids[*peer]);
            }
            Operation::HandOver { changed } => self.hand_over(*changed),
        }
    }

    fn read_all(&mut self) {
        drop(self.out.flush(&mut self.rib));
        for (peer, (profile, reader)) in &mut self.sessions {
            let id = self.ids[*peer];
            while self.out.is_pending(id) {
                reader.read(&self.out.next(&self.rib, id, 1000).unwrap(), profile);
            }
            assert_eq!(self.out.next(&self.rib, id, 1000), Ok(Outgoing::default()));
        }
    }

    /// What a peer is to know, and how many paths its policy was asked about.
    fn expected(&self, peer: usize, profile: &Profile) -> (Known, usize) {
        let mut refused = 0;
        let target = ExportPeer {
            id: Some(self.ids[peer]),
            kind: profile.parameters.peer_kind,
            reflector_client: profile.reflector_client,
            next_hop_self: profile.next_hop_self,
            policy: &profile.policy,
            long_lived: profile.long_lived,
        };
        let prefixes = (0..PREFIXES).map(prefix);
        let told = prefixes.flat_map(|prefix| {
            let several = profile.parameters.add_path_send.contains(prefix.family());
            let count = if several { profile.additional_paths } else { 0 };
            let additional = self.rib.additional_paths(prefix, count);
            let paths = self.rib.best(prefix).into_iter().chain(additional);
            paths.map(move |path| {
                let path_id = if several { path.path_id } else { 0 };
                (Nlri { prefix, path_id }, path)
            })
        });
        let carried =
            told.filter(|(nlri, _)| profile.parameters.families.contains(nlri.prefix.family()));
        let told = carried.filter_map(|(nlri, path)| {
            let exported = export::export(&profile.local, &target, nlri.prefix, &path);
            refused += usize::from(exported == Err(ExportReject::Policy));
            let exported = exported.ok()?;
            Some((nlri, (exported.attributes.open(), exported.next_hop)))
        });
        let told: Known = told.collect();
        let asked = told.len() + refused;
        (told, asked)
    }

    fn check(&mut self) {
        self.read_all();
        for (peer, (profile, reader)) in &self.sessions {
            let (expected, asked) = self.expected(*peer, profile);
            assert_eq!(reader.known, expected, "peer {peer}");
            assert_eq!(self.out.told(self.ids[*peer]), reader.known.len(), "peer {peer}");
            let AdjRibOutCounts { pre_policy, post_policy } = self.out.counts(self.ids[*peer]);
            assert_eq!(pre_policy.total(), asked, "peer {peer}");
            for family in Family::ALL {
                let known = reader.known.keys().filter(|nlri| nlri.prefix.family() == family);
                assert_eq!(post_policy.of(family), known.count(), "peer {peer} {family:?}");
            }
            assert!(reader.wanted.is_empty() && reader.refreshed.is_empty(), "{reader:?}");
            let mut ends = reader.ends.clone();
            ends.sort_unstable();
            assert_eq!(ends, profile.parameters.families.iter().collect::<Vec<_>>());
        }
        let distinct = self.sessions.values().map(|(profile, _)| format!("{profile:?}"));
        assert_eq!(self.out.groups(), distinct.collect::<BTreeSet<_>>().len());
        for group in self.out.groups.iter().flatten() {
            assert_eq!((group.log.bytes(), group.lagging.len()), (0, 0), "all have read all");
        }
    }
}

proptest! {
    // PROPTEST_CASES in the environment asks for more.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(512)))]

    #[test]
    fn every_peer_knows_what_it_should(
        operations in vec(operation(), 1..80),
        max_log_bytes in select(&[0, 300, MAX_LOG_BYTES][..]),
    ) {
        let mut world = World::new(max_log_bytes);
        for (i, operation) in operations.iter().enumerate() {
            world.apply(operation);
            if i == operations.len() / 2 {
                world.check();
            }
        }
        world.check();
        for peer in 0..PEERS.len() {
            world.apply(&Operation::PeerDown { peer });
        }
        world.apply(&Operation::Originate(BTreeSet::new()));
        world.check();
        prop_assert!(world.sessions.values().all(|(_, reader)| reader.known.is_empty()));
    }
}

#[test]
fn what_peers_share_is_made_once() {
    let mut world = World::new(MAX_LOG_BYTES);
    for peer in [0, 1, 4, 5] {
        world.apply(&Operation::Join { peer, policy: 0, v6: true, several: Several::No });
    }
    assert_eq!(world.out.groups(), 2);
    let prefixes: BTreeSet<_> = (0..PREFIXES).collect();
    world.apply(&Operation::Announce { peer: 3, prefixes, kind: 1 });
    drop(world.out.flush(&mut world.rib));
    let mut next = |peer: usize| world.out.next(&world.rib, world.ids[peer], 100_000).unwrap();
    for (one, other) in [(0, 1), (4, 5)] {
        let (one, other) = (next(one), next(other));
        // One message for each family, End-of-RIB apart.
        assert_eq!(one.messages, 4);
        assert_eq!(one.bytes[0].as_ptr(), other.bytes[0].as_ptr(), "the same octets");
    }
}

/// A path of a client with so many octets that nobody understands.
fn long(octets: usize) -> PathAttributes {
    let kind = bgp_wire::AttributeType(200);
    let unknown = vec![bgp_wire::UnknownAttribute { kind, value: vec![7; octets].into() }];
    PathAttributes { unknown, ..attributes(0, 0) }
}

/// 400 prefixes, told by the client.
fn announce_long(world: &mut World, octets: usize) {
    let all: Vec<_> = (0..400_u16)
        .map(|n| Prefix::new([10, 0, (n >> 8) as u8, n as u8].into(), 32).unwrap().into())
        .collect();
    let next_hop: IpAddr = PEERS[0].0.parse().unwrap();
    world.rib.announce(world.ids[0], &long(octets).into(), next_hop.into(), &all).unwrap();
}

#[test]
fn what_most_have_to_read_counts_and_not_what_a_few_have() {
    let mut world = World::new(MAX_LOG_BYTES);
    for peer in [3, 4, 5] {
        world.apply(&Operation::Join { peer, policy: 0, v6: true, several: Several::No });
    }
    world.read_all();
    assert_eq!(world.out.unread(), 0);
    // A few prefixes to a message.
    announce_long(&mut world, 3985);
    world.apply(&Operation::Flush);
    let all = world.out.unread();
    assert!(all > 4 * ENTRY_BYTES, "{all}");
    world.apply(&Operation::Read { peer: 4, room: usize::MAX });
    assert_eq!(world.out.unread(), all, "two of three have read nothing");
    world.apply(&Operation::Read { peer: 5, room: all / 4 });
    assert_eq!(world.out.unread(), all, "nor the second more than a part");
    world.apply(&Operation::Read { peer: 5, room: usize::MAX });
    assert_eq!(world.out.unread(), 0, "one is slow");
    world.read_all();
    assert_eq!(world.out.unread(), 0);
}

#[test]
fn who_gathers_is_told_what_is_so_by_then_and_holds_nothing() {
    let mut world = World::new(MAX_LOG_BYTES);
    for peer in [3, 4] {
        world.apply(&Operation::Join { peer, policy: 0, v6: true, several: Several::No });
    }
    world.read_all();
    world.apply(&Operation::Gather { peer: 4 });
    let all: BTreeSet<_> = (0..PREFIXES).collect();
    for round in 0..9 {
        world.apply(&Operation::Announce { peer: 0, prefixes: all.clone(), kind: round % 3 });
        world.apply(&Operation::Flush);
        world.apply(&Operation::Withdraw {
            peer: 0,
            prefixes: (0..PREFIXES).filter(|n| n % 4 < 2).collect(),
        });
        world.apply(&Operation::Read { peer: 3, room: usize::MAX });
        assert_eq!(
            world.out.groups.iter().flatten().map(|group| group.log.bytes()).sum::<usize>(),
            0
        );
    }
    let told = world.out.next(&world.rib, world.ids[4], usize::MAX).unwrap();
    // Withdrawn and announced in one message each for either family.
    assert_eq!(told.messages, 4);
    let (profile, reader) = world.sessions.get_mut(&4).unwrap();
    reader.read(&told, profile);
    assert_eq!(reader.known.len(), PREFIXES / 2);
    world.check();
}

#[test]
fn long_attributes_come_in_pieces_and_those_too_long_not_at_all() {
    let mut world = World::new(MAX_LOG_BYTES);
    world.apply(&Operation::Join { peer: 1, policy: 0, v6: true, several: Several::No });
    let announce = |world: &mut World, octets: usize| {
        announce_long(world, octets);
        world.read_all();
        (world.sessions[&1].1.known.len(), world.out.told(world.ids[1]))
    };
    // One prefix to a message: 1.6 MB, and no piece of it longer than a piece may be.
    assert_eq!(announce(&mut world, 3990), (400, 400));
    assert_eq!(announce(&mut world, 4050), (0, 0), "what was known is withdrawn");
    assert_eq!(announce(&mut world, 3000), (400, 400));
    world.apply(&Operation::Refresh { peer: 1, v6: false });
    world.read_all();
    assert_eq!(world.sessions[&1].1.known.len(), 400);
}

#[test]
fn who_does_not_read_costs_little_and_nobody_else() {
    let mut world = World::new(4096);
    for peer in [3, 4, 5] {
        world.apply(&Operation::Join { peer, policy: 0, v6: true, several: Several::No });
    }
    world.read_all();
    for round in 0..200 {
        let prefixes = (0..PREFIXES).collect();
        world.apply(&Operation::Announce { peer: 0, prefixes, kind: round % 3 });
        world.apply(&Operation::Read { peer: 4, room: 1 << 20 });
        let kept: usize = world.out.groups.iter().flatten().map(|group| group.log.bytes()).sum();
        assert!(kept <= 4096, "{kept}");
    }
    assert_eq!(world.sessions[&4].1.known.len(), PREFIXES);
    world.check();
}
