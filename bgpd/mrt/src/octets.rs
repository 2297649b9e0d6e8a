//! What the records have in common: numbers, addresses and prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use viaduct_net::{Family, Prefix};

use crate::Error;

/// Reads octets from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (head, tail) = self.0.split_at_checked(len).ok_or(Error::Short)?;
        self.0 = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, tail) = self.0.split_first_chunk::<N>().ok_or(Error::Short)?;
        self.0 = tail;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn address(&mut self, family: Family) -> Result<IpAddr, Error> {
        Ok(match family {
            Family::V4 => Ipv4Addr::from(self.array::<4>()?).into(),
            Family::V6 => Ipv6Addr::from(self.array::<16>()?).into(),
        })
    }

    /// Octets behind a length of two octets.
    pub(crate) fn counted(&mut self) -> Result<&'a [u8], Error> {
        let len = self.u16()?;
        self.take(len.into())
    }

    /// RFC 4271 §4.3: bits behind the length are ignored.
    pub(crate) fn prefix(&mut self, family: Family) -> Result<Prefix, Error> {
        let len = self.u8()?;
        if len > family.bits() {
            return Err(Error::PrefixLength { len, family });
        }
        let octets = self.take(usize::from(len).div_ceil(8))?;
        let mut all = [0; 16];
        all[..octets.len()].copy_from_slice(octets);
        let address = match family {
            Family::V4 => Ipv4Addr::from([all[0], all[1], all[2], all[3]]).into(),
            Family::V6 => Ipv6Addr::from(all).into(),
        };
        Prefix::new(address, len).or(Err(Error::PrefixLength { len, family }))
    }
}

pub(crate) fn put_address(address: IpAddr, out: &mut BytesMut) {
    match address {
        IpAddr::V4(address) => out.put_slice(&address.octets()),
        IpAddr::V6(address) => out.put_slice(&address.octets()),
    }
}

pub(crate) fn put_prefix(prefix: Prefix, out: &mut BytesMut) {
    let count = usize::from(prefix.len()).div_ceil(8);
    out.put_u8(prefix.len());
    match prefix.address() {
        IpAddr::V4(address) => out.put_slice(&address.octets()[..count]),
        IpAddr::V6(address) => out.put_slice(&address.octets()[..count]),
    }
}

/// Octets behind their number in two octets; `false`, and nothing written, where those cannot say it.
#[must_use]
pub(crate) fn put_counted(octets: &[u8], out: &mut BytesMut) -> bool {
    let Ok(len) = u16::try_from(octets.len()) else { return false };
    out.put_u16(len);
    out.put_slice(octets);
    true
}
