use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of either family. IPv4 is held mapped into IPv6 (RFC 4291 §2.5.5.2), so that one
/// map serves both and a dual-stack socket that names `::ffff:10.96.0.1` finds the same service.
///
/// Four words rather than sixteen octets: the programs read and compare them a word at a time.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    pub words_be: [u32; 4],
}

const _: () = assert!(size_of::<Address>() == 16);

const MAPPED: u32 = 0xffff_u32.to_be();

impl Address {
    /// `0.0.0.0`: with a port, the wildcard under which a node port is found.
    pub const UNSPECIFIED_V4: Self = Self { words_be: [0, 0, MAPPED, 0] };
    /// `::`, the same for IPv6.
    pub const UNSPECIFIED_V6: Self = Self { words_be: [0; 4] };

    #[inline(always)]
    pub const fn from_v4_be(word_be: u32) -> Self {
        Self { words_be: [0, 0, MAPPED, word_be] }
    }

    #[inline(always)]
    pub const fn from_octets(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self {
            words_be: [
                u32::from_ne_bytes([a, b, c, d]),
                u32::from_ne_bytes([e, f, g, h]),
                u32::from_ne_bytes([i, j, k, l]),
                u32::from_ne_bytes([m, n, o, p]),
            ],
        }
    }

    #[inline(always)]
    pub const fn octets(self) -> [u8; 16] {
        let [a, b, c, d] = self.words_be[0].to_ne_bytes();
        let [e, f, g, h] = self.words_be[1].to_ne_bytes();
        let [i, j, k, l] = self.words_be[2].to_ne_bytes();
        let [m, n, o, p] = self.words_be[3].to_ne_bytes();
        [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
    }

    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.words_be[0] == 0 && self.words_be[1] == 0 && self.words_be[2] == MAPPED
    }

    /// The last word, which of a mapped address is the IPv4 address.
    #[inline(always)]
    pub const fn v4_be(self) -> u32 {
        self.words_be[3]
    }

    /// The wildcard of this address's family.
    #[inline(always)]
    pub const fn unspecified(self) -> Self {
        // Made of the address at hand: a constant would lie in a map of its own, which every
        // load makes anew, and no running program could be told to be the same.
        let [a, b, c, _] = self.words_be;
        if self.is_v4() { Self { words_be: [a, b, c, 0] } } else { Self { words_be: [0; 4] } }
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => address.into(),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(address: Ipv4Addr) -> Self {
        Self::from_v4_be(u32::from_ne_bytes(address.octets()))
    }
}

impl From<Ipv6Addr> for Address {
    fn from(address: Ipv6Addr) -> Self {
        Self::from_octets(address.octets())
    }
}

impl From<Address> for IpAddr {
    /// A mapped address is IPv4.
    fn from(address: Address) -> Self {
        Ipv6Addr::from(address.octets()).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapped_address_is_the_address_it_maps() {
        let plain: IpAddr = "10.96.0.1".parse().unwrap();
        let mapped: IpAddr = "::ffff:10.96.0.1".parse().unwrap();
        assert_eq!(Address::from(plain), Address::from(mapped));
        assert!(Address::from(plain).is_v4());
        assert_eq!(IpAddr::from(Address::from(mapped)), plain);
        assert_eq!(Address::from(plain).v4_be().to_ne_bytes(), [10, 96, 0, 1]);
    }

    #[test]
    fn octets_and_words_are_the_same_address() {
        let address: Ipv6Addr = "2001:db8::1:2".parse().unwrap();
        assert_eq!(Address::from(address).octets(), address.octets());
        assert!(!Address::from(address).is_v4());
        assert_eq!(Address::from(address).unspecified(), Address::UNSPECIFIED_V6);
    }
}
