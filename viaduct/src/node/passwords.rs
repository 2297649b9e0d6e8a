//! The passwords of BGP sessions, from where the resources say they stand.

use std::{collections::BTreeMap, fs::File, io::Read};

use bgpd::config::{PasswordSource, Passwords, password_sources};
use viaduct_api::v1alpha1::BGPPeerSpec;

use super::{
    bgp,
    cache::View,
    secrets::{MAX_VALUE_LEN, Secrets},
};

/// For a speaker that has files and no Secrets.
pub(crate) fn of_files(peers: &BTreeMap<String, BGPPeerSpec>) -> Passwords {
    let sources = peers.values().flat_map(password_sources);
    sources
        .map(|source| {
            let octets = match &source {
                PasswordSource::File(path) => read(path),
                PasswordSource::Secret(_) => {
                    Err("a speaker that is no node reads no Secrets: passwordFile".to_owned())
                }
            };
            (source, octets)
        })
        .collect()
}

/// For a node, whose name is `node`: those of its own peers.
pub(crate) fn of(view: &View, node: &str, secrets: &Secrets) -> Passwords {
    let sources = bgp::own_peers(view, node).flat_map(|peer| password_sources(&peer.spec));
    sources
        .map(|source| {
            let octets = match &source {
                PasswordSource::File(path) => read(path),
                PasswordSource::Secret(reference) => secrets.value(reference),
            };
            (source, octets)
        })
        .collect()
}

fn read(path: &str) -> Result<Vec<u8>, String> {
    let mut octets = Vec::new();
    match File::open(path).and_then(|file| file.take(MAX_VALUE_LEN as u64).read_to_end(&mut octets))
    {
        Ok(_) => Ok(octets),
        Err(error) => Err(format!("{path}: {error}")),
    }
}
