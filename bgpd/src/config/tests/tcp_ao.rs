use bgp_speaker::AoAlgorithm;
use viaduct_api::v1alpha1::{RangeKind, SecretKeyRef, TCPAOAlgorithm, TCPAOKey};

use super::*;

fn key(send_id: u8) -> TCPAOKey {
    TCPAOKey {
        send_id,
        receive_id: None,
        algorithm: TCPAOAlgorithm::HmacSha1,
        exclude_tcp_options: false,
        key_secret_ref: None,
        key_file: Some("/key".to_owned()),
    }
}

fn with(keys: &[TCPAOKey]) -> BGPPeerSpec {
    BGPPeerSpec { tcp_ao: keys.to_vec(), ..border() }
}

/// Every source that a peer names holds its own name.
fn read_all(peers: &BTreeMap<String, BGPPeerSpec>) -> Result<Config, ConfigErrors> {
    let sources = peers.values().flat_map(password_sources);
    let passwords = sources.map(|one| (one.clone(), Ok(format!("{one:?}\n").into_bytes())));
    let LocalNode { router_id, v4, v6, .. } = local();
    let addresses = LocalAddresses { v4, v6 };
    let configuration = BGPConfigurationSpec::default();
    standalone(&configuration, router_id, addresses, peers, &passwords.collect())
}

fn read(spec: BGPPeerSpec) -> Result<Config, ConfigErrors> {
    read_all(&peers(spec))
}

fn wrong(spec: BGPPeerSpec) -> Vec<(String, String)> {
    let errors = read(spec).unwrap_err().0.into_iter();
    let place = "BGPPeer/border: spec.";
    errors.map(|one| (one.field.strip_prefix(place).unwrap().to_owned(), one.problem)).collect()
}

#[test]
fn keys_are_read_in_their_order_and_from_where_they_stand() {
    let secret = SecretKeyRef { name: "bgp".to_owned(), key: "next".to_owned() };
    let second = TCPAOKey {
        receive_id: Some(9),
        algorithm: TCPAOAlgorithm::Aes128Cmac,
        exclude_tcp_options: true,
        key_secret_ref: Some(secret.clone()),
        key_file: None,
        ..key(0)
    };
    let spec = with(&[key(255), second]);
    let sources: Vec<_> = password_sources(&spec).collect();
    assert_eq!(sources, [PasswordSource::File("/key".to_owned()), PasswordSource::Secret(secret)]);
    let config = read(spec).unwrap();
    let transport = &config.peers[&border().address.unwrap()].transport;
    let shown: Vec<_> = transport
        .ao
        .iter()
        .map(|key| (key.send_id, key.receive_id, key.algorithm, key.excludes_options))
        .collect();
    assert_eq!(
        shown,
        [(255, 255, AoAlgorithm::HmacSha1, false), (0, 9, AoAlgorithm::Aes128Cmac, true)]
    );
    assert_eq!(transport.ao[0].secret.octets(), b"File(\"/key\")", "without the newline");
    assert!(transport.md5.is_none() && !format!("{config:?}").contains("/key"));
}

