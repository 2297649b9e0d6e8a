//! OPEN: what we say of ourselves, and what the peer's answer means for the session.

use bgp_wire::{
    AddPathFamily, AfiSafi, Capability, Families, GracefulRestart, GracefulRestartFamily, HoldTime,
    LongLivedFamily, Notification, NotificationCode, Open, PeerKind, SessionParameters,
};
use bytes::{BufMut, BytesMut};
use viaduct_net::{Asn, Family, RouterId};

use crate::config::{Config, PeerConfig};

/// What the two OPENs have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    /// The two: ours, and the peer's.
    pub(crate) sent: Open,
    pub(crate) received: Open,
    pub(crate) parameters: SessionParameters,
    pub(crate) hold_time: HoldTime,
    pub(crate) router_id: RouterId,
    /// What the peer says of its own restarts; `None` where either side knows nothing of them.
    pub(crate) graceful_restart: Option<GracefulRestart>,
    /// For how long each family's routes are kept beyond its restart time (RFC 9494 §4.1); empty where
    /// either side knows nothing of it.
    pub(crate) long_lived: Vec<LongLivedFamily>,
    /// Routes are also kept over a NOTIFICATION (RFC 8538 §4: both sides have said so).
    pub(crate) notification: bool,
    pub(crate) peer_has_route_refresh: bool,
    /// Refreshes have a beginning and an end (RFC 7313 §3.1: both sides have said so).
    pub(crate) enhanced_route_refresh: bool,
}

impl Agreed {
    /// The families whose routes are kept when the session is lost (RFC 4724 §4.2).
    pub(crate) fn kept_families(&self) -> Families {
        let restart = self.graceful_restart.as_ref();
        let kept = |family: &Family| restart.is_some_and(|one| one.family(*family).is_some());
        self.parameters.families.iter().filter(kept).collect()
    }

    /// The families whose forwarding state the peer says it has kept.
    pub(crate) fn forwarding_families(&self) -> Families {
        let restart = self.graceful_restart.as_ref();
        let kept = |family: &Family| {
            restart.and_then(|one| one.family(*family)).is_some_and(|entry| entry.forwarding)
        };
        self.parameters.families.iter().filter(kept).collect()
    }
}

/// What of our own past goes into an OPEN (RFC 4724 §4.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    /// R: we have restarted and our first picture is not complete.
    pub(crate) restarting: bool,
    /// F: what the peer has learned of us still leads somewhere.
    pub(crate) forwarding: bool,
}

pub(crate) fn ours(config: &Config, peer: &PeerConfig, past: Past) -> Open {
    let asn = peer.our_asn(config);
    let mut capabilities: Vec<_> =
        peer.families.iter().map(|family| Capability::Multiprotocol(family.into())).collect();
    capabilities.push(Capability::RouteRefresh);
    capabilities.push(Capability::EnhancedRouteRefresh);
    capabilities.push(Capability::ExtendedMessage);
    capabilities.push(Capability::FourOctetAs(asn));
    capabilities.extend(peer.role.map(|config| Capability::Role(config.role as u8)));
    if peer.extended_next_hop && peer.families.v4 {
        let entry = (AfiSafi::IPV4_UNICAST, AfiSafi::IPV6_UNICAST.afi);
        capabilities.push(Capability::ExtendedNextHop(vec![entry]));
    }
    if peer.add_path_receive || peer.sends_several() {
        let families = peer.families.iter().map(|family| AddPathFamily {
            family: family.into(),
            receive: peer.add_path_receive,
            send: peer.sends_several(),
        });
        capabilities.push(Capability::AddPath(families.collect()));
    }
    // Without families it says that we keep the routes of others and ask nobody to keep ours
    // (RFC 4724 §3).
    let restart_secs = config.restart_time.secs();
    let families = if restart_secs == 0 { Families::NONE } else { peer.families };
    capabilities.push(Capability::GracefulRestart(GracefulRestart {
        restart_state: past.restarting,
        notification: true,
        restart_time_secs: restart_secs,
        families: families
            .iter()
            .map(|family| GracefulRestartFamily {
                family: family.into(),
                forwarding: past.forwarding,
            })
            .collect(),
    }));
    if peer.long_lived_secs > 0 {
        let families = peer.families.iter().map(|family| LongLivedFamily {
            family: family.into(),
            forwarding: past.forwarding,
            stale_time_secs: peer.long_lived_secs,
        });
        capabilities.push(Capability::LongLived(families.collect()));
    }
    Open { asn, hold_time: peer.hold_time, router_id: config.router_id, capabilities }
}

