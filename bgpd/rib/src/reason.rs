use std::fmt;

/// What became of a path, and by which rule. Every path in the table has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The best path: told to peers, and first in the FIB.
    Best,
    /// As good as the best up to the tie-breaks; its next hops are in the FIB too.
    Multipath,
    /// As good as the best, but the route already has as many next hops as it may.
    MultipathLimit,
    /// Not decided since it came: [`crate::Rib::flush`] has yet to run.
    Undecided,

    // Never a candidate, for what it is.
    Martian,
    AsLoop,
    FirstAs,
    OriginatorLoop,
    ClusterLoop,
    RouteLeak,
    ImportPolicy,
    // Not a candidate, for now.
    NextHopUnreachable,

    // Lost, by the step of the decision.
    LongLivedStale,
    LocallyOriginated,
    LocalPref,
    AsPathLength,
    Origin,
    MultiExitDisc,
    ExternalOverInternal,
    IgpMetric,
    RouterId,
    ClusterListLength,
    PeerAddress,
    PathId,

    // As [`Self::NextHopUnreachable`]. It stands here because the numbers of the others are known to
    // other versions.
    NextHopLost,
}

impl Reason {
    /// Whether the path's next hops are in the FIB.
    pub const fn is_selected(self) -> bool {
        matches!(self, Self::Best | Self::Multipath)
    }

    /// Whether the path could be the best one if there were no better: what peers are told that take
    /// several paths.
    pub const fn is_usable(self) -> bool {
        let leads_nowhere = matches!(self, Self::NextHopUnreachable | Self::NextHopLost);
        !self.is_rejected() && !leads_nowhere && !matches!(self, Self::Undecided)
    }

    /// The later a path has lost, the lower.
    pub(crate) const fn rank(self) -> u8 {
        match self {
            Self::Best | Self::Multipath | Self::MultipathLimit => 0,
            lost => u8::MAX - lost as u8,
        }
    }

    /// Whether import has refused the path.
    pub const fn is_rejected(self) -> bool {
        matches!(
            self,
            Self::Martian
                | Self::AsLoop
                | Self::FirstAs
                | Self::OriginatorLoop
                | Self::ClusterLoop
                | Self::RouteLeak
                | Self::ImportPolicy
        )
    }
}

/// Numbers are for the next process: [`crate::Rib::hand_over`].
impl Reason {
    /// In the order of their numbers.
    const ALL: [Self; 25] = [
        Self::Best,
        Self::Multipath,
        Self::MultipathLimit,
        Self::Undecided,
        Self::Martian,
        Self::AsLoop,
        Self::FirstAs,
        Self::OriginatorLoop,
        Self::ClusterLoop,
        Self::RouteLeak,
        Self::ImportPolicy,
        Self::NextHopUnreachable,
        Self::LongLivedStale,
        Self::LocallyOriginated,
        Self::LocalPref,
        Self::AsPathLength,
        Self::Origin,
        Self::MultiExitDisc,
        Self::ExternalOverInternal,
        Self::IgpMetric,
        Self::RouterId,
        Self::ClusterListLength,
        Self::PeerAddress,
        Self::PathId,
        Self::NextHopLost,
    ];

    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// A number that nobody knows is that of a path about which nothing was said.
    pub(crate) fn of_number(number: u8) -> Self {
        Self::ALL.get(usize::from(number)).copied().unwrap_or(Self::Undecided)
    }
}

/// Whoever adds a reason adds it to [`Reason::ALL`], at its place.
const _: () = {
    assert!(Reason::ALL.len() == Reason::NextHopLost as usize + 1);
    let mut at = 0;
    while at < Reason::ALL.len() {
        assert!(Reason::ALL[at] as usize == at);
        at += 1;
    }
};

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Best => "best",
            Self::Multipath => "multipath",
            Self::MultipathLimit => "equal, beyond the limit of next hops",
            Self::Undecided => "undecided",
            Self::Martian => "rejected: not a unicast prefix that can be routed",
            Self::AsLoop => "rejected: our AS in AS_PATH (RFC 4271 9.1.2)",
            Self::FirstAs => "rejected: AS_PATH does not begin with the peer's AS (RFC 4271 6.3)",
            Self::OriginatorLoop => "rejected: ORIGINATOR_ID is ours (RFC 4456 8)",
            Self::ClusterLoop => "rejected: our cluster in CLUSTER_LIST (RFC 4456 8)",
            Self::RouteLeak => "rejected: only to customers, and not from above (RFC 9234 5)",
            Self::ImportPolicy => "rejected: import policy",
            Self::NextHopUnreachable => "unusable: next hop unreachable (RFC 4271 9.1.2.1)",
            Self::NextHopLost => "unusable: BFD has lost the next hop (RFC 5882 5)",
            Self::LongLivedStale => "lost: kept from a neighbour that is away (RFC 9494 4.3)",
            Self::LocallyOriginated => "lost: originated by this node",
            Self::LocalPref => "lost: lower LOCAL_PREF",
            Self::AsPathLength => "lost: longer AS_PATH (RFC 4271 9.1.2.2 a)",
            Self::Origin => "lost: higher ORIGIN (RFC 4271 9.1.2.2 b)",
            Self::MultiExitDisc => "lost: higher MULTI_EXIT_DISC (RFC 4271 9.1.2.2 c)",
            Self::ExternalOverInternal => "lost: internal against external (RFC 4271 9.1.2.2 d)",
            Self::IgpMetric => "lost: farther next hop (RFC 4271 9.1.2.2 e)",
            Self::RouterId => "lost: higher router id (RFC 4271 9.1.2.2 f)",
            Self::ClusterListLength => "lost: longer CLUSTER_LIST (RFC 4456 9)",
            Self::PeerAddress => "lost: higher peer address (RFC 4271 9.1.2.2 g)",
            Self::PathId => "lost: higher path identifier of the same peer",
        })
    }
}
