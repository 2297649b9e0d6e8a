//! Who takes part in a case and what each has to say, in numbers: addresses, AS numbers, prefixes.
//!
//! A prefix has an index; index and prefix follow from each other by arithmetic, so a receiver
//! looks nothing up. Neighbouring indices are far apart as prefixes: a table that comes in order
//! flatters whoever keeps it in a tree.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};
use viaduct_net::Prefix;

use super::walk::{Ends, Nlri};

/// The daemon under test, in RFC 2544's addresses for benchmarks.
pub(crate) const DAEMON: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// The generator's own address on the link.
pub(crate) const GENERATOR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// The network of both, and of every peer.
pub(crate) const NETWORK_LEN: u8 = 16;
/// Where the peers' addresses are taken from.
pub(crate) const PEERS: &str = "198.18.128.0/17";
const FIRST_PEER: u32 = u32::from_be_bytes([198, 18, 128, 1]);

pub(crate) const DAEMON_ASN: u32 = 64512;
const FIRST_PEER_ASN: u32 = DAEMON_ASN + 1;
/// As many as have an AS number below those that nobody may have.
pub(crate) const MAX_PEERS: usize = 1000;

/// The /24s of 32.0.0.0/4.
const FIRST_PREFIX: u32 = 0x20_0000;
const INDEX_BITS: u32 = 20;
pub(crate) const MAX_PREFIXES: usize = 1 << INDEX_BITS;
const MASK: u32 = (1 << INDEX_BITS) - 1;
/// Odd, so multiplication by it is a permutation of the indices; near the golden ratio of them.
const SPREAD: u32 = 648_055;
const UNSPREAD: u32 = inverse(SPREAD);
const _: () = assert!(SPREAD.wrapping_mul(UNSPREAD) & MASK == 1);

/// The inverse of an odd number modulo any power of two up to 2^32: each step of Newton doubles the
/// bits that are right.
const fn inverse(odd: u32) -> u32 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// The number of a sender, in the order of their addresses.
pub(crate) type Sender = u16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub senders: usize,
    /// Prefixes of each sender.
    pub each: usize,
    /// Prefixes that share their attributes.
    pub per_set: usize,
    /// All senders announce the same prefixes, so that the decision has a path of each.
    pub overlap: bool,
    /// The senders are iBGP clients of a reflector and each wants all of the others' prefixes;
    /// else they are of an AS each, and there is a receiver besides.
    pub reflection: bool,
}

impl Layout {
    pub(crate) fn check(&self) -> Result<()> {
        ensure!(self.peers() <= MAX_PEERS, "{} peers: at most {MAX_PEERS}", self.peers());
        ensure!(self.senders > 0 && self.each > 0 && self.per_set > 0, "nothing to send");
        let count = self.prefixes();
        ensure!(count <= MAX_PREFIXES, "{count} prefixes: at most {MAX_PREFIXES}");
        Ok(())
    }

    pub(crate) fn peers(&self) -> usize {
        self.senders + usize::from(!self.reflection)
    }

    /// The peer that wall time is taken from: the receiver, where there is one.
    pub(crate) fn receiver(&self) -> Option<usize> {
        (!self.reflection).then_some(self.senders)
    }

    /// Different prefixes in all.
    ///
    /// Where all senders say the same, each has one of its own besides, and says it last: without it
    /// the paths that lose could be still unread when the last prefix has arrived.
    pub(crate) fn prefixes(&self) -> usize {
        if self.overlap { self.each + self.senders } else { self.senders * self.each }
    }

    /// The sender whose path for a prefix must win.
    pub(crate) fn winner(&self, index: usize) -> Sender {
        let winner = match (self.overlap, index.checked_sub(self.each)) {
            (true, Some(own)) => own,
            // Spread over the senders set by set; it is the only one with a short path.
            (true, None) => index / self.per_set % self.senders,
            (false, _) => index / self.each,
        };
        winner as Sender
    }

    pub(crate) fn peer_asn(&self, peer: usize) -> u32 {
        if self.reflection { DAEMON_ASN } else { path_asn(peer) }
    }
}

pub(crate) fn peer_address(peer: usize) -> Ipv4Addr {
    Ipv4Addr::from(FIRST_PEER + peer as u32)
}

/// The AS number with which the paths of a sender begin, before the daemon has put its own there.
pub(crate) fn path_asn(sender: usize) -> u32 {
    FIRST_PEER_ASN + sender as u32
}

pub(crate) fn prefix(index: usize) -> Result<Prefix> {
    let spread = (index as u32).wrapping_mul(SPREAD) & MASK;
    let address = IpAddr::V4(Ipv4Addr::from((FIRST_PREFIX + spread) << 8));
    Prefix::new(address, 24).context("a prefix of the case")
}

/// The index of a prefix; `None` for one that no case has.
pub(crate) fn index(prefix: Nlri) -> Option<usize> {
    let spread = (prefix.bits >> 8).checked_sub(FIRST_PREFIX)?;
    let is_ours = prefix.len == 24 && spread <= MASK;
    is_ours.then_some((spread.wrapping_mul(UNSPREAD) & MASK) as usize)
}

/// Who has sent a path, by the daemon's or the reflector's side of it.
pub(crate) fn sender(path: Ends) -> Option<Sender> {
    let asn = if path.first == DAEMON_ASN { path.second } else { path.first };
    let sender = asn.checked_sub(FIRST_PEER_ASN)?;
    ((sender as usize) < MAX_PEERS).then_some(sender as Sender)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_index_has_a_prefix_of_its_own() {
        for at in (0..MAX_PREFIXES).step_by(7).chain([1, MAX_PREFIXES - 1]) {
            let prefix = prefix(at).unwrap();
            let IpAddr::V4(address) = prefix.address() else { panic!("{prefix}") };
            assert_eq!(index(Nlri { bits: address.to_bits(), len: 24 }), Some(at));
        }
        let address = |text: &str| text.parse::<Ipv4Addr>().unwrap().to_bits();
        assert_eq!(index(Nlri { bits: address("32.0.0.0"), len: 23 }), None);
        assert_eq!(index(Nlri { bits: address("31.255.255.0"), len: 24 }), None);
        assert_eq!(index(Nlri { bits: address("48.0.0.0"), len: 24 }), None);
    }

    #[test]
    fn senders_are_known_by_their_paths() {
        let path = |first, second| Ends { first, second, last: 0 };
        assert_eq!(sender(path(DAEMON_ASN, path_asn(7))), Some(7));
        assert_eq!(sender(path(path_asn(0), 3356)), Some(0));
        assert_eq!(sender(path(3356, path_asn(0))), None);
        assert_eq!(sender(path(0, 0)), None);
    }

    #[test]
    fn of_overlapping_paths_one_wins_and_each_sender_has_a_last_word() {
        let layout = Layout { senders: 3, each: 60, per_set: 10, overlap: true, reflection: false };
        assert_eq!(layout.prefixes(), 63);
        assert_eq!([0, 9, 10, 30, 60, 62].map(|index| layout.winner(index)), [0, 0, 1, 0, 0, 2]);
        let apart = Layout { overlap: false, ..layout };
        assert_eq!((apart.prefixes(), apart.winner(179)), (180, 2));
    }
}
