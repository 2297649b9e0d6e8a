//! The passwords that a listener knows.

use std::{collections::BTreeMap, net::SocketAddr};

use bgp_speaker::{Config, Password};
use socket2::SockRef;
use tracing::{debug, error};
use viaduct_net::Prefix;

use super::{sys, transports};

/// What the kernel was told of one listener, so that only differences are told it again. At most one
/// for each peer and range.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    md5: BTreeMap<Prefix, Password>,
}

impl Keys {
    /// Makes the listener know the passwords of the peers that come to it, and no others. A password
    /// that the kernel does not take is tried again with the next configuration; until then its peer
    /// cannot connect.
    pub(crate) fn update(&mut self, socket: &SockRef<'_>, listener: SocketAddr, config: &Config) {
        let mut wanted = BTreeMap::new();
        for (peer, transport) in transports(config, listener) {
            if let Some(password) = &transport.md5 {
                wanted.insert(peer, password);
            }
        }
        self.md5.retain(|peer, _| {
            let stays = wanted.contains_key(peer);
            if !stays && let Err(error) = sys::set_md5(socket, *peer, None) {
                // Not there any more is as good.
                debug!(%peer, %listener, %error, "password not forgotten");
            }
            stays
        });
        for (peer, password) in wanted {
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
    }
}
