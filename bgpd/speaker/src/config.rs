//! What a speaker is told of itself and its peers. Everything here has been parsed: a value of
//! these types can be acted upon.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use bgp_rib::{DecisionRules, Policy};
use bgp_wire::{Families, HoldTime, PeerKind};
use viaduct_net::{Asn, Family, LinkLocal, Prefix, RouterId};

use crate::{
    BfdConfig,
    dynamic::RangeConfig,
    limits::PrefixLimits,
    role::{LocalAs, RoleConfig},
    times::PeerTimes,
    transport::Transport,
};

/// Peers one speaker will hold. Far above a full mesh that is wise, and a bound for every table
/// that grows with peers.
pub const MAX_PEERS: usize = 4096;

/// The port of BGP (RFC 4271 §8.2.1).
pub const BGP_PORT: u16 = 179;

/// Seconds for which peers keep our routes while we are away: twelve bits (RFC 4724 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RestartTime(u16);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a restart time of {0} s is not possible: the field has room for 4095")]
pub struct RestartTimeError(u16);

impl RestartTime {
    pub const MAX_SECS: u16 = 4095;

    pub const fn secs(self) -> u16 {
        self.0
    }

    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

impl TryFrom<u16> for RestartTime {
    type Error = RestartTimeError;

    fn try_from(secs: u16) -> Result<Self, Self::Error> {
        if secs > Self::MAX_SECS { Err(RestartTimeError(secs)) } else { Ok(Self(secs)) }
    }
}

/// The addresses by which others reach this speaker: the next hop of what it originates and of what
/// it passes on to another AS. A family without one is not announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalAddresses {
    pub v4: Option<Ipv4Addr>,
    pub v6: Option<Ipv6Addr>,
}

impl LocalAddresses {
    pub fn of(self, family: Family) -> Option<IpAddr> {
        match family {
            Family::V4 => self.v4.map(IpAddr::V4),
            Family::V6 => self.v6.map(IpAddr::V6),
        }
    }

