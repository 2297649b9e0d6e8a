//! What is agreed with a peer beside routes.

use std::{num::NonZeroU8, time::Duration};

use bgp_speaker::{LimitAction, PrefixLimits, RangeAsns, Transport, Ttl};
use viaduct_api::v1alpha1::{
    LocalAs, MaxPrefixes, MaxPrefixesAction, RangeKind, Role, SecretKeyRef, Shutdown,
};

use bgp_wire::PeerKind;
use viaduct_net::Asn;

use super::*;

fn read(spec: BGPPeerSpec, passwords: &Passwords) -> Result<Config, ConfigErrors> {
    cluster(&BGPConfigurationSpec::default(), &peers(spec), &local(), &[], passwords)
}

/// As a speaker that reads a file does.
fn read_file(spec: BGPPeerSpec, passwords: &Passwords) -> Result<Config, ConfigErrors> {
    let LocalNode { router_id, v4, v6, .. } = local();
    let addresses = LocalAddresses { v4, v6 };
    standalone(&BGPConfigurationSpec::default(), router_id, addresses, &peers(spec), passwords)
}

fn transport(spec: BGPPeerSpec) -> Transport {
    let address = spec.address.unwrap();
    read(spec, &Passwords::new()).unwrap().peers[&address].transport.clone()
}

/// The fields that are wrong, without the place that all of them share.
fn wrong(spec: BGPPeerSpec) -> Vec<String> {
    let place = "BGPPeer/border: spec.";
    let found = fields(read(spec, &Passwords::new()));
    found.into_iter().map(|field| field.strip_prefix(place).unwrap().to_owned()).collect()
}

#[test]
fn how_far_packets_travel() {
    assert_eq!(transport(border()), Transport::default());
    let secure = |hops| BGPPeerSpec { ttl_security: Some(hops), ..border() };
    let hops = NonZeroU8::new(3).unwrap();
    assert_eq!(transport(secure(3)).ttl, Ttl::Security { hops });
    let multihop = |ttl| BGPPeerSpec { ebgp_multihop: Some(ttl), ..border() };
    assert_eq!(transport(multihop(3)).ttl, Ttl::Send(hops));
    assert_eq!(wrong(secure(0)), ["ttlSecurity"]);
    assert_eq!(wrong(secure(255)), ["ttlSecurity"]);
    assert_eq!(wrong(multihop(0)), ["ebgpMultihop"]);
    let asn = BGPConfigurationSpec::default().asn;
    assert_eq!(wrong(BGPPeerSpec { asn, ..multihop(3) }), ["ebgpMultihop"], "internal");
    assert_eq!(wrong(BGPPeerSpec { ttl_security: Some(1), ..multihop(3) }), ["ebgpMultihop"]);
}

#[test]
fn a_password_comes_from_where_the_peer_says() {
    let secret = SecretKeyRef { name: "bgp".to_owned(), key: "password".to_owned() };
    let of_secret = BGPPeerSpec { password_secret_ref: Some(secret.clone()), ..border() };
    let of_file = BGPPeerSpec { password_file: Some("/etc/bgp".to_owned()), ..border() };
    let source = |spec: &BGPPeerSpec| password_sources(spec).next().unwrap();
    assert_eq!(source(&of_secret), PasswordSource::Secret(secret));
    for spec in [of_secret.clone(), of_file.clone()] {
        let known = Passwords::from([(source(&spec), Ok(b"hunter2\n".to_vec()))]);
        let config = read(spec.clone(), &known).unwrap();
        let md5 = config.peers[&spec.address.unwrap()].transport.md5.clone().unwrap();
        assert_eq!(md5.octets(), b"hunter2", "without the newline of a file");
        assert!(!format!("{config:?}").contains("hunter2"));
        for bad in [Ok(Vec::new()), Ok(vec![b'x'; 81]), Err("no such thing".to_owned())] {
            let known = Passwords::from([(source(&spec), bad)]);
            assert_eq!(fields(read_file(spec.clone(), &known)).len(), 1);
        }
    }
    let wrong_in_file = |spec| fields(read_file(spec, &Passwords::new()));
    assert_eq!(wrong_in_file(of_secret.clone()), ["BGPPeer/border: spec.passwordSecretRef"]);
    assert_eq!(wrong_in_file(of_file.clone()), ["BGPPeer/border: spec.passwordFile"]);
    let both = BGPPeerSpec { password_file: of_file.password_file, ..of_secret };
    assert_eq!(wrong(both), ["passwordFile"]);
}

