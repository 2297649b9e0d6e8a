//! How peers are watched.

use bgp_bfd::{Path, Profile};
use bgp_speaker::BfdConfig;
use viaduct_api::v1alpha1::BFDProfile;

use super::*;

fn read(spec: BGPPeerSpec) -> Result<Config, ConfigErrors> {
    cluster(&BGPConfigurationSpec::default(), &peers(spec), &local(), &[], &Passwords::new())
}

#[test]
fn a_peer_has_the_profile_it_is_given() {
    let address = border().address.unwrap();
    assert_eq!(read(border()).unwrap().peers[&address].bfd, None);
    let bfd = BFDProfile {
        min_transmit_milliseconds: 50,
        multiplier: 5,
        multihop: true,
        ..BFDProfile::default()
    };
    let config = read(BGPPeerSpec { bfd: Some(bfd), ..border() }).unwrap();
    let profile = Profile::new(50, 300, 5).unwrap();
    assert_eq!(config.peers[&address].bfd, Some(BfdConfig { path: Path::Multihop, profile }));
}

#[test]
fn what_cannot_be_kept_is_refused_by_its_field() {
    let wrong = |bfd| fields(read(BGPPeerSpec { bfd: Some(bfd), ..border() }));
    let good = BFDProfile::default;
    for (bfd, field) in [
        (BFDProfile { min_transmit_milliseconds: 49, ..good() }, "minTransmitMilliseconds"),
        (BFDProfile { min_receive_milliseconds: 60_001, ..good() }, "minReceiveMilliseconds"),
        (BFDProfile { multiplier: 0, ..good() }, "multiplier"),
        (BFDProfile { multiplier: 256, ..good() }, "multiplier"),
    ] {
        assert_eq!(wrong(bfd), [format!("BGPPeer/border: spec.bfd.{field}")]);
    }
}

#[test]
fn the_mesh_has_one_profile_for_all() {
    let spec = BGPConfigurationSpec { bfd: Some(BFDProfile::default()), ..Default::default() };
    let read = |spec: &BGPConfigurationSpec| {
        cluster(spec, &peers(border()), &local(), &[node("b", 3)], &Passwords::new())
    };
    let config = read(&spec).unwrap();
    let bfd = BfdConfig { path: Path::SingleHop, profile: Profile::default() };
    let watched: Vec<_> = config.peers.values().filter_map(|peer| peer.bfd).collect();
    assert_eq!(watched, [bfd], "the mesh's peer alone");
    let wrong = BFDProfile { multiplier: 0, ..BFDProfile::default() };
    let spec = BGPConfigurationSpec { bfd: Some(wrong), ..spec };
    assert_eq!(fields(read(&spec)), ["BGPConfiguration: spec.bfd.multiplier"]);
}