    pub fn contains(self, address: IpAddr) -> bool {
        self.of(Family::of(address)) == Some(address)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub asn: Asn,
    pub router_id: RouterId,
    /// Our cluster as a reflector: one of its own for each reflector, or one for several that shall
    /// take nothing from each other (RFC 4456 §7). The router id where nothing else is configured.
    pub cluster_id: Ipv4Addr,
    pub addresses: LocalAddresses,
    /// Where the shell listens; nothing of it is known to the speaker.
    pub listen_port: u16,
    /// Zero: graceful restart is offered to nobody, and peers drop our routes with the session.
    pub restart_time: RestartTime,
    /// The confederation that [`Self::asn`] is a member of (RFC 5065).
    pub confederation: Option<Confederation>,
    pub decision: DecisionRules,
    /// What peers change so soon after the last decision waits for more of its kind, and is decided and
    /// told with it. Zero: everything is decided at once.
    pub coalesce: Duration,
    /// How long the first picture may take: at most so long after the start the FIB is told that
    /// it is in sync, and a restarting speaker holds back its announcements (the
    /// Selection_Deferral_Timer of RFC 4724 §4.1).
    pub deferral: Duration,
    /// The forwarding state of an earlier run is still in the kernel. Read at the start only.
    pub restarting: bool,
    /// Not all that is to be announced is known yet, such as virtual IPs of services that are still
    /// being read: the start is not complete before it is, or the deferral time has passed. A
    /// restarting speaker would otherwise withdraw by its End-of-RIB what it is about to announce.
    pub incomplete: bool,
    /// By address, which is the peer's identity: at most [`MAX_PEERS`]. A link-local one has its
    /// interface in it, as in [`LinkLocal::embedded`](viaduct_net::LinkLocal::embedded).
    pub peers: BTreeMap<IpAddr, PeerConfig>,
    /// Peers of which only the interface is known, by its name. The shell finds them and adds them to
    /// the others; nothing of it is known to the speaker.
    pub interfaces: BTreeMap<String, PeerConfig>,
    /// Whoever connects from within one and is no such peer becomes one: at most [`crate::MAX_RANGES`].
    pub ranges: BTreeMap<Prefix, RangeConfig>,
}

/// The link that a peer with a link-local address is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerLink {
    /// The interface's name.
    pub name: Arc<str>,
    /// Our own address there: where connections to the peer come from.
    pub link_local: LinkLocal,
    /// Another of our own there that is told beside it (RFC 2545 §3), where there is one.
    pub global: Option<Ipv6Addr>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    pub asn: Asn,
    /// Of a peer with a link-local address, and of no other.
    pub link: Option<PeerLink>,
    pub port: u16,
    /// What TCP is asked for on both sides' connections.
    pub transport: Transport,
    /// Wait for the peer to connect and never connect to it.
    pub passive: bool,
    pub hold_time: HoldTime,
    /// What we are to the peer (RFC 9234). External peers only.
    pub role: Option<RoleConfig>,
    pub local_as: Option<LocalAs>,
    /// How often our AS may stand in a path from the peer that is no loop. External peers only.
    pub allow_own_as: u8,
    /// Whether the peer is told paths with our AS in place of its own, which it would take for loops.
    /// External peers only.
    pub as_override: bool,
    /// Whether the peer may have packets discarded, by BLACKHOLE (RFC 7999).
    pub accept_blackhole: bool,
    /// How the peer is watched beside its session.
    pub bfd: Option<BfdConfig>,
    pub times: PeerTimes,
    pub families: Families,
    /// What is taken from the peer.
    pub import: Policy,
    /// What the peer is told.
    pub export: Policy,
    /// Prefixes of both families that the peer may tell; one more ends the session (RFC 4486 §4), and
    /// it comes back as after any error.
    pub max_prefixes: u32,
    pub prefix_limits: PrefixLimits,
    /// Whether routes from outside are passed on to an internal peer with ourselves as next hop. To
    /// an external peer all are.
    pub next_hop_self: bool,
    /// We are its reflector: it is told what other internal peers tell us, and they what it tells
    /// (RFC 4456 §6). Internal peers only.
    pub reflector_client: bool,
    /// Take several paths for a prefix from the peer, if it sends them (RFC 7911).
    pub add_path_receive: bool,
    /// Tell the peer so many paths of each prefix, the best one among them, if it takes several; fewer
    /// than two turn it off.
    pub add_path_send: u16,
    /// How long the peer is to keep our routes after the restart time, and whether we do so for it
    /// (RFC 9494); zero is not at all. 24 bits.
    pub long_lived_secs: u32,
    /// IPv4 prefixes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// Hold the session down: no connection is made or taken.
    pub shutdown: bool,
    /// The same for want of what the peer is to be spoken to with, such as its password, and what is
    /// wanting. The shell says it, who knows the machine and has read the password.
    pub obstacle: Option<Arc<str>>,
    /// What the operator of the other side is told with it, at most 255 octets (RFC 9003 §2).
    pub shutdown_message: Option<String>,
}

/// Several ASes that are one to the outside (RFC 5065 §3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Confederation {
    /// The AS that they all are to the outside.
    pub id: Asn,
    /// The members beside our own.
    pub members: BTreeSet<Asn>,
}

impl Config {
    /// The AS that we are to the outside.
    pub(crate) fn outer_asn(&self) -> Asn {
        self.confederation.as_ref().map_or(self.asn, |confederation| confederation.id)
    }

    /// How near a peer of one AS is to us, to whom we are of another: what the two OPENs say, and not
    /// what we are to everybody else. Where both say one AS the session is internal, also where that
    /// is not [`Self::asn`] (RFC 7705 §4).
    pub(crate) fn kind_between(&self, ours: Asn, theirs: Asn) -> PeerKind {
        let is_member = |one: &Confederation| one.members.contains(&theirs);
        if theirs == ours {
            PeerKind::Internal
        } else if self.confederation.as_ref().is_some_and(is_member) {
            PeerKind::Confederation
        } else {
            PeerKind::External
        }
    }

    /// Whether any peer is a client of ours.
    pub fn is_reflector(&self) -> bool {
        let within = self.ranges.values().map(|range| &range.peer);
        self.peers.values().chain(within).any(|peer| peer.reflector_client)
    }
}

impl PeerConfig {
    /// How near the peer is to us.
    pub fn kind(&self, config: &Config) -> PeerKind {
        config.kind_between(self.local_as.map_or(config.asn, |local| local.asn), self.asn)
    }

    /// Where what the peer at `address` is sent comes from; on a link as in
    /// [`LinkLocal::embedded`](viaduct_net::LinkLocal::embedded).
    pub(crate) fn local_address(&self, config: &Config, address: IpAddr) -> Option<IpAddr> {
        match &self.link {
            Some(link) => Some(link.link_local.embedded()),
            None => config.addresses.of(Family::of(address)),
        }
    }

