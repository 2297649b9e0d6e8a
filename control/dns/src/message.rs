//! Messages on the wire: what a client asks, and what is said to it.
//!
//! Nothing that a client sends can do more than be dropped or be refused.

use std::sync::Arc;

use domain::{
    base::{
        Message, MessageBuilder, Name, Rtype, ToName, TreeCompressor,
        iana::{Class, Opcode, OptRcode, Rcode},
        message_builder::{AnswerBuilder, PushError},
        opt::AllOptData,
    },
    rdata::AllRecordData,
};

use crate::zone::{DnsName, DnsRecord};

/// What a client without EDNS takes over UDP (RFC 1035 §4.2.1), and the least that one with it may
/// say (RFC 6891 §6.2.3).
pub(crate) const PAYLOAD_MIN: u16 = 512;
/// What passes every link without being cut into fragments; what is longer goes over TCP.
pub(crate) const PAYLOAD_MAX: u16 = 1232;
/// An OPT record without options.
const OPT_BYTES: usize = 11;
/// A message of TCP has two bytes for its length.
const TCP_BYTES_MAX: usize = u16::MAX as usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// The extensions that a client speaks (RFC 6891).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Edns {
    pub payload: u16,
    pub dnssec_ok: bool,
}

/// A question that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    pub id: u16,
    /// As the client spelled it: it may look for its own spelling in the answer.
    pub name: DnsName,
    pub rtype: Rtype,
    pub recursion_desired: bool,
    pub checking_disabled: bool,
    pub edns: Option<Edns>,
    pub transport: Transport,
}

/// What a message is that no answer can be found for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// Nobody is told: it is no query, or too short to have an id.
    Drop,
    /// Without the question, which may be what is wrong.
    Refuse { id: u16, opcode: Opcode, rcode: OptRcode, edns: bool },
}

impl Query {
    pub(crate) fn parse(bytes: &[u8], transport: Transport) -> Result<Self, Rejection> {
        let Ok(message) = Message::from_octets(bytes) else { return Err(Rejection::Drop) };
        let header = message.header();
        // An answer to an answer would be answered again, without end.
        if header.qr() {
            return Err(Rejection::Drop);
        }
        let refuse = |rcode, edns| {
            Err(Rejection::Refuse { id: header.id(), opcode: header.opcode(), rcode, edns })
        };
        if header.opcode() != Opcode::QUERY {
            return refuse(OptRcode::NOTIMP, false);
        }
        let Ok(question) = message.sole_question() else {
            return refuse(OptRcode::FORMERR, false);
        };
        let Ok(opt) = extensions(&message) else { return refuse(OptRcode::FORMERR, false) };
        if opt.is_some_and(|(version, _)| version != 0) {
            return refuse(OptRcode::BADVERS, true);
        }
        let edns = opt.map(|(_, edns)| edns);
        let transfers = matches!(question.qtype(), Rtype::AXFR | Rtype::IXFR);
        if question.qclass() != Class::IN || transfers {
            return refuse(OptRcode::REFUSED, edns.is_some());
        }
        Ok(Self {
            id: header.id(),
            name: question.qname().to_name(),
            rtype: question.qtype(),
            recursion_desired: header.rd(),
            checking_disabled: header.cd(),
            edns,
            transport,
        })
    }

    /// How long an answer may be.
    fn bytes_max(&self) -> usize {
        match self.transport {
            Transport::Tcp => TCP_BYTES_MAX,
            Transport::Udp => {
                let payload = self.edns.map_or(PAYLOAD_MIN, |edns| edns.payload);
                payload.clamp(PAYLOAD_MIN, PAYLOAD_MAX).into()
            }
        }
    }
}

/// The version of EDNS, and what it says; an error where any record of the message is malformed,
/// or there are two of them.
fn extensions(message: &Message<&[u8]>) -> Result<Option<(u8, Edns)>, Malformed> {
    for section in [message.answer()?, message.authority()?] {
        for record in section {
            record?;
        }
    }
    let mut found = None;
    for record in message.additional()? {
        let record = record?;
        if record.rtype() != Rtype::OPT {
            continue;
        }
        let Some(record) = record.into_record::<domain::base::opt::Opt<_>>()? else { continue };
        for option in record.data().iter::<AllOptData<_, Name<_>>>() {
            option?;
        }
        let opt = domain::base::opt::OptRecord::from(record);
        let edns = Edns { payload: opt.udp_payload_size(), dnssec_ok: opt.dnssec_ok() };
        if found.replace((opt.version(), edns)).is_some() {
            return Err(Malformed);
        }
    }
    Ok(found)
}

#[derive(Debug)]
struct Malformed;

impl From<domain::base::wire::ParseError> for Malformed {
    fn from(_: domain::base::wire::ParseError) -> Self {
        Self
    }
}

impl Rejection {
    /// What is sent back, if anything.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let Self::Refuse { id, opcode, rcode, edns } = *self else { return None };
        let mut builder = MessageBuilder::new_vec();
        let header = builder.header_mut();
        header.set_id(id);
        header.set_qr(true);
        header.set_ra(true);
        header.set_opcode(opcode);
        header.set_rcode(rcode.rcode());
        let mut builder = builder.additional();
        if edns {
            builder
                .opt(|opt| {
                    opt.set_udp_payload_size(PAYLOAD_MAX);
                    opt.set_rcode(rcode);
                    Ok(())
                })
                .ok()?;
        }
        Some(builder.finish())
    }
}

