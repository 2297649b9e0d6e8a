use std::fmt;

use viaduct_net::Family;

use crate::{EXTENDED_MESSAGE_LEN, MAX_MESSAGE_LEN, Open};

/// How near the peer is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerKind {
    /// Of our AS, or of our member AS where that is part of a confederation.
    Internal,
    /// Of another member AS of our confederation (RFC 5065).
    Confederation,
    External,
}

/// A set of address families (unicast).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Families {
    pub v4: bool,
    pub v6: bool,
}

impl Families {
    pub const NONE: Self = Self { v4: false, v6: false };
    pub const BOTH: Self = Self { v4: true, v6: true };

    pub const fn contains(self, family: Family) -> bool {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    pub const fn insert(&mut self, family: Family) {
        match family {
            Family::V4 => self.v4 = true,
            Family::V6 => self.v6 = true,
        }
    }

    pub const fn remove(&mut self, family: Family) {
        match family {
            Family::V4 => self.v4 = false,
            Family::V6 => self.v6 = false,
        }
    }

    pub const fn is_empty(self) -> bool {
        !self.v4 && !self.v6
    }

    pub const fn intersection(self, other: Self) -> Self {
        Self { v4: self.v4 && other.v4, v6: self.v6 && other.v6 }
    }

    pub fn iter(self) -> impl Iterator<Item = Family> {
        Family::ALL.into_iter().filter(move |family| self.contains(*family))
    }
}

impl FromIterator<Family> for Families {
    fn from_iter<I: IntoIterator<Item = Family>>(families: I) -> Self {
        let mut set = Self::NONE;
        families.into_iter().for_each(|family| set.insert(family));
        set
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match (self.v4, self.v6) {
            (true, true) => "ipv4,ipv6",
            (true, false) => "ipv4",
            (false, true) => "ipv6",
            (false, false) => "none",
        })
    }
}

/// What the two OPENs have agreed on, as far as the meaning of later octets depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionParameters {
    pub peer_kind: PeerKind,
    /// AS numbers have four octets on this session (RFC 6793 §4.1: both sides said so).
    pub four_octet_as: bool,
    /// We have announced extended messages, so the peer may send them (RFC 8654 §4).
    pub receive_extended: bool,
    /// The peer has announced extended messages, so we may send them.
    pub send_extended: bool,
    /// What may be exchanged; prefixes of other families are ignored.
    pub families: Families,
    /// Families whose prefixes come with path identifiers, several paths for one prefix
    /// (RFC 7911 §4).
    pub add_path_receive: Families,
    /// Families whose prefixes are sent with path identifiers.
    pub add_path_send: Families,
    /// IPv4 prefixes may have IPv6 next hops (RFC 8950 §4: both sides said so).
    pub extended_next_hop: bool,
}

impl SessionParameters {
    /// Before both OPENs are known, when no UPDATE is expected.
    pub const fn before_open(peer_kind: PeerKind) -> Self {
        Self {
            peer_kind,
            four_octet_as: false,
            receive_extended: false,
            send_extended: false,
            families: Families::NONE,
            add_path_receive: Families::NONE,
            add_path_send: Families::NONE,
            extended_next_hop: false,
        }
    }

    /// What follows from the OPEN we sent and the one we received.
    pub fn negotiate(sent: &Open, received: &Open) -> Self {
        let peer_kind =
            if sent.asn == received.asn { PeerKind::Internal } else { PeerKind::External };
        let families = sent.families().intersection(received.families());
        let (we_receive, we_send) = sent.add_path();
        let (they_receive, they_send) = received.add_path();
        Self {
            peer_kind,
            four_octet_as: sent.has_four_octet_as() && received.has_four_octet_as(),
            receive_extended: sent.has_extended_message(),
            send_extended: received.has_extended_message(),
            families,
            add_path_receive: families.intersection(we_receive).intersection(they_send),
            add_path_send: families.intersection(we_send).intersection(they_receive),
            extended_next_hop: families.v4
                && sent.has_extended_next_hop()
                && received.has_extended_next_hop(),
        }
    }

    /// The longest message we accept, in octets with the header. OPEN and KEEPALIVE are bounded
    /// by [`MAX_MESSAGE_LEN`] regardless.
    pub const fn receive_limit(&self) -> usize {
        if self.receive_extended { EXTENDED_MESSAGE_LEN } else { MAX_MESSAGE_LEN }
    }

    /// The longest message we may send, in octets with the header.
    pub const fn send_limit(&self) -> usize {
        if self.send_extended { EXTENDED_MESSAGE_LEN } else { MAX_MESSAGE_LEN }
    }
}