    /// A peer of `asn`, to which we are of `local`, with both families and [`Policy::default_for`] its
    /// kind.
    pub fn new(local: Asn, asn: Asn, hold_time: HoldTime) -> Self {
        let kind = if local == asn { PeerKind::Internal } else { PeerKind::External };
        let policy = Policy::default_for(kind);
        Self {
            asn,
            link: None,
            port: BGP_PORT,
            transport: Transport::default(),
            passive: false,
            hold_time,
            role: None,
            local_as: None,
            allow_own_as: 0,
            as_override: false,
            accept_blackhole: false,
            bfd: None,
            times: PeerTimes::default(),
            families: Families::BOTH,
            import: policy.clone(),
            export: policy,
            max_prefixes: bgp_rib::Peer::DEFAULT_MAX_PREFIXES,
            prefix_limits: PrefixLimits::default(),
            next_hop_self: true,
            reflector_client: false,
            add_path_receive: false,
            add_path_send: 0,
            extended_next_hop: false,
            long_lived_secs: 0,
            shutdown: false,
            obstacle: None,
            shutdown_message: None,
        }
    }

    /// Whether a running session can go on under `other`. It ends only where it would be another
    /// session: with another AS or as another, in another role, about other families, with prefixes
    /// that are written otherwise, from another address of ours on the peer's link, or over TCP of
    /// another kind. A new hold time is told in the next OPEN and waits for it.
    pub fn session_survives(&self, other: &Self) -> bool {
        let from = |peer: &Self| peer.link.as_ref().map(|link| link.link_local);
        self.asn == other.asn
            && from(self) == from(other)
            && self.families == other.families
            && self.add_path_receive == other.add_path_receive
            && self.sends_several() == other.sends_several()
            && self.extended_next_hop == other.extended_next_hop
            && self.transport == other.transport
            && self.role == other.role
            && self.local_as == other.local_as
            && !other.is_held_down()
    }

    /// Whether there is no session by configuration, or for want of a means.
    pub const fn is_held_down(&self) -> bool {
        self.shutdown || self.obstacle.is_some()
    }

    pub(crate) const fn sends_several(&self) -> bool {
        self.add_path_send > 1
    }
}

/// The fields that are not the same, by the names given.
macro_rules! changes {
    ($old:expr, $new:expr, $($field:ident => $name:literal),* $(,)?) => {{
        let mut changed = Vec::new();
        $(if $old.$field != $new.$field && !changed.contains(&$name) {
            changed.push($name);
        })*
        changed
    }};
}

impl Config {
    /// What is otherwise in another configuration of the speaker itself, for its operator.
    pub(crate) fn changes(&self, other: &Self) -> Vec<&'static str> {
        changes!(self, other,
            asn => "AS number",
            router_id => "router id",
            cluster_id => "cluster id",
            addresses => "addresses",
            listen_port => "port",
            restart_time => "restart time",
            coalesce => "coalescing time",
            deferral => "deferral time",
        )
    }
}

impl PeerConfig {
    /// What is otherwise in another configuration of the peer, for its operator. Never empty where
    /// anything is.
    pub(crate) fn changes(&self, other: &Self) -> Vec<&'static str> {
        let changed = changes!(self, other,
            asn => "AS number",
            port => "port",
            transport => "password, key or TTL",
            passive => "passive",
            hold_time => "hold time",
            bfd => "BFD",
            times => "timers",
            families => "families",
            import => "import policy",
            export => "export policy",
            max_prefixes => "prefix limits",
            prefix_limits => "prefix limits",
            next_hop_self => "next hop",
            as_override => "AS override",
            accept_blackhole => "BLACKHOLE",
            reflector_client => "reflector client",
            add_path_receive => "ADD-PATH",
            add_path_send => "ADD-PATH",
            extended_next_hop => "extended next hop",
            shutdown => "shutdown",
            obstacle => "what is wanting",
            shutdown_message => "shutdown",
        );
        if changed.is_empty() && self != other { vec!["other settings"] } else { changed }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_restart_time_has_twelve_bits() {
        assert!(RestartTime::try_from(4096).is_err());
        assert_eq!(RestartTime::try_from(4095).unwrap().secs(), 4095);
    }
}
