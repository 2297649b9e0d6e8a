//! Octets read as decisions.

use bgp_wire::{Families, PeerKind, SessionParameters};

/// At its end it gives zeros.
#[derive(Debug)]
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn octet(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::from(self.octet()) % bound
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }

    /// So many octets as the next one says, or what is left.
    pub(crate) fn some(&mut self) -> &'a [u8] {
        let len = usize::from(self.octet()).min(self.0.len());
        let (some, rest) = self.0.split_at(len);
        self.0 = rest;
        some
    }
}

/// What may have been agreed on, by the bits of an octet.
pub(crate) fn session(bits: u8) -> SessionParameters {
    let is_set = |bit: u8| bits & 1 << bit != 0;
    let kind = if is_set(0) { PeerKind::Internal } else { PeerKind::External };
    SessionParameters {
        four_octet_as: !is_set(1),
        receive_extended: is_set(2),
        send_extended: is_set(2),
        families: Families { v4: !is_set(3), v6: !is_set(4) },
        add_path_receive: if is_set(5) { Families::BOTH } else { Families::NONE },
        add_path_send: if is_set(5) { Families::BOTH } else { Families::NONE },
        extended_next_hop: is_set(6),
        ..SessionParameters::before_open(kind)
    }
}
