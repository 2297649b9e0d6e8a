//! What routes from a neighbour in another AS are made before they stand in the table, and which of
//! them come where they must not.

use bgp_wire::{AttributeSet, Edit, PeerKind, Role};
use viaduct_net::Asn;

use crate::{Peer, Reason, RibConfig};

/// How a peer's routes come in. The default leaves them as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingress {
    /// Our own part towards the peer (RFC 9234).
    pub role: Option<Role>,
    /// How often our AS may stand in a path that is no loop.
    pub allow_own_as: u8,
    /// The AS that we are to the peer, where it is not our own (RFC 7705 §3).
    pub local_as: Option<Asn>,
    /// Whether it is put in front of the paths that the peer tells.
    pub prepend_local_as: bool,
    /// What the peer tells with BLACKHOLE is discarded, and leaves the AS with nobody (RFC 7999 §3). Of
    /// internal peers, too.
    pub accept_blackhole: bool,
}

impl Ingress {
    /// What stands in the table of what has come (RFC 7705 §3.1, RFC 9234 §5, ingress 3).
    pub(crate) fn apply(&self, peer: &Peer, came: &AttributeSet) -> AttributeSet {
        if peer.kind != PeerKind::External {
            return came.clone();
        }
        let marks = self.role.is_some_and(Role::marks_received);
        let edit = Edit {
            prepend: self.local_as.filter(|_| self.prepend_local_as),
            only_to_customer: marks.then_some(peer.asn),
            ..Edit::default()
        };
        edit.apply(came)
    }

    /// Whether packets on such a path are to be discarded (RFC 7999 §3.3: only where both sides have
    /// agreed to it).
    pub(crate) fn discards(&self, stands: &AttributeSet) -> bool {
        self.accept_blackhole && stands.facts().is_blackhole()
    }

    /// Whether our AS stands in the path more often than it may.
    pub(crate) fn is_loop(&self, config: &RibConfig, stands: &AttributeSet) -> bool {
        let allowed = usize::from(self.allow_own_as);
        let prepended = usize::from(self.prepend_local_as);
        stands.path_count(config.asn) > allowed
            || config.confederation.is_some_and(|asn| stands.path_count(asn) > allowed)
            || self.local_as.is_some_and(|asn| stands.path_count(asn) > allowed + prepended)
    }

    /// Whether the path has begun with the peer's AS when it came.
    pub(crate) fn began_with(&self, peer: Asn, stands: &AttributeSet) -> bool {
        match self.local_as.filter(|_| self.prepend_local_as) {
            Some(local) => stands.path_starts_with(&[local, peer]),
            None => stands.facts().neighbor_as() == Some(peer),
        }
    }

    /// RFC 9234 §5, ingress 1 and 2: what is for customers only comes from one, or has come to this
    /// peer from elsewhere.
    pub(crate) fn leak(&self, peer: Asn, stands: &AttributeSet) -> Option<Reason> {
        let only_to_customer = stands.only_to_customer()?;
        let leaked = match self.role? {
            Role::Provider | Role::RouteServer => true,
            Role::Peer => only_to_customer != peer,
            Role::Customer | Role::RouteServerClient => false,
        };
        leaked.then_some(Reason::RouteLeak)
    }
}
