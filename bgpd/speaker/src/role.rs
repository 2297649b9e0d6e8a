//! The roles of both sides (RFC 9234 §4.2), and the AS that we are to a peer (RFC 7705).

use bgp_rib::{Ingress, export::Egress};
use bgp_wire::{Capability, Notification, NotificationCode, Open, PeerKind, Role};
use viaduct_net::Asn;

use crate::config::{Config, PeerConfig};

/// What we are to a peer in another AS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoleConfig {
    pub role: Role,
    /// Refuse a peer that says nothing of its own role.
    pub strict: bool,
}

/// Another AS that we are to a peer than our own: to one in a third AS (RFC 7705 §3), or to one in that
/// very AS, which is an internal peer then (RFC 7705 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalAs {
    pub asn: Asn,
    /// Whether paths from an external peer get it in front.
    pub prepend_received: bool,
    /// Whether it stands in place of our own AS in front of what an external peer is told, not before it.
    pub replace_sent: bool,
}

impl PeerConfig {
    /// The AS that we are to the peer.
    pub(crate) fn our_asn(&self, config: &Config) -> Asn {
        let ours = match self.kind(config) {
            PeerKind::Internal | PeerKind::Confederation => config.asn,
            PeerKind::External => config.outer_asn(),
        };
        self.local_as.map_or(ours, |local| local.asn)
    }

    /// How routes come in from the peer, which is of this kind.
    pub(crate) fn ingress(&self, kind: PeerKind) -> Ingress {
        let prepends = |local: &LocalAs| local.prepend_received && kind == PeerKind::External;
        Ingress {
            role: self.role.map(|config| config.role),
            allow_own_as: self.allow_own_as,
            local_as: self.local_as.map(|local| local.asn),
            prepend_local_as: self.local_as.as_ref().is_some_and(prepends),
            accept_blackhole: self.accept_blackhole,
        }
    }

    pub(crate) fn egress(&self, config: &Config) -> Egress {
        Egress {
            role: self.role.map(|config| config.role),
            behind: self.local_as.filter(|local| !local.replace_sent).map(|_| config.outer_asn()),
            overridden: self.as_override.then_some(self.asn),
        }
    }
}

/// Judges the role that the peer's OPEN says.
pub(crate) fn check(ours: Option<RoleConfig>, open: &Open) -> Result<(), Notification> {
    let Some(ours) = ours else { return Ok(()) };
    let mut said = open.capabilities.iter().filter_map(|capability| match capability {
        Capability::Role(role) => Some(*role),
        _ => None,
    });
    let counterpart = ours.role.counterpart() as u8;
    let fits = match said.next() {
        // Several that differ are no role at all.
        Some(first) => first == counterpart && said.all(|other| other == first),
        None => !ours.strict,
    };
    if fits { Ok(()) } else { Err(Notification::new(NotificationCode::RoleMismatch)) }
}

#[cfg(test)]
mod tests {
    use bgp_wire::HoldTime;

    use super::*;

    #[test]
    fn only_the_counterpart_fits_and_silence_where_it_is_not_refused() {
        let open = |roles: &[u8]| Open {
            asn: Asn::new(1),
            hold_time: HoldTime::INFINITE,
            router_id: "192.0.2.1".parse().unwrap(),
            capabilities: roles.iter().map(|role| Capability::Role(*role)).collect(),
        };
        let fits = |role, strict, roles: &[u8]| {
            check(Some(RoleConfig { role, strict }), &open(roles)).is_ok()
        };
        for ours in Role::ALL {
            for theirs in 0..=u8::MAX {
                let counterpart = theirs == ours.counterpart() as u8;
                assert_eq!(fits(ours, true, &[theirs]), counterpart, "{ours} {theirs}");
                assert_eq!(fits(ours, false, &[theirs, theirs]), counterpart);
                assert!(!fits(ours, false, &[theirs, theirs.wrapping_add(1)]));
            }
            assert!(fits(ours, false, &[]) && !fits(ours, true, &[]));
        }
        assert!(check(None, &open(&[7])).is_ok());
    }
}