/// Judges the peer's OPEN (RFC 4271 §6.2). The error is the NOTIFICATION to send.
pub(crate) fn agree(
    sent: &Open,
    received: &Open,
    expected: Asn,
    config: &Config,
) -> Result<Agreed, Notification> {
    if received.asn != expected {
        return Err(Notification::new(NotificationCode::BadPeerAs));
    }
    let negotiated = SessionParameters::negotiate(sent, received);
    let peer_kind = config.kind_between(sent.asn, received.asn);
    let parameters = SessionParameters { peer_kind, ..negotiated };
    // Unique within an AS, and only there (RFC 6286 §2.2).
    if parameters.peer_kind == PeerKind::Internal && received.router_id == sent.router_id {
        return Err(Notification::new(NotificationCode::BadBgpIdentifier));
    }
    if parameters.families.is_empty() {
        return Err(missing_families(sent.families()));
    }
    let graceful_restart = received.graceful_restart().cloned();
    Ok(Agreed {
        sent: sent.clone(),
        received: received.clone(),
        parameters,
        hold_time: sent.hold_time.negotiate(received.hold_time),
        router_id: received.router_id,
        notification: graceful_restart.as_ref().is_some_and(|restart| restart.notification),
        long_lived: match (sent.long_lived(), received.long_lived()) {
            (Some(_), Some(theirs)) => theirs.to_vec(),
            _ => Vec::new(),
        },
        graceful_restart,
        peer_has_route_refresh: received.has_route_refresh(),
        enhanced_route_refresh: sent.has_enhanced_route_refresh()
            && received.has_enhanced_route_refresh(),
    })
}

/// RFC 5492 §5: the capabilities we cannot do without are the data.
fn missing_families(families: Families) -> Notification {
    let mut data = BytesMut::new();
    for family in families.iter() {
        let AfiSafi { afi, safi } = family.into();
        data.put_slice(&[1, 4]);
        data.put_u16(afi);
        data.put_u8(0);
        data.put_u8(safi);
    }
    Notification { code: NotificationCode::UnsupportedCapability, data: data.freeze() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{LocalAddresses, RestartTime};
    use bgp_rib::DecisionRules;

    fn config(asn: u32, id: &str) -> Config {
        Config {
            asn: Asn::new(asn),
            router_id: id.parse().unwrap(),
            cluster_id: id.parse().unwrap(),
            addresses: LocalAddresses::default(),
            listen_port: 179,
            restart_time: RestartTime::try_from(30).unwrap(),
            deferral: std::time::Duration::from_secs(30),
            restarting: false,
            incomplete: false,
            coalesce: std::time::Duration::ZERO,
            confederation: None,
            decision: DecisionRules::DEFAULT,
            interfaces: Default::default(),
            peers: Default::default(),
            ranges: Default::default(),
        }
    }

    fn open(config: &Config, peer_asn: u32, families: Families, hold_secs: u16) -> Open {
        let hold_time = HoldTime::from_secs(hold_secs).unwrap();
        let mut peer = PeerConfig::new(config.asn, Asn::new(peer_asn), hold_time);
        peer.families = families;
        ours(config, &peer, Past { restarting: false, forwarding: true })
    }

    #[test]
    fn the_smaller_hold_time_and_the_common_families() {
        let v6 = [Family::V6].into_iter().collect();
        let ours = config(70000, "1.1.1.1");
        let a = open(&ours, 65001, Families::BOTH, 90);
        let b = open(&config(65001, "1.1.1.1"), 70000, v6, 9);
        let agreed = agree(&a, &b, Asn::new(65001), &ours).unwrap();
        assert_eq!(agreed.parameters.families, v6);
        assert_eq!(agreed.hold_time.to_secs(), 9);
        assert_eq!(agreed.kept_families(), v6);
        assert!(agreed.parameters.four_octet_as && agreed.notification);
    }

    #[test]
    fn refuses_the_wrong_peer() {
        let ours = config(65001, "1.1.1.1");
        let a = open(&ours, 65001, Families::BOTH, 90);
        let code = |received: &Open, expected| {
            agree(&a, received, Asn::new(expected), &ours).unwrap_err().code
        };
        let other = open(&config(65002, "1.1.1.2"), 65001, Families::BOTH, 90);
        assert_eq!(code(&other, 65003), NotificationCode::BadPeerAs);
        let twin = open(&config(65001, "1.1.1.1"), 65001, Families::BOTH, 90);
        assert_eq!(code(&twin, 65001), NotificationCode::BadBgpIdentifier);
        let deaf = open(&config(65002, "1.1.1.2"), 65001, Families::BOTH, 90);
        let mut deaf = Open { capabilities: Vec::new(), ..deaf };
        deaf.capabilities.push(Capability::Multiprotocol(AfiSafi { afi: 25, safi: 65 }));
        assert_eq!(code(&deaf, 65002), NotificationCode::UnsupportedCapability);
    }

    #[test]
    fn no_restart_time_asks_nobody_to_wait() {
        let mut config = config(65001, "1.1.1.1");
        config.restart_time = RestartTime::default();
        let open = open(&config, 65001, Families::BOTH, 90);
        assert!(open.graceful_restart().unwrap().families.is_empty());
    }
}
