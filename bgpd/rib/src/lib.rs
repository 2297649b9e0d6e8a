//! The routing information base: one table of paths, the decision among them, and what follows
//! for the FIB and for the peers.
//!
//! Adj-RIB-In, Loc-RIB and Adj-RIB-Out (RFC 4271 §3.2) are views of the one table: a path knows
//! the peer it came from, the decision leaves a [`Reason`] on every path, and what a peer is told
//! of a prefix is a pure function of its best path ([`export`]), made into messages once for all
//! peers that are told the same ([`out`]).
//!
//! Changes go in through the methods of [`Rib`] and touch only the prefixes they name;
//! [`Rib::flush`] decides those anew and gives what follows. So a speaker may read many UPDATEs
//! before it flushes, and one that restarts may put its first flush off until its peers have sent
//! all they had (RFC 4724 §4.1).

mod counts;
mod decision;
mod destinations;
pub mod export;
mod import;
mod ingress;
mod interner;
mod judges;
mod next_hop;
pub mod out;
mod paths;
mod peer;
mod reason;
mod rib;
mod routes;
mod underlay;

pub use bgp_policy as policy;
pub use bgp_policy::{Action, Change, Matches, Policy, PrefixMatch, PrefixSet, Rule, Source};
pub use counts::{FamilyCounts, ImportCounters};
pub use decision::DecisionRules;
pub use export::{ExportPeer, ExportReject, Exported, LocalSpeaker};
pub use ingress::Ingress;
pub use interner::AttributeInterner;
pub use peer::{Peer, PeerCounts, PeerId};
pub use reason::Reason;
pub use rib::{
    AnnounceError, AnyCommunity, BestChange, BestPath, Changes, DestinationRecord, NextHopRecord,
    PathFilter, PathRecord, PathSource, PathView, Rib, RibConfig, RibCounts, Step, TableError,
    TablePiece, Takeover,
};

/// The most next hops of one route: as many as the vRouter puts into one group.
pub const MAX_MULTIPATH: usize = 16;

/// LOCAL_PREF where a path has none: every route from outside (RFC 4271 §5.1.5 leaves the number
/// to the speaker; this is what all others use).
pub const DEFAULT_LOCAL_PREF: u32 = 100;

/// LOCAL_PREF of a path from such a peer: the lowest for one that is about to go (RFC 8326 §4.2), so
/// that it is used while there is no other.
fn local_pref(facts: &bgp_wire::Facts, from: bgp_wire::PeerKind) -> u32 {
    match from {
        bgp_wire::PeerKind::External if facts.is_graceful_shutdown() => 0,
        _ => facts.local_pref().unwrap_or(DEFAULT_LOCAL_PREF),
    }
}