/// A node cannot keep the last configuration of all peers for one that lacks its password.
#[test]
fn on_a_node_only_the_peer_without_its_password_is_held_down() {
    let secret = |name: &str| SecretKeyRef { name: name.to_owned(), key: "password".to_owned() };
    let with = |last: u8, name: &str| BGPPeerSpec {
        password_secret_ref: Some(secret(name)),
        ..BGPPeerSpec::new([198, 51, 100, last].into(), 64999)
    };
    let peers = BTreeMap::from([
        ("border".to_owned(), border()),
        ("missing".to_owned(), with(1, "missing")),
        ("there".to_owned(), with(2, "there")),
        ("unheard-of".to_owned(), with(3, "unheard-of")),
        ("long".to_owned(), with(4, "long")),
    ]);
    let passwords = Passwords::from([
        (PasswordSource::Secret(secret("missing")), Err("is missing".to_owned())),
        (PasswordSource::Secret(secret("there")), Ok(b"hunter2".to_vec())),
        (PasswordSource::Secret(secret("long")), Ok(vec![b'x'; 81])),
    ]);
    let config =
        cluster(&BGPConfigurationSpec::default(), &peers, &local(), &[], &passwords).unwrap();
    let obstacles: Vec<_> = config.peers.values().map(|peer| peer.obstacle.as_deref()).collect();
    assert_eq!(
        obstacles,
        [
            None,
            Some("passwordSecretRef: is missing"),
            None,
            Some("passwordSecretRef: cannot be read here"),
            Some(
                "passwordSecretRef: Secret kube-system/long, key `password`: the password has 81 \
                 octets, of which the kernel takes 80"
            ),
        ]
    );
}

#[test]
fn times_are_bounded_and_the_default_where_nothing_is_said() {
    let spec = BGPPeerSpec { send_hold_seconds: Some(30), keepalive_seconds: Some(1), ..border() };
    let times = read(spec, &Passwords::new()).unwrap().peers[&border().address.unwrap()].times;
    assert_eq!((times.send_hold, times.keepalive), {
        (Some(Duration::from_secs(30)), Some(Duration::from_secs(1)))
    });
    assert_eq!(times.connect_retry, bgp_speaker::CONNECT_RETRY_TIME);
    let zero = BGPPeerSpec {
        connect_retry_seconds: Some(0),
        keepalive_seconds: Some(0),
        idle_hold_seconds: Some(0),
        send_hold_seconds: Some(9),
        ..border()
    };
    let fields = ["connectRetrySeconds", "keepaliveSeconds", "idleHoldSeconds", "sendHoldSeconds"];
    assert_eq!(wrong(zero), fields, "nine is the hold time");
    let rare = |milliseconds| BGPPeerSpec {
        advertisement_interval_milliseconds: Some(milliseconds),
        ..border()
    };
    let times =
        read(rare(30_000), &Passwords::new()).unwrap().peers[&border().address.unwrap()].times;
    assert_eq!(times.advertisement, Duration::from_secs(30));
    assert_eq!(wrong(rare(600_001)), ["advertisementIntervalMilliseconds"]);
}

