//! What two neighbours are to each other (RFC 9234).

use std::fmt;

/// The part that the speaker itself has towards its neighbour (RFC 9234 §3.1, §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    Provider = 0,
    RouteServer = 1,
    RouteServerClient = 2,
    Customer = 3,
    Peer = 4,
}

impl Role {
    pub const ALL: [Self; 5] =
        [Self::Provider, Self::RouteServer, Self::RouteServerClient, Self::Customer, Self::Peer];

    /// `None` for a number that IANA has given to nobody.
    pub fn from_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| *role as u8 == octet)
    }

    /// The part that the neighbour must have (RFC 9234 §4.2, table 2).
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }

    /// Whether routes go down, or sideways, to the neighbour: what it is told is marked Only to
    /// Customer (RFC 9234 §5, egress 1).
    pub const fn marks_sent(self) -> bool {
        matches!(self, Self::Provider | Self::RouteServer | Self::Peer)
    }

    /// Whether routes come from above, or from the side: what comes unmarked is marked, and what is
    /// marked is not told to the neighbour (RFC 9234 §5, ingress 3 and egress 2).
    pub const fn marks_received(self) -> bool {
        matches!(self, Self::Customer | Self::RouteServerClient | Self::Peer)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Provider => "provider",
            Self::RouteServer => "route server",
            Self::RouteServerClient => "route server client",
            Self::Customer => "customer",
            Self::Peer => "peer",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_and_pairs_of_the_rfc() {
        for role in Role::ALL {
            assert_eq!(Role::from_octet(role as u8), Some(role));
            assert_eq!(role.counterpart().counterpart(), role);
            // What one side marks on sending the other would mark on receipt.
            assert_eq!(role.marks_sent(), role.counterpart().marks_received());
        }
        assert_eq!(Role::from_octet(5), None);
    }
}
