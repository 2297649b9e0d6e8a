//! Reading what a daemon tells, as cheaply as it can be read: prefixes are walked where they lie in
//! the receive buffer, nothing is decoded that is not asked for, and nothing is allocated. The
//! speaker's own decoder would cost as much as the daemon under test.

#[cfg(test)]
mod tests;

const HEADER_LEN: usize = 19;
const UPDATE: u8 = 2;
const NOTIFICATION: u8 = 3;

const EXTENDED_LENGTH: u8 = 0x10;
const AS_PATH: u8 = 2;
const MP_REACH_NLRI: u8 = 14;
const MP_UNREACH_NLRI: u8 = 15;
/// AFI and SAFI of IPv4 unicast (RFC 4760 §3), for daemons that use the extended form for it.
const IPV4_UNICAST: [u8; 3] = [0, 1, 1];

/// An IPv4 prefix as it stands on the wire; bits behind the length are not cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Nlri {
    pub bits: u32,
    pub len: u8,
}

/// What of an AS path tells routes of one case apart; zero where there is no such number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub first: u32,
    pub second: u32,
    pub last: u32,
}

/// Who is told what is read, prefix by prefix.
pub(crate) trait Sink {
    fn announced(&mut self, prefix: Nlri, path: Ends);
    fn withdrawn(&mut self, prefix: Nlri);
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// The peer has ended the session: the NOTIFICATION's body.
    Notification(Vec<u8>),
    /// What has arrived is no BGP.
    Malformed(&'static str),
}

/// Walks all complete messages at the front of `buffer` and gives how many octets they took.
pub(crate) fn walk(buffer: &[u8], sink: &mut impl Sink) -> Result<usize, Broken> {
    let mut at = 0;
    while let Some(header) = buffer.get(at..at + HEADER_LEN) {
        let len = usize::from(u16::from_be_bytes([header[16], header[17]]));
        if len < HEADER_LEN || header[0] != 0xff {
            return Err(Broken::Malformed("a message header"));
        }
        let Some(body) = buffer.get(at + HEADER_LEN..at + len) else { break };
        match header[18] {
            UPDATE => update(body, sink).ok_or(Broken::Malformed("an UPDATE"))?,
            NOTIFICATION => return Err(Broken::Notification(body.to_vec())),
            // KEEPALIVE and ROUTE-REFRESH change nothing.
            _ => {}
        }
        at += len;
    }
    Ok(at)
}

/// RFC 4271 §4.3; `None` where a length points beyond the message.
fn update(body: &[u8], sink: &mut impl Sink) -> Option<()> {
    let (withdrawn, rest) = field(body)?;
    let (mut attributes, classic) = field(rest)?;
    prefixes(withdrawn, |prefix| sink.withdrawn(prefix))?;
    let mut path = Ends::default();
    let mut reached: &[u8] = &[];
    while let [flags, kind, rest @ ..] = attributes {
        let (value, rest) = if flags & EXTENDED_LENGTH != 0 {
            field(rest)?
        } else {
            let (len, rest) = rest.split_first()?;
            rest.split_at_checked(usize::from(*len))?
        };
        match *kind {
            AS_PATH => path = ends(value)?,
            MP_REACH_NLRI => reached = reached_v4(value)?,
            MP_UNREACH_NLRI => {
                if let Some(withdrawn) = value.strip_prefix(&IPV4_UNICAST) {
                    prefixes(withdrawn, |prefix| sink.withdrawn(prefix))?;
                }
            }
            _ => {}
        }
        attributes = rest;
    }
    // The path may stand behind MP_REACH_NLRI, which some put first (RFC 7606 §5.1).
    prefixes(reached, |prefix| sink.announced(prefix, path))?;
    prefixes(classic, |prefix| sink.announced(prefix, path))
}

/// A field behind a length of two octets, and what follows it.
fn field(octets: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = octets.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}

fn prefixes(mut field: &[u8], mut each: impl FnMut(Nlri)) -> Option<()> {
    while let [len, rest @ ..] = field {
        let (bits, rest) = match (*len, rest) {
            // Nearly all are of this length.
            (24, [a, b, c, rest @ ..]) => (u32::from_be_bytes([*a, *b, *c, 0]), rest),
            (len @ 0..=32, rest) => {
                let (octets, rest) = rest.split_at_checked(usize::from(len).div_ceil(8))?;
                let mut bits = [0; 4];
                bits[..octets.len()].copy_from_slice(octets);
                (u32::from_be_bytes(bits), rest)
            }
            _ => return None,
        };
        each(Nlri { bits, len: *len });
        field = rest;
    }
    Some(())
}

/// The prefixes of an MP_REACH_NLRI (RFC 4760 §3): none where it is of another family.
fn reached_v4(value: &[u8]) -> Option<&[u8]> {
    let Some(rest) = value.strip_prefix(&IPV4_UNICAST) else { return Some(&[]) };
    let (hop_len, rest) = rest.split_first()?;
    // A reserved octet stands behind the next hop.
    rest.get(usize::from(*hop_len) + 1..)
}

/// The first two numbers and the last of an AS path of four-octet numbers.
fn ends(mut path: &[u8]) -> Option<Ends> {
    let mut ends = Ends::default();
    let mut seen = 0;
    while let [_kind, count, rest @ ..] = path {
        let (numbers, rest) = rest.split_at_checked(usize::from(*count) * 4)?;
        let (numbers, _) = numbers.as_chunks::<4>();
        for number in &numbers[..numbers.len().min(2)] {
            match seen {
                0 => ends.first = u32::from_be_bytes(*number),
                1 => ends.second = u32::from_be_bytes(*number),
                _ => {}
            }
            seen += 1;
        }
        if let Some(last) = numbers.last() {
            ends.last = u32::from_be_bytes(*last);
        }
        path = rest;
    }
    Some(ends)
}
