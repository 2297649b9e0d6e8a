//! The passwords and keys that a listener knows.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use bgp_speaker::{AoKey, Config, Password};
use socket2::SockRef;
use tracing::{debug, error};
use viaduct_net::Prefix;

use super::{ao, sys, transports};

/// What the kernel was told of one listener, so that only differences are told it again. At most one
/// password for each peer and range, or as many keys as it has.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    md5: BTreeMap<Prefix, Password>,
    ao: BTreeSet<(Prefix, AoKey)>,
}

impl Keys {
    /// Of a listener that may be another process's: what is known of it is known by [`Self::update`].
    pub(crate) fn of(socket: &SockRef<'_>) -> Self {
        if let Err(error) = ao::forget_all(socket) {
            error!(%error, "keys of TCP-AO stay that another process has left");
        }
        Self::default()
    }

    /// Makes the listener know the passwords and keys of the peers that come to it, and no others. One
    /// that the kernel does not take is tried again with the next configuration; until then its peer
    /// cannot connect: what it opens with TCP-AO the kernel refuses, and what it opens without it we.
    pub(crate) fn update(&mut self, socket: &SockRef<'_>, listener: SocketAddr, config: &Config) {
        let (mut passwords, mut keys) = (BTreeMap::new(), BTreeSet::new());
        for (peer, transport) in transports(config, listener) {
            if let Some(password) = &transport.md5 {
                passwords.insert(peer, password);
            }
            keys.extend(transport.ao.iter().map(|key| (peer, key.clone())));
        }
        // What goes makes room first: no two keys of one id, and no key beside a password, are taken.
        self.ao.retain(|one| {
            let (peer, key) = one;
            let stays = keys.contains(one);
            if !stays && let Err(error) = ao::forget(socket, *peer, key) {
                debug!(%peer, id = key.send_id, %error, "key not forgotten");
            }
            stays
        });
        self.md5.retain(|peer, _| {
            let stays = passwords.contains_key(peer);
            if !stays && let Err(error) = sys::set_md5(socket, *peer, None) {
                // Not there any more is as good.
                debug!(%peer, %listener, %error, "password not forgotten");
            }
            stays
        });
        for (peer, password) in passwords {
            if self.md5.get(&peer) == Some(password) {
                continue;
            }
            match sys::set_md5(socket, peer, Some(password)) {
                Ok(()) => {
                    self.md5.insert(peer, password.clone());
                }
                Err(error) => {
                    error!(%peer, %listener, %error, "the kernel takes no TCP MD5 password");
                }
            }
        }
        for one in keys {
            if self.ao.contains(&one) {
                continue;
            }
            let (peer, key) = &one;
            match ao::admit(socket, *peer, key) {
                Ok(()) => {
                    self.ao.insert(one);
                }
                Err(error) => error!(%peer, %error, "the listener"),
            }
        }
    }
}
