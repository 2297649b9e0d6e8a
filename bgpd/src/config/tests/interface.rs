//! Peers of an interface.

use viaduct_api::v1alpha1::BFDProfile;

use super::*;

fn unnumbered(interface: &str) -> BGPPeerSpec {
    let interface = Some(interface.to_owned());
    BGPPeerSpec { address: None, interface, ..border() }
}

fn read(specs: impl IntoIterator<Item = BGPPeerSpec>) -> Result<Config, ConfigErrors> {
    let named = |(at, spec)| (format!("p{at}"), spec);
    let peers = specs.into_iter().enumerate().map(named).collect();
    cluster(&BGPConfigurationSpec::default(), &peers, &local(), &[], &Passwords::new())
}

fn wrong(specs: impl IntoIterator<Item = BGPPeerSpec>) -> Vec<String> {
    let fields = fields(read(specs));
    fields.iter().map(|field| field.replace("BGPPeer/", "").replace(" spec.", "")).collect()
}

#[test]
fn a_peer_may_be_whoever_is_at_an_interface() {
    let mut config = read([unnumbered("eth1"), border(), unnumbered("uplink.100")]).unwrap();
    assert_eq!(config.peers.len(), 1);
    let names: Vec<_> = config.interfaces.keys().cloned().collect();
    assert_eq!(names, ["eth1", "uplink.100"]);
    let peer = config.interfaces.remove("eth1").unwrap();
    assert!(peer.extended_next_hop && peer.link.is_none() && peer.asn.to_u32() == 64999);
}

#[test]
fn it_is_either_an_address_or_an_interface() {
    assert_eq!(wrong([BGPPeerSpec { address: None, ..border() }]), ["p0:address"]);
    assert_eq!(wrong([BGPPeerSpec { address: border().address, ..unnumbered("eth1") }]), {
        ["p0:interface"]
    });
    let link_local = Some("fe80::1".parse().unwrap());
    assert_eq!(wrong([BGPPeerSpec { address: link_local, ..border() }]), ["p0:address"]);
    assert_eq!(wrong([unnumbered("eth1"), unnumbered("eth1")]), ["p1:interface"]);
    for name in ["", "a/b", "a b", "..", "eth1:0", "sixteen-octets-x"] {
        assert_eq!(wrong([unnumbered(name)]), ["p0:interface"], "{name}");
    }
}

#[test]
fn it_is_on_link() {
    let bfd = |multihop| Some(BFDProfile { multihop, ..BFDProfile::default() });
    let far = BGPPeerSpec { ebgp_multihop: Some(2), bfd: bfd(true), ..unnumbered("eth1") };
    assert_eq!(wrong([far]), ["p0:ebgpMultihop", "p0:bfd.multihop"]);
    let mut near = read([BGPPeerSpec { bfd: bfd(false), ..unnumbered("eth1") }]).unwrap();
    let peer = near.interfaces.remove("eth1").unwrap();
    assert_eq!(peer.bfd.map(|bfd| bfd.path), Some(bgp_bfd::Path::SingleHop));
    assert!(read([BGPPeerSpec { ttl_security: Some(1), ..unnumbered("eth1") }]).is_ok());
}
