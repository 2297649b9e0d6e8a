use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bytes::{BufMut, BytesMut};
use viaduct_net::{Family, Prefix};

use crate::reader::Reader;

/// A prefix, and which of its sender's paths is meant (RFC 7911 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri {
    pub prefix: Prefix,
    /// Zero where a sender has one path for each prefix.
    pub path_id: u32,
}

impl From<Prefix> for Nlri {
    fn from(prefix: Prefix) -> Self {
        Self { prefix, path_id: 0 }
    }
}

impl fmt::Display for Nlri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path_id {
            0 => self.prefix.fmt(f),
            path_id => write!(f, "{} path {path_id}", self.prefix),
        }
    }
}

/// Octets of a path identifier.
const PATH_ID_LEN: usize = 4;

/// A field of prefixes that cannot be read: what follows the fault cannot be located either
/// (RFC 7606 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NlriError {
    #[error("prefix length {len} is beyond the bits of {family}")]
    Length { len: u8, family: Family },
    #[error("a prefix runs over the end of its field")]
    Overrun,
}

/// Octets of a prefix with its length octet (RFC 4271 §4.3), and its path identifier if there is one.
pub(crate) const fn encoded_len(len: u8, with_path_id: bool) -> usize {
    let path_id = if with_path_id { PATH_ID_LEN } else { 0 };
    path_id + 1 + octets_of(len)
}

const fn octets_of(len: u8) -> usize {
    (len as usize).div_ceil(8)
}

pub(crate) fn encode(nlri: Nlri, with_path_id: bool, out: &mut BytesMut) {
    let Nlri { prefix, path_id } = nlri;
    let count = octets_of(prefix.len());
    if with_path_id {
        out.put_u32(path_id);
    }
    out.put_u8(prefix.len());
    match prefix.address() {
        IpAddr::V4(address) => out.put_slice(&address.octets()[..count]),
        IpAddr::V6(address) => out.put_slice(&address.octets()[..count]),
    }
}

/// Reads prefixes to the end of the field. Bits behind a length are ignored (RFC 4271 §4.3).
pub(crate) fn decode(
    field: &[u8],
    family: Family,
    with_path_id: bool,
) -> Result<Vec<Nlri>, NlriError> {
    let mut reader = Reader::new(field);
    // Most prefixes that fill a message take four octets or more.
    let mut prefixes = Vec::with_capacity(field.len().div_ceil(4));
    while !reader.is_empty() {
        let path_id = if with_path_id { reader.u32() } else { Some(0) };
        let path_id = path_id.ok_or(NlriError::Overrun)?;
        let len = reader.u8().ok_or(NlriError::Overrun)?;
        let octets = if len <= family.bits() { octets_of(len) } else { usize::MAX };
        if octets == usize::MAX {
            return Err(NlriError::Length { len, family });
        }
        let octets = reader.take(octets).ok_or(NlriError::Overrun)?;
        let address = match family {
            Family::V4 => {
                let mut all = [0; 4];
                all[..octets.len()].copy_from_slice(octets);
                IpAddr::V4(Ipv4Addr::from(all))
            }
            Family::V6 => {
                let mut all = [0; 16];
                all[..octets.len()].copy_from_slice(octets);
                IpAddr::V6(Ipv6Addr::from(all))
            }
        };
        let prefix = Prefix::new(address, len).or(Err(NlriError::Length { len, family }))?;
        prefixes.push(Nlri { prefix, path_id });
    }
    Ok(prefixes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_families_and_clears_host_bits() {
        let octets = [0, 8, 10, 9, 10, 0xff, 32, 192, 0, 2, 1];
        let prefixes = decode(&octets, Family::V4, false).unwrap();
        let text: Vec<_> = prefixes.iter().map(Nlri::to_string).collect();
        assert_eq!(text, ["0.0.0.0/0", "10.0.0.0/8", "10.128.0.0/9", "192.0.2.1/32"]);
        let octets = [0, 33, 0x20, 0x01, 0x0d, 0xb8, 0xff];
        let prefixes = decode(&octets, Family::V6, false).unwrap();
        let text: Vec<_> = prefixes.iter().map(Nlri::to_string).collect();
        assert_eq!(text, ["::/0", "2001:db8:8000::/33"]);
    }

    #[test]
    fn refuses_what_it_cannot_locate() {
        let long = NlriError::Length { len: 33, family: Family::V4 };
        assert_eq!(decode(&[33, 1, 2, 3, 4, 5], Family::V4, false), Err(long));
        assert!(matches!(
            decode(&[129], Family::V6, false),
            Err(NlriError::Length { len: 129, .. })
        ));
        assert_eq!(decode(&[24, 10, 0], Family::V4, false), Err(NlriError::Overrun));
    }

    #[test]
    fn a_path_identifier_stands_before_its_prefix() {
        let octets = [0, 0, 1, 2, 8, 10, 0xff, 0, 0, 0, 0];
        let prefixes = decode(&octets, Family::V4, true).unwrap();
        let text: Vec<_> = prefixes.iter().map(Nlri::to_string).collect();
        assert_eq!(text, ["10.0.0.0/8 path 258", "0.0.0.0/0 path 4278190080"]);
        let mut written = BytesMut::new();
        prefixes.iter().for_each(|nlri| encode(*nlri, true, &mut written));
        assert_eq!(written[..], octets);
        for cut in [1, 4, 5, 7] {
            assert_eq!(decode(&octets[..cut], Family::V4, true), Err(NlriError::Overrun), "{cut}");
        }
    }
}
