//! The keys of TCP-AO (RFC 5925).

use std::collections::BTreeMap;

use bgp_speaker::{AoAlgorithm, AoKey, PeerConfig, Transport};
use viaduct_api::v1alpha1::{BGPPeerSpec, TCPAOAlgorithm, TCPAOKey};
use viaduct_net::Prefix;

use super::{ConfigError, passwords::Place, reader::Reader};
use crate::NoTcpAo;

/// What a machine without TCP-AO means for peers that ask for it.
pub fn without_tcp_ao(
    peers: &BTreeMap<String, BGPPeerSpec>,
    missing: &NoTcpAo,
) -> impl Iterator<Item = ConfigError> {
    let asking = peers.iter().filter(|(_, spec)| !spec.tcp_ao.is_empty());
    asking.map(move |(name, _)| ConfigError {
        field: format!("BGPPeer/{name}: spec.tcpAo"),
        problem: missing.to_string(),
    })
}

impl Reader<'_> {
    pub(super) fn tcp_ao(&mut self, place: &str, spec: &BGPPeerSpec) -> Vec<AoKey> {
        if spec.tcp_ao.len() > BGPPeerSpec::MAX_TCP_AO_KEYS {
            let problem = format!("more than {} keys", BGPPeerSpec::MAX_TCP_AO_KEYS);
            self.wrong(format!("{place}.tcpAo"), problem);
            return Vec::new();
        }
        let mut keys: Vec<AoKey> = Vec::new();
        for (index, key) in spec.tcp_ao.iter().enumerate() {
            let place = format!("{place}.tcpAo[{index}]");
            let receive_id = key.receive_id.unwrap_or(key.send_id);
            // RFC 5925 §3.1: the ids of keys for one connection must not overlap.
            let before = &spec.tcp_ao[..index];
            let taken = [
                ("sendId", key.send_id, before.iter().any(|one| one.send_id == key.send_id)),
                ("receiveId", receive_id, before.iter().any(|one| received(one) == receive_id)),
            ];
            for (field, id, taken) in taken {
                if taken {
                    self.wrong(format!("{place}.{field}"), format!("{id} is that of a key before"));
                }
            }
            let secret = self.shared_secret(&Place {
                place: &place,
                what: "key",
                secret: ("keySecretRef", key.key_secret_ref.as_ref()),
                file: ("keyFile", key.key_file.as_ref()),
            });
            keys.extend(secret.map(|secret| AoKey {
                send_id: key.send_id,
                receive_id,
                algorithm: match key.algorithm {
                    TCPAOAlgorithm::HmacSha1 => AoAlgorithm::HmacSha1,
                    TCPAOAlgorithm::Aes128Cmac => AoAlgorithm::Aes128Cmac,
                },
                excludes_options: key.exclude_tcp_options,
                secret,
            }));
        }
        keys
    }

    /// The kernel looks for the keys of an address among those of all prefixes that it is in, and takes
    /// nothing unsigned from it where there are any.
    pub(super) fn check_keys_of_ranges(&mut self) {
        let mut problems = Vec::new();
        // Of those held down the listener knows no keys.
        let known = |peer: &PeerConfig| peer.obstacle.is_none();
        for (range, outer) in self.config.ranges.iter().filter(|(_, one)| known(&one.peer)) {
            let outer = &outer.peer.transport;
            let named = self.config.peers.iter().filter(|(_, peer)| known(peer));
            let named = named.map(|(address, peer)| {
                (Prefix::host(*address), &peer.transport, self.place_of(*address))
            });
            let ranges = self.config.ranges.iter().filter(|(_, one)| known(&one.peer));
            let ranges = ranges.map(|(prefix, other)| {
                let place = self.range_names.get(prefix).cloned().unwrap_or_default();
                (*prefix, &other.peer.transport, place)
            });
            for (prefix, inner, place) in named.chain(ranges) {
                let within = prefix.len() > range.len() && range.contains(prefix.address());
                if within && let Some(problem) = overlap(inner, outer) {
                    let problem = format!("is within the range {range}, {problem}");
                    problems.push((format!("{place}.tcpAo"), problem));
                }
            }
        }
        for (field, problem) in problems {
            self.wrong(field, problem);
        }
    }
}

fn received(key: &TCPAOKey) -> u8 {
    key.receive_id.unwrap_or(key.send_id)
}

/// What is wrong with how a peer is known, or a range, that is within another.
fn overlap(inner: &Transport, outer: &Transport) -> Option<String> {
    let same = |one: &AoKey| {
        let other = outer.ao.iter();
        let mut other =
            other.filter(|key| key.send_id == one.send_id || key.receive_id == one.receive_id);
        other.next().is_some()
    };
    match (inner.ao.iter().find(|key| same(key)), inner.ao.is_empty(), outer.ao.is_empty()) {
        (Some(key), ..) => Some(format!(
            "which has a key of the id {} or {}, too: they need ids of their own (RFC 5925 §3.1)",
            key.send_id, key.receive_id
        )),
        (None, true, false) => {
            Some("which has keys: it needs some, too, with ids of their own".to_owned())
        }
        (None, false, true) if outer.md5.is_some() => {
            Some("which has a password: the kernel takes no keys beside it".to_owned())
        }
        _ => None,
    }
}