#[test]
fn algorithms_have_the_names_of_rfc_5926() {
    let text = r#"{"sendId": 1, "algorithm": "aes-128-cmac-96", "keyFile": "/key"}"#;
    let read: TCPAOKey = serde_json::from_str(text).unwrap();
    assert_eq!(read, TCPAOKey { algorithm: TCPAOAlgorithm::Aes128Cmac, ..key(1) });
    let text = text.replace("aes-128-cmac-96", "md5");
    let error = serde_json::from_str::<TCPAOKey>(&text).unwrap_err().to_string();
    assert!(error.contains("expected `hmac-sha-1-96` or `aes-128-cmac-96`"), "{error}");
    assert!(serde_json::from_str::<TCPAOKey>(r#"{"sendId": 256, "keyFile": "/key"}"#).is_err());
}

#[test]
fn what_is_wrong_with_keys_names_the_field_and_the_remedy() {
    let problem = |spec| {
        let [(field, problem)] = &wrong(spec)[..] else { panic!("one problem") };
        format!("{field}: {problem}")
    };
    let beside = BGPPeerSpec { password_file: Some("/password".to_owned()), ..with(&[key(1)]) };
    assert_eq!(problem(beside), {
        "tcpAo: stands beside passwordFile: segments are signed in one way"
    });
    let taken = TCPAOKey { receive_id: Some(7), ..key(1) };
    assert_eq!(problem(with(&[key(1), taken])), "tcpAo[1].sendId: 1 is that of a key before");
    let taken = TCPAOKey { receive_id: Some(1), ..key(2) };
    assert_eq!(problem(with(&[key(1), taken])), "tcpAo[1].receiveId: 1 is that of a key before");
    let none = TCPAOKey { key_file: None, ..key(1) };
    assert_eq!(problem(with(&[none])), "tcpAo[0].keySecretRef: is missing, or keyFile");
    let secret = SecretKeyRef { name: "bgp".to_owned(), key: "key".to_owned() };
    let both = TCPAOKey { key_secret_ref: Some(secret), ..key(1) };
    assert_eq!(problem(with(&[both])), "tcpAo[0].keyFile: stands beside keySecretRef");
    let long = TCPAOKey { key_file: Some("x".repeat(80)), ..key(1) };
    assert_eq!(problem(with(&[long])), {
        "tcpAo[0].keyFile: the key has 88 octets, of which the kernel takes 80"
    });
    let many: Vec<_> = (0..17).map(key).collect();
    assert_eq!(problem(with(&many)), "tcpAo: more than 16 keys");
}

/// The kernel looks for the keys of an address among all that its prefixes have.
#[test]
fn within_a_range_keys_have_ids_of_their_own() {
    let range = |keys: &[TCPAOKey]| BGPPeerSpec {
        address: None,
        address_range: Some("192.0.2.0/24".parse().unwrap()),
        asn: 0,
        range_kind: Some(RangeKind::External),
        ..with(keys)
    };
    let narrower = |keys: &[TCPAOKey]| BGPPeerSpec {
        address_range: Some("192.0.2.128/25".parse().unwrap()),
        ..range(keys)
    };
    let password =
        |spec: BGPPeerSpec| BGPPeerSpec { password_file: Some("/password".to_owned()), ..spec };
    let problems = |inner, outer| -> Vec<String> {
        let peers = BTreeMap::from([("border".to_owned(), inner), ("range".to_owned(), outer)]);
        match read_all(&peers) {
            Ok(_) => Vec::new(),
            Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
        }
    };
    assert_eq!(problems(with(&[key(2)]), range(&[key(1)])), [""; 0]);
    assert_eq!(problems(with(&[key(1)]), range(&[])), [""; 0]);
    let elsewhere = BGPPeerSpec { address: Some("198.51.100.1".parse().unwrap()), ..border() };
    assert_eq!(problems(elsewhere, range(&[key(1)])), [""; 0]);
    assert_eq!(
        problems(with(&[key(2), TCPAOKey { receive_id: Some(1), ..key(3) }]), range(&[key(1)])),
        [
            "BGPPeer/border: spec.tcpAo: is within the range 192.0.2.0/24, which has a key of the id 3 or \
          1, too: they need ids of their own (RFC 5925 §3.1)"
        ]
    );
    assert_eq!(
        problems(narrower(&[]), range(&[key(1)])),
        ["BGPPeer/border: spec.tcpAo: is within the range 192.0.2.0/24, which has keys: it \
          needs some, too, with ids of their own"]
    );
    assert_eq!(
        problems(with(&[key(1)]), password(range(&[]))),
        [
            "BGPPeer/border: spec.tcpAo: is within the range 192.0.2.0/24, which has a password: the \
          kernel takes no keys beside it"
        ]
    );
}

#[test]
fn a_machine_without_tcp_ao_is_said_of_those_who_ask_for_it() {
    let missing = crate::NoTcpAo::of("Linux 6.1.0");
    let peers = BTreeMap::from([("a".to_owned(), border()), ("b".to_owned(), with(&[key(1)]))]);
    let said: Vec<_> =
        without_tcp_ao(&peers, &missing).map(|one| (one.field, one.problem)).collect();
    assert_eq!(said, [("BGPPeer/b: spec.tcpAo".to_owned(), missing.to_string())]);
}

/// Ids and ranges are no matter of a peer to which nobody connects.
#[test]
fn on_a_node_a_peer_without_its_keys_is_held_down_and_its_range_goes_on() {
    let secret = |key: &str| TCPAOKey {
        key_secret_ref: Some(SecretKeyRef { name: "bgp".to_owned(), key: key.to_owned() }),
        key_file: None,
        ..key_of(key)
    };
    let inner = with(&[secret("2026"), secret("2027")]);
    let outer = BGPPeerSpec {
        address: None,
        address_range: Some("192.0.2.0/24".parse().unwrap()),
        asn: 0,
        range_kind: Some(RangeKind::External),
        ..with(&[key(9)])
    };
    let peers = BTreeMap::from([("border".to_owned(), inner), ("range".to_owned(), outer)]);
    let passwords =
        Passwords::from([(PasswordSource::File("/key".to_owned()), Ok(b"secret".to_vec()))]);
    let config =
        cluster(&BGPConfigurationSpec::default(), &peers, &local(), &[], &passwords).unwrap();
    assert_eq!(
        config.peers[&border().address.unwrap()].obstacle.as_deref(),
        Some(
            "tcpAo[0].keySecretRef: cannot be read here; tcpAo[1].keySecretRef: cannot be read here"
        )
    );
    let ranges: Vec<_> = config.ranges.values().map(|range| &range.peer).collect();
    assert!(ranges[0].obstacle.is_none() && ranges[0].transport.ao.len() == 1);
}

fn key_of(name: &str) -> TCPAOKey {
    key(name[2..].parse().unwrap())
}
