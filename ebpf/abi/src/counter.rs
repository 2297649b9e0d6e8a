/// Room in [`crate::map::COUNTERS`]: a counter more is no other layout.
pub const COUNTERS_MAX: u32 = 64;

/// What the programs count, as an index of [`crate::map::COUNTERS`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Counter {
    /// connect or sendmsg led to a backend.
    SocketTranslated,
    /// connect or sendmsg refused: the service has no ready backend, or the port no service.
    SocketRefused,
    /// A flow from outside began.
    FlowCreated,
    /// A flow proved to be answered and moved to the established table.
    FlowEstablished,
    /// A packet from outside translated to a backend of this node.
    ForwardLocal,
    /// A packet from outside translated to a backend elsewhere.
    ForwardNat,
    /// A packet of a backend translated back.
    Reply,
    /// Refused with RST or ICMP.
    Refused,
    /// Dropped, and no refusal sent: the budget of refusals was spent.
    RefusedSilently,
    /// Dropped: the service has no backend here and asks for silence.
    DroppedEmpty,
    /// Dropped: the table names a backend that is not there, or of the other family.
    DroppedStale,
    /// Dropped: no free port for a translated source.
    DroppedNoPort,
    /// Dropped: another flow has the same packets after translation.
    DroppedCollision,
    /// Dropped: no route to where the packet goes after translation.
    DroppedNoRoute,
    /// Dropped: the time to live was used up.
    DroppedTtl,
    /// Dropped: a fragment to a VIP, which has no ports to go by.
    DroppedFragment,
    /// Dropped: the packet could not be written to, or ends within a header.
    DroppedMalformed,
    /// Dropped: the service is not for clients of this address.
    DroppedSource,
}

impl Counter {
    /// Every counter, in the order of their indices.
    pub const ALL: [Self; 18] = [
        Self::SocketTranslated,
        Self::SocketRefused,
        Self::FlowCreated,
        Self::FlowEstablished,
        Self::ForwardLocal,
        Self::ForwardNat,
        Self::Reply,
        Self::Refused,
        Self::RefusedSilently,
        Self::DroppedEmpty,
        Self::DroppedStale,
        Self::DroppedNoPort,
        Self::DroppedCollision,
        Self::DroppedNoRoute,
        Self::DroppedTtl,
        Self::DroppedFragment,
        Self::DroppedMalformed,
        Self::DroppedSource,
    ];

    /// The name in metrics and in `why`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SocketTranslated => "socket_translated",
            Self::SocketRefused => "socket_refused",
            Self::FlowCreated => "flow_created",
            Self::FlowEstablished => "flow_established",
            Self::ForwardLocal => "forward_local",
            Self::ForwardNat => "forward_nat",
            Self::Reply => "reply",
            Self::Refused => "refused",
            Self::RefusedSilently => "refused_silently",
            Self::DroppedEmpty => "dropped_empty",
            Self::DroppedStale => "dropped_stale",
            Self::DroppedNoPort => "dropped_no_port",
            Self::DroppedCollision => "dropped_collision",
            Self::DroppedNoRoute => "dropped_no_route",
            Self::DroppedTtl => "dropped_ttl",
            Self::DroppedFragment => "dropped_fragment",
            Self::DroppedMalformed => "dropped_malformed",
            Self::DroppedSource => "dropped_source",
        }
    }
}

const _: () = assert!(Counter::ALL.len() <= COUNTERS_MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_in_the_order_of_the_indices() {
        for (index, counter) in Counter::ALL.into_iter().enumerate() {
            assert_eq!(counter as usize, index, "{}", counter.name());
        }
    }
}