#[test]
fn limits_of_prefixes() {
    let limits: MaxPrefixes = serde_json::from_str(r#"{"v4": 10, "restartSeconds": 60}"#).unwrap();
    let with = |limits| BGPPeerSpec { max_prefixes: Some(limits), ..border() };
    let config = read(with(limits.clone()), &Passwords::new()).unwrap();
    let action = LimitAction::CloseFor(Duration::from_secs(60));
    assert_eq!(config.peers[&border().address.unwrap()].prefix_limits, {
        PrefixLimits { v4: Some(10), v6: None, warning_percent: 75, action }
    });
    let warn = MaxPrefixes { action: MaxPrefixesAction::Warn, ..limits.clone() };
    assert_eq!(wrong(with(warn)), ["maxPrefixes.restartSeconds"]);
    let bad = MaxPrefixes { v4: None, warning_percent: 101, restart_seconds: Some(0), ..limits };
    assert_eq!(wrong(with(bad)), {
        ["maxPrefixes", "maxPrefixes.warningPercent", "maxPrefixes.restartSeconds"]
    });
}

#[test]
fn a_peer_that_is_shut_down_may_be_told_why() {
    let with =
        |message: Option<String>| BGPPeerSpec { shutdown: Some(Shutdown { message }), ..border() };
    let config = read(with(Some("new cables".to_owned())), &Passwords::new()).unwrap();
    let peer = &config.peers[&border().address.unwrap()];
    assert!(peer.shutdown && peer.shutdown_message.as_deref() == Some("new cables"));
    assert!(
        read(with(None), &Passwords::new()).unwrap().peers[&border().address.unwrap()].shutdown
    );
    assert_eq!(wrong(with(Some("é".repeat(128)))), ["shutdown.message"]);
}

#[test]
fn what_we_are_to_a_neighbour_in_another_as() {
    let local = LocalAs { asn: 64777, no_prepend: true, replace_as: false };
    let spec = BGPPeerSpec {
        role: Some(Role::Customer),
        strict_role: true,
        local_as: Some(local.clone()),
        allow_own_as: 2,
        as_override: true,
        ..border()
    };
    let config = read(spec.clone(), &Passwords::new()).unwrap();
    let peer = &config.peers[&border().address.unwrap()];
    assert!(peer.role.unwrap().strict && peer.role.unwrap().role == bgp_wire::Role::Customer);
    let read_as = peer.local_as.unwrap();
    assert!(!read_as.prepend_received && !read_as.replace_sent && peer.allow_own_as == 2);
    assert!(peer.as_override);
    let asn = BGPConfigurationSpec::default().asn;
    assert_eq!(wrong(BGPPeerSpec { asn, ..spec.clone() }), ["localAs"]);
    let internal = BGPPeerSpec { asn, local_as: None, ..spec.clone() };
    assert_eq!(wrong(internal), ["role", "allowOwnAs", "asOverride"]);
    assert_eq!(wrong(BGPPeerSpec { role: None, allow_own_as: 11, ..spec.clone() }), {
        ["strictRole", "allowOwnAs"]
    });
    for wrong_asn in [0, 23456, asn] {
        let local_as = Some(LocalAs { asn: wrong_asn, ..local.clone() });
        assert_eq!(wrong(BGPPeerSpec { local_as, ..spec.clone() }), ["localAs.asn"]);
    }
}

/// A session that both OPENs say one AS of is internal: with its policy, and nothing of an external one.
#[test]
fn a_neighbour_of_our_other_as_is_internal() {
    let local = LocalAs { asn: border().asn, no_prepend: false, replace_as: false };
    let spec = BGPPeerSpec {
        local_as: Some(local),
        reflector_client: true,
        import: None,
        export: None,
        ..border()
    };
    let config = read(spec.clone(), &Passwords::new()).unwrap();
    let peer = &config.peers[&border().address.unwrap()];
    assert_eq!(peer.kind(&config), PeerKind::Internal);
    assert_eq!((&peer.import, &peer.export), (&Policy::accept_all(), &Policy::accept_all()));
    let with = BGPPeerSpec {
        role: Some(Role::Customer),
        allow_own_as: 1,
        ebgp_multihop: Some(9),
        ..spec.clone()
    };
    assert_eq!(wrong(with), ["ebgpMultihop", "role", "allowOwnAs"]);
    let range = BGPPeerSpec {
        address: None,
        address_range: Some("192.0.2.0/24".parse().unwrap()),
        asn: 0,
        range_kind: Some(RangeKind::Internal),
        ..spec
    };
    let config = read(range, &Passwords::new()).unwrap();
    let (_, range) = config.ranges.first_key_value().unwrap();
    assert_eq!(range.peer.kind(&config), PeerKind::Internal);
    assert_eq!(range.peer.asn, Asn::new(border().asn));
}

#[test]
fn nobody_may_discard_who_was_not_told_so() {
    let accepts = |spec: BGPPeerSpec| {
        let config = read(spec, &Passwords::new()).unwrap();
        config.peers[&border().address.unwrap()].accept_blackhole
    };
    assert!(!accepts(border()));
    assert!(accepts(BGPPeerSpec { accept_blackhole: true, ..border() }));
}

#[test]
fn a_range_has_a_limit_and_says_in_which_as_its_neighbours_are() {
    let range = BGPPeerSpec {
        address: None,
        address_range: Some("192.0.2.0/24".parse().unwrap()),
        asn: 0,
        ..border()
    };
    let own = BGPConfigurationSpec::default().asn;
    let kind = |kind| BGPPeerSpec { range_kind: Some(kind), ..range.clone() };
    let list = |asns: &[u32]| BGPPeerSpec { range_asns: asns.to_vec(), ..range.clone() };
    for (spec, expected) in [
        (kind(RangeKind::External), RangeAsns::External),
        (BGPPeerSpec { reflector_client: true, ..kind(RangeKind::Internal) }, RangeAsns::Internal),
        (list(&[1, 2]), RangeAsns::Any([Asn::new(1), Asn::new(2)].into())),
        (BGPPeerSpec { asn: 7, ..range.clone() }, RangeAsns::Any([Asn::new(7)].into())),
    ] {
        let config = read(spec, &Passwords::new()).unwrap();
        let (_, read) = config.range_of("192.0.2.99".parse().unwrap()).unwrap();
        assert!(read.asns == expected && read.peer.passive && read.limit == 100);
        assert!(config.peers.is_empty());
    }
    assert_eq!(wrong(range.clone()), ["asn"]);
    assert_eq!(wrong(list(&[0, own])), ["rangeAsns[0]", "rangeAsns"]);
    assert_eq!(wrong(BGPPeerSpec { asn: 1, ..kind(RangeKind::External) }), ["rangeKind"]);
    assert_eq!(wrong(BGPPeerSpec { range_limit: 0, ..list(&[1]) }), ["rangeLimit"]);
    assert_eq!(wrong(BGPPeerSpec { address: border().address, ..list(&[1]) }), ["addressRange"]);
    assert_eq!(wrong(BGPPeerSpec { range_kind: Some(RangeKind::External), ..border() }), {
        ["rangeKind"]
    });
    assert_eq!(wrong(BGPPeerSpec { address: None, ..border() }), ["address"]);
}
