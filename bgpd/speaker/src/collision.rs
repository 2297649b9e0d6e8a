//! Two connections to one peer: which of them stays (RFC 4271 §6.8).

use viaduct_net::{Asn, RouterId};

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// We did.
    Outgoing,
    /// The peer did.
    Incoming,
}

/// The direction of the connection that stays: the one which the speaker with the higher
/// identifier has opened, and among equal identifiers that of the larger AS (RFC 6286 §2.3). Both
/// sides come to the same connection, each from its own end.
pub(crate) fn winner(local: (RouterId, Asn), remote: (RouterId, Asn)) -> Direction {
    if local > remote { Direction::Outgoing } else { Direction::Incoming }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_keep_the_same_connection() {
        let speaker = |id: u32, asn| (RouterId::from_u32(id).unwrap(), Asn::new(asn));
        for (a, b) in [
            (speaker(1, 9), speaker(2, 1)),
            (speaker(2, 1), speaker(1, 9)),
            (speaker(5, 70000), speaker(5, 65001)),
        ] {
            assert_ne!(winner(a, b), winner(b, a));
        }
        assert_eq!(winner(speaker(2, 1), speaker(1, 9)), Direction::Outgoing);
        assert_eq!(winner(speaker(5, 1), speaker(5, 2)), Direction::Incoming);
    }
}
