//! Whether a peer was told by what it would be told by now, in a few octets.

use std::fmt::{self, Write as _};

use bgp_rib::{Peer, Policy, RibConfig, out::Profile};

use crate::{Config, PeerConfig};

/// FNV-1a over what a value shows of itself. The same value has the same print in every process of one
/// version; in another it may have another, and then the peer is told more than it had to be.
struct Print(u64);

impl fmt::Write for Print {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for octet in text.bytes() {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

fn print(value: fmt::Arguments<'_>) -> u64 {
    let mut print = Print(0xcbf2_9ce4_8422_2325);
    // Nothing is written anywhere that could be full.
    let _written = print.write_fmt(value);
    print.0
}

/// What a session is begun with and the OPENs do not show. Without keys of TCP-AO it is what speakers
/// that did not know them have made of it.
pub(super) fn manner(config: &Config, peer: &PeerConfig) -> u64 {
    let kind = peer.kind(config);
    let plain = print(format_args!("{} {kind:?} {:?} {:?}", config.asn, peer.role, peer.local_as));
    peer.transport.ao.iter().fold(plain, |before, key| {
        // Debug does not show the secret.
        print(format_args!("{before} {key:?} {:?}", key.secret.octets()))
    })
}

/// Prints of one table. Peers share policies and profiles, and few of those are shown more than once.
#[derive(Debug)]
pub(super) struct Prints {
    /// What all paths have come through.
    imports: u64,
    profiles: Vec<(Profile, u64)>,
}

impl Prints {
    pub(super) fn new<'a>(config: &RibConfig, peers: impl Iterator<Item = &'a Peer>) -> Self {
        let mut imports = print(format_args!("{config:?}"));
        let mut known: Vec<(&Policy, u64)> = Vec::new();
        for peer in peers {
            let policy = match known.iter().find(|(policy, _)| *policy == &peer.import) {
                Some((_, policy)) => *policy,
                None => {
                    let policy = print(format_args!("{:?}", peer.import));
                    known.push((&peer.import, policy));
                    policy
                }
            };
            let (client, ingress) = (peer.reflector_client, peer.ingress);
            let address = peer.address;
            imports = print(format_args!("{imports} {address} {policy} {client} {ingress:?}"));
        }
        Self { imports, profiles: Vec::new() }
    }

    pub(super) fn of(&mut self, profile: &Profile) -> u64 {
        let known = self.profiles.iter().find(|(known, _)| known == profile);
        if let Some((_, print)) = known {
            return *print;
        }
        let print = print(format_args!("{} {profile:?}", self.imports));
        self.profiles.push((profile.clone(), print));
        print
    }
}
