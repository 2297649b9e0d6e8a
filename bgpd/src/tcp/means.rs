//! What the kernel of this machine can do for sessions, and which of them have to do without it.

use std::sync::Arc;

use bgp_speaker::{Config, PeerConfig};

use super::ao::probe_tcp_ao;

/// Asked once: a kernel stays what it is.
#[derive(Clone, Debug)]
pub(crate) struct Means {
    /// Said of peers that ask for it.
    no_ao: Option<Arc<str>>,
}

impl Means {
    pub(crate) fn probe() -> Self {
        Self { no_ao: probe_tcp_ao().err().map(|missing| format!("tcpAo: {missing}").into()) }
    }

    /// The configuration, with those peers and ranges held down that are not to be spoken to without
    /// what the kernel lacks.
    pub(crate) fn hold_down(&self, config: &Arc<Config>) -> Arc<Config> {
        let Some(no_ao) = &self.no_ao else { return config.clone() };
        let asks = |peer: &PeerConfig| !peer.transport.ao.is_empty();
        let ranges = || config.ranges.values().map(|range| &range.peer);
        if !config.peers.values().chain(config.interfaces.values()).chain(ranges()).any(asks) {
            return config.clone();
        }
        let mut held = Config::clone(config);
        let ranges = held.ranges.values_mut().map(|range| &mut range.peer);
        let peers = held.peers.values_mut().chain(held.interfaces.values_mut());
        for peer in peers.chain(ranges).filter(|peer| asks(peer)) {
            peer.obstacle = Some(no_ao.clone());
        }
        Arc::new(held)
    }
}

#[cfg(test)]
mod tests {
    use bgp_speaker::{AoAlgorithm, AoKey, Password};
    use bgp_wire::HoldTime;
    use viaduct_net::Asn;

    use super::*;
    use crate::config::standalone;

    #[test]
    fn who_cannot_be_protected_is_held_down_and_nobody_else() {
        let asn = Asn::new(64512);
        let plain = PeerConfig::new(asn, asn, HoldTime::from_secs(9).unwrap());
        let mut signed = plain.clone();
        signed.transport.ao = vec![AoKey {
            send_id: 1,
            receive_id: 1,
            algorithm: AoAlgorithm::HmacSha1,
            excludes_options: false,
            secret: Password::try_from(&b"x"[..]).unwrap(),
        }];
        let addresses = bgp_speaker::LocalAddresses { v4: Some([192, 0, 2, 1].into()), v6: None };
        let router_id = "192.0.2.1".parse().unwrap();
        let (peers, passwords) = Default::default();
        let mut config =
            standalone(&Default::default(), router_id, addresses, &peers, &passwords).unwrap();
        config.peers.insert([192, 0, 2, 2].into(), plain);
        let lacking = Means { no_ao: Some("none".into()) };
        let without = Arc::new(config.clone());
        assert!(Arc::ptr_eq(&lacking.hold_down(&without), &without), "nobody asks");
        config.peers.insert([192, 0, 2, 3].into(), signed.clone());
        config.interfaces.insert("eth1".to_owned(), signed);
        let config = Arc::new(config);
        let held = lacking.hold_down(&config);
        let obstacle = |peer: &PeerConfig| peer.obstacle.as_deref().map(str::to_owned);
        let all: Vec<_> =
            held.peers.values().chain(held.interfaces.values()).map(obstacle).collect();
        assert_eq!(all, [None, Some("none".to_owned()), Some("none".to_owned())]);
        let able = Means { no_ao: None };
        assert!(Arc::ptr_eq(&able.hold_down(&config), &config));
    }
}