/// What is said to a query.
#[derive(Debug)]
pub(crate) struct Response {
    pub rcode: Rcode,
    /// What is said is known here at first hand.
    pub authoritative: bool,
    pub answers: Vec<DnsRecord>,
    pub authority: Option<DnsRecord>,
    pub additional: Vec<DnsRecord>,
    /// What a name server of the node said, and how many seconds ago; it comes after the rest.
    pub forwarded: Option<(Arc<Vec<u8>>, u32)>,
}

impl Response {
    /// Without any record.
    pub(crate) fn of(rcode: Rcode) -> Self {
        Self {
            rcode,
            authoritative: false,
            answers: Vec::new(),
            authority: None,
            additional: Vec::new(),
            forwarded: None,
        }
    }

    /// The message, and whether it had to be cut.
    pub(crate) fn encode(&self, query: &Query) -> (Vec<u8>, bool) {
        self.build(query).unwrap_or_else(|_too_long| {
            // A question fits always: it came in a message, and is cut down to its header's size.
            let mut header = MessageBuilder::new_vec();
            header.header_mut().set_id(query.id);
            header.header_mut().set_qr(true);
            header.header_mut().set_rcode(Rcode::SERVFAIL);
            (header.finish(), false)
        })
    }

    fn build(&self, query: &Query) -> Result<(Vec<u8>, bool), PushError> {
        let target = TreeCompressor::new(Vec::with_capacity(PAYLOAD_MIN.into()));
        let mut builder = MessageBuilder::from_target(target).map_err(PushError::from)?;
        let limit = query.bytes_max();
        let reserved = if query.edns.is_some() { OPT_BYTES } else { 0 };
        builder.set_push_limit(limit - reserved);
        let header = builder.header_mut();
        header.set_id(query.id);
        header.set_qr(true);
        header.set_aa(self.authoritative);
        header.set_rd(query.recursion_desired);
        header.set_ra(true);
        header.set_cd(query.checking_disabled);
        header.set_rcode(self.rcode);
        let mut question = builder.question();
        question.push((&query.name, query.rtype, Class::IN))?;
        let mut answer = question.answer();
        let mut cut = self.push_answers(&mut answer).is_err();
        let mut authority = answer.authority();
        if let (Some(record), false) = (&self.authority, cut) {
            cut = authority.push(record).is_err();
        }
        let forwarded = self.forwarded.as_ref();
        let forwarded = forwarded
            .and_then(|(bytes, age)| Some((Message::from_octets(bytes.as_slice()).ok()?, *age)));
        if let (Some((message, age)), false) = (&forwarded, cut) {
            for record in records(message.authority(), *age) {
                cut = cut || authority.push(record).is_err();
            }
        }
        authority.header_mut().set_tc(cut);
        let mut additional = authority.additional();
        if !cut {
            // What does not fit here is left out without a word: the client asks for what it misses.
            for record in &self.additional {
                if additional.push(record).is_err() {
                    break;
                }
            }
        }
        if let (Some((message, age)), false) = (&forwarded, cut) {
            for record in records(message.additional(), *age) {
                if additional.push(record).is_err() {
                    break;
                }
            }
        }
        if let Some(edns) = query.edns {
            additional.set_push_limit(limit);
            additional.opt(|opt| {
                opt.set_udp_payload_size(PAYLOAD_MAX);
                opt.set_dnssec_ok(edns.dnssec_ok);
                Ok(())
            })?;
        }
        Ok((additional.finish().into_target(), cut))
    }

    fn push_answers(
        &self,
        builder: &mut AnswerBuilder<TreeCompressor<Vec<u8>>>,
    ) -> Result<(), PushError> {
        for record in &self.answers {
            builder.push(record)?;
        }
        if let Some((bytes, age)) = &self.forwarded
            && let Ok(message) = Message::from_octets(bytes.as_slice())
        {
            for record in records(message.answer(), *age) {
                builder.push(record)?;
            }
        }
        Ok(())
    }
}

type ForwardedRecord<'a> = domain::base::Record<
    domain::base::ParsedName<&'a [u8]>,
    AllRecordData<&'a [u8], domain::base::ParsedName<&'a [u8]>>,
>;

/// The records of a section that can be read, with what is left of their time.
fn records<'a>(
    section: Result<
        domain::base::message::RecordSection<'a, &'a [u8]>,
        domain::base::wire::ParseError,
    >,
    age_secs: u32,
) -> impl Iterator<Item = ForwardedRecord<'a>> {
    let parsed = section.into_iter().flatten().flatten();
    parsed.filter(|record| record.rtype() != Rtype::OPT).filter_map(move |record| {
        let mut record = record.into_any_record::<AllRecordData<_, _>>().ok()?;
        let left = record.ttl().as_secs().saturating_sub(age_secs);
        record.set_ttl(domain::base::Ttl::from_secs(left));
        Some(record)
    })
}

#[cfg(test)]
mod tests;
