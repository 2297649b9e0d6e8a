//! What is agreed with a peer beside routes.

use std::num::NonZeroU8;

use bgp_speaker::{Transport, Ttl};
use viaduct_api::v1alpha1::SecretKeyRef;

use super::*;

fn read(spec: BGPPeerSpec, passwords: &Passwords) -> Result<Config, ConfigErrors> {
    cluster(&BGPConfigurationSpec::default(), &peers(spec), &local(), &[], passwords)
}

fn transport(spec: BGPPeerSpec) -> Transport {
    let address = spec.address;
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
        let md5 = config.peers[&spec.address].transport.md5.clone().unwrap();
        assert_eq!(md5.octets(), b"hunter2", "without the newline of a file");
        assert!(!format!("{config:?}").contains("hunter2"));
        for bad in [Ok(Vec::new()), Ok(vec![b'x'; 81]), Err("no such thing".to_owned())] {
            let known = Passwords::from([(source(&spec), bad)]);
            assert_eq!(fields(read(spec.clone(), &known)).len(), 1);
        }
    }
    assert_eq!(wrong(of_secret.clone()), ["passwordSecretRef"]);
    assert_eq!(wrong(of_file.clone()), ["passwordFile"]);
    let both = BGPPeerSpec { password_file: of_file.password_file, ..of_secret };
    assert_eq!(wrong(both), ["passwordFile"]);
}
