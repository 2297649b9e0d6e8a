mod bfd;
mod interface;
mod policy;
mod session;
mod tcp_ao;

use bgp_speaker::{
    Policy, Source,
    policy::{Decided, Route},
};
use viaduct_api::v1alpha1::{
    self as api, ConfederationSpec, DecisionSpec, PolicyAction, PolicyRule,
    PrefixMatch as ApiPrefixMatch, SourceMatch,
};
use viaduct_net::Prefix;

use super::*;

fn node(name: &str, octet: u8) -> OtherNode {
    OtherNode {
        name: name.to_owned(),
        v4: Some(Ipv4Addr::new(192, 0, 2, octet)),
        v6: Some(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, octet.into())),
        router_id: Ipv4Addr::new(192, 0, 2, octet).try_into().unwrap(),
    }
}

fn local() -> LocalNode {
    let OtherNode { name, v4, v6, router_id } = node("a", 1);
    let labels = BTreeMap::from([("rack".to_owned(), "1".to_owned())]);
    LocalNode { name, labels, v4, v6, router_id, restarting: false }
}

fn border() -> BGPPeerSpec {
    BGPPeerSpec::new("192.0.2.254".parse().unwrap(), 64999)
}

fn peers(spec: BGPPeerSpec) -> BTreeMap<String, BGPPeerSpec> {
    BTreeMap::from([("border".to_owned(), spec)])
}

fn fields(result: Result<Config, ConfigErrors>) -> Vec<String> {
    result.unwrap_err().0.into_iter().map(|error| error.field).collect()
}

#[test]
fn the_mesh_is_every_other_node_over_one_session() {
    let mut six_only = node("c", 3);
    six_only.v4 = None;
    let mut unborn = node("d", 4);
    (unborn.v4, unborn.v6) = (None, None);
    let others = [node("a", 1), node("b", 2), six_only, unborn];
    let spec = BGPConfigurationSpec { listen_port: 1179, ..Default::default() };
    let config = cluster(&spec, &BTreeMap::new(), &local(), &others, &Passwords::new()).unwrap();
    let addresses: Vec<String> = config.peers.keys().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.0.2.2", "2001:db8::3"]);
    for peer in config.peers.values() {
        assert_eq!((peer.asn, peer.port), (config.asn, 1179));
        assert_eq!(peer.export, Policy::accept_all());
        assert_eq!(peer.hold_time.to_secs(), 9);
    }
    assert_eq!(config.deferral.as_secs(), 30);

    let off = BGPConfigurationSpec { node_to_node_mesh: false, ..spec };
    assert!(
        cluster(&off, &BTreeMap::new(), &local(), &others, &Passwords::new())
            .unwrap()
            .peers
            .is_empty()
    );
}

#[test]
fn a_peer_is_selected_by_the_labels_of_the_node() {
    let mut spec = border();
    spec.node_selector.insert("rack".to_owned(), "2".to_owned());
    let configuration = BGPConfigurationSpec::default();
    let config =
        cluster(&configuration, &peers(spec.clone()), &local(), &[], &Passwords::new()).unwrap();
    assert!(config.peers.is_empty());

    spec.node_selector.insert("rack".to_owned(), "1".to_owned());
    let config = cluster(&configuration, &peers(spec), &local(), &[], &Passwords::new()).unwrap();
    let peer = &config.peers[&"192.0.2.254".parse::<IpAddr>().unwrap()];
    assert_eq!(peer.import, Policy::reject_all(), "RFC 8212");
    assert_eq!(peer.export, Policy::reject_all(), "RFC 8212");
}

#[test]
fn policies_keep_their_order_and_their_bounds() {
    let mut spec = border();
    let prefix: Prefix = "10.0.0.0/8".parse().unwrap();
    spec.export = Some(api::Policy {
        rules: vec![
            PolicyRule {
                prefixes: vec![ApiPrefixMatch {
                    prefix,
                    min_length: Some(24),
                    max_length: Some(24),
                }],
                ..PolicyRule::new(PolicyAction::Reject)
            },
            PolicyRule {
                prefixes: vec![ApiPrefixMatch { prefix, min_length: None, max_length: Some(32) }],
                sources: vec![SourceMatch::Local],
                ..PolicyRule::new(PolicyAction::Accept)
            },
        ],
    });
    let configuration = BGPConfigurationSpec::default();
    let config =
        cluster(&configuration, &peers(spec.clone()), &local(), &[], &Passwords::new()).unwrap();
    let policy = &config.peers[&spec.address.unwrap()].export;
    for (text, source, expected) in [
        ("10.1.1.0/24", Source::Local, Decided::Reject),
        ("10.1.1.0/26", Source::Local, Decided::Accept),
        ("10.1.1.0/26", Source::Internal, Decided::Reject),
    ] {
        let route = Route::new(text.parse().unwrap(), source);
        assert_eq!(policy.before_attributes(&route), expected, "{text}");
    }
}

