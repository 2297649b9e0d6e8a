//! Questions and answers of DNS (RFC 1035 §4), as much of them as a stub resolver needs: one
//! question for A or AAAA, and the addresses that an answer has for it along its aliases.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const HEADER_LEN: usize = 12;
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;
/// Aliases that are followed from the name that was asked for.
const ALIASES_MAX: usize = 16;

const TYPE_A: u16 = 1;
const TYPE_CNAME: u16 = 5;
const TYPE_AAAA: u16 = 28;
const CLASS_IN: u16 = 1;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_RECURSION_DESIRED: u16 = 0x0100;
const OPCODE: u16 = 0x7800;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    fn record_type(self) -> u16 {
        match self {
            Self::V4 => TYPE_A,
            Self::V6 => TYPE_AAAA,
        }
    }
}

/// A name in the form it has on the wire, in lower case and without compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(Vec<u8>);

impl Name {
    /// `None` where it cannot be a name: an empty label, one of more than 63 bytes, more than 255
    /// in all.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.trim_end_matches('.').split('.') {
            if label.is_empty() || label.len() > LABEL_MAX {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= NAME_MAX).then_some(Self(wire))
    }

    /// Reads a name at `at` and gives what comes behind it. A pointer leads backwards only, so
    /// that none leads round in a circle.
    fn read(message: &[u8], at: usize) -> Option<(Self, usize)> {
        let mut wire = Vec::new();
        let (mut at, mut behind) = (at, None);
        let mut limit = at;
        loop {
            let length = *message.get(at)?;
            match length {
                0 => {
                    wire.push(0);
                    return Some((Self(wire), behind.unwrap_or(at + 1)));
                }
                1..=0x3f => {
                    let label = message.get(at + 1..at + 1 + usize::from(length))?;
                    wire.push(length);
                    wire.extend(label.iter().map(u8::to_ascii_lowercase));
                    if wire.len() >= NAME_MAX {
                        return None;
                    }
                    at += 1 + usize::from(length);
                }
                0xc0.. => {
                    let low = *message.get(at + 1)?;
                    behind.get_or_insert(at + 2);
                    at = usize::from(length & 0x3f) << 8 | usize::from(low);
                    if at >= limit {
                        return None;
                    }
                    limit = at;
                }
                // Reserved (RFC 1035 §4.1.4), and never used since.
                _ => return None,
            }
        }
    }
}

/// What is asked, and the number by which its answer is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) id: u16,
    pub(crate) name: Name,
    pub(crate) family: Family,
}

impl Question {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut message = Vec::with_capacity(HEADER_LEN + self.name.0.len() + 4);
        for half in [self.id, FLAG_RECURSION_DESIRED, 1, 0, 0, 0] {
            message.extend(half.to_be_bytes());
        }
        message.extend(&self.name.0);
        message.extend(self.family.record_type().to_be_bytes());
        message.extend(CLASS_IN.to_be_bytes());
        message
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// None where the name has no address of this family, or is none at all.
    Addresses(Vec<IpAddr>),
    /// To be asked again over TCP.
    Truncated,
    /// The server could not or would not say: the code of RFC 1035 §4.1.1.
    Failed(u8),
}

/// What `message` answers to `question`; `None` where it is no answer to it, or malformed.
pub(crate) fn decode(message: &[u8], question: &Question) -> Option<Answer> {
    let half = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
    let flags = half(2)?;
    if half(0)? != question.id || flags & FLAG_RESPONSE == 0 || flags & OPCODE != 0 {
        return None;
    }
    let code = (flags & 0xf) as u8;
    let is_failure = !matches!(code, 0 | 3);
    // A server that did not understand may leave the question out.
    if is_failure && half(4)? == 0 {
        return Some(Answer::Failed(code));
    }
    if half(4)? != 1 {
        return None;
    }
    let (name, at) = Name::read(message, HEADER_LEN)?;
    let asked = (question.family.record_type(), CLASS_IN);
    if name != question.name || (half(at)?, half(at + 2)?) != asked {
        return None;
    }
    if is_failure {
        return Some(Answer::Failed(code));
    }
    if flags & FLAG_TRUNCATED != 0 {
        return Some(Answer::Truncated);
    }
    let records = records(message, at + 4, half(6)?)?;
    Some(Answer::Addresses(addresses(&records, &question.name, question.family)?))
}

struct Record<'a> {
    owner: Name,
    kind: u16,
    data: &'a [u8],
    /// Of an alias: the name it leads to, which may be compressed.
    target: Option<Name>,
}

fn records(message: &[u8], mut at: usize, count: u16) -> Option<Vec<Record<'_>>> {
    let mut records = Vec::new();
    for _ in 0..count {
        let (owner, fixed) = Name::read(message, at)?;
        let half = |at: usize| Some(u16::from_be_bytes(message.get(at..at + 2)?.try_into().ok()?));
        let (kind, class, length) = (half(fixed)?, half(fixed + 2)?, half(fixed + 8)?);
        let start = fixed + 10;
        at = start + usize::from(length);
        let data = message.get(start..at)?;
        if class != CLASS_IN {
            continue;
        }
        let target = match kind {
            TYPE_CNAME => Some(Name::read(message, start)?.0),
            _ => None,
        };
        records.push(Record { owner, kind, data, target });
    }
    Some(records)
}

fn addresses(records: &[Record<'_>], name: &Name, family: Family) -> Option<Vec<IpAddr>> {
    let mut name = name;
    for _ in 0..ALIASES_MAX {
        let alias = records.iter().find(|one| one.kind == TYPE_CNAME && one.owner == *name);
        match alias.and_then(|alias| alias.target.as_ref()) {
            Some(target) => name = target,
            None => break,
        }
    }
    let of_name =
        records.iter().filter(|one| one.kind == family.record_type() && one.owner == *name);
    of_name.map(|record| address(record.data, family)).collect()
}

fn address(data: &[u8], family: Family) -> Option<IpAddr> {
    Some(match family {
        Family::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).into(),
        Family::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).into(),
    })
}

#[cfg(test)]
pub(crate) mod tests;