#[test]
fn every_error_is_found_and_names_its_field() {
    let configuration = BGPConfigurationSpec {
        asn: 0,
        node_to_node_mesh: true,
        listen_port: 0,
        hold_time_seconds: 2,
        graceful_restart_seconds: 5000,
        cluster_id: None,
        confederation: Some(ConfederationSpec { id: 0, members: vec![0, 64777, 23456] }),
        decision: DecisionSpec { multipath: 0, ..DecisionSpec::default() },
        coalesce_milliseconds: 1001,
        bfd: None,
        ..Default::default()
    };
    let prefix: Prefix = "10.0.0.0/8".parse().unwrap();
    let rule = |min_length, max_length| PolicyRule {
        prefixes: vec![ApiPrefixMatch { prefix, min_length, max_length }],
        ..PolicyRule::new(PolicyAction::Accept)
    };
    let mut broken = border();
    broken.asn = 23456;
    broken.port = 0;
    broken.reflector_client = true;
    broken.hold_time_seconds = Some(1);
    broken.import = Some(api::Policy {
        rules: vec![rule(Some(7), None), rule(None, Some(33)), rule(Some(24), Some(16))],
    });
    let mut own = border();
    own.address = Some("192.0.2.1".parse().unwrap());
    let mut taken = border();
    taken.address = Some("192.0.2.2".parse().unwrap());
    let peers = BTreeMap::from([
        ("broken".to_owned(), broken),
        ("own".to_owned(), own),
        ("taken".to_owned(), taken),
    ]);
    let mut twin = node("c", 3);
    twin.router_id = local().router_id;
    let found =
        fields(cluster(&configuration, &peers, &local(), &[node("b", 2), twin], &Passwords::new()));
    assert_eq!(
        found,
        [
            "BGPConfiguration: spec.asn",
            "BGPConfiguration: spec.listenPort",
            "BGPConfiguration: spec.holdTimeSeconds",
            "BGPConfiguration: spec.gracefulRestartSeconds",
            "BGPConfiguration: spec.confederation.id",
            "BGPConfiguration: spec.confederation.members",
            "BGPConfiguration: spec.confederation.members",
            "BGPConfiguration: spec.confederation.members",
            "BGPConfiguration: spec.decision.multipath",
            "BGPConfiguration: spec.coalesceMilliseconds",
            "Node/c: router id",
            "BGPPeer/broken: spec.asn",
            "BGPPeer/broken: spec.port",
            "BGPPeer/broken: spec.holdTimeSeconds",
            "BGPPeer/broken: spec.reflectorClient",
            "BGPPeer/broken: spec.import.rules[0].prefixes[0].minLength",
            "BGPPeer/broken: spec.import.rules[1].prefixes[0].maxLength",
            "BGPPeer/broken: spec.import.rules[2].prefixes[0].maxLength",
            "BGPPeer/own: spec.address",
            "BGPPeer/taken: spec.address",
        ]
    );
}

#[test]
fn a_speaker_alone_needs_an_address_and_takes_all_its_peers() {
    let configuration = BGPConfigurationSpec::default();
    let id: RouterId = "192.0.2.254".parse().unwrap();
    let mut peer = border();
    peer.address = Some("192.0.2.1".parse().unwrap());
    peer.node_selector.insert("rack".to_owned(), "9".to_owned());
    let addresses = LocalAddresses { v4: Some(Ipv4Addr::new(192, 0, 2, 254)), v6: None };
    let config =
        standalone(&configuration, id, addresses, &peers(peer.clone()), &Passwords::new()).unwrap();
    assert_eq!(config.peers.len(), 1);
    let found = fields(standalone(
        &configuration,
        id,
        LocalAddresses::default(),
        &peers(peer),
        &Passwords::new(),
    ));
    assert_eq!(found.len(), 1);
}

#[test]
fn a_reflector_is_whoever_has_clients() {
    let mut configuration = BGPConfigurationSpec::default();
    let mut peer = border();
    (peer.asn, peer.reflector_client) = (configuration.asn, true);
    let config =
        cluster(&configuration, &peers(peer.clone()), &local(), &[], &Passwords::new()).unwrap();
    assert!(config.is_reflector() && config.peers[&peer.address.unwrap()].reflector_client);
    assert_eq!(config.cluster_id, Ipv4Addr::new(192, 0, 2, 1), "the router id");
    configuration.cluster_id = Some(Ipv4Addr::new(0, 0, 0, 7));
    peer.reflector_client = false;
    let config = cluster(&configuration, &peers(peer), &local(), &[], &Passwords::new()).unwrap();
    assert_eq!((config.is_reflector(), config.cluster_id.octets()[3]), (false, 7));
}
