//! What passed between speakers: messages and the states of sessions (BGP4MP, RFC 6396 §4.4; with
//! path identifiers, RFC 8050 §3).

use std::net::IpAddr;

use bgp_wire::{
    EXTENDED_MESSAGE_LEN, Families, Message, Notification, PeerKind, SessionParameters, first_frame,
};
use bytes::{BufMut, Bytes, BytesMut};
use viaduct_net::{Asn, Family};

use crate::{
    Body, Error,
    octets::{Reader, put_address},
};

/// Both ends of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    pub peer_asn: Asn,
    pub local_asn: Asn,
    /// Index of the interface; zero where it is not known.
    pub interface: u16,
    pub peer: IpAddr,
    /// Of the peer's family; unspecified where it is not known.
    pub local: IpAddr,
}

/// A message as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionMessage {
    pub session: Session,
    /// AS numbers in it have four octets; else two, and so have those of the session.
    pub has_four_octet_as: bool,
    /// Prefixes in it have path identifiers.
    pub has_path_ids: bool,
    /// Sent by whoever writes the file, not received.
    pub is_local: bool,
    /// With its header.
    pub octets: Bytes,
}

/// The state of a session's machine (RFC 6396 §4.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PeerState {
    Idle = 1,
    Connect = 2,
    Active = 3,
    OpenSent = 4,
    OpenConfirm = 5,
    Established = 6,
}

impl PeerState {
    fn from_number(number: u16) -> Result<Self, Error> {
        const ALL: [PeerState; 6] = [
            PeerState::Idle,
            PeerState::Connect,
            PeerState::Active,
            PeerState::OpenSent,
            PeerState::OpenConfirm,
            PeerState::Established,
        ];
        let state = ALL.into_iter().find(|state| *state as u16 == number);
        state.ok_or(Error::State(number))
    }
}

/// A session's machine has gone from one state to another. Written with AS numbers of four octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    pub session: Session,
    pub old: PeerState,
    pub new: PeerState,
}

/// A subtype of BGP4MP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subtype(pub(crate) u16);

impl Subtype {
    const STATE_CHANGE: Self = Self(0);
    const STATE_CHANGE_AS4: Self = Self(5);

    /// All kinds of messages, by AS numbers of four octets, path identifiers and local origin.
    const MESSAGES: [(Self, bool, bool, bool); 8] = [
        (Self(1), false, false, false),
        (Self(4), true, false, false),
        (Self(6), false, false, true),
        (Self(7), true, false, true),
        (Self(8), false, true, false),
        (Self(9), true, true, false),
        (Self(10), false, true, true),
        (Self(11), true, true, true),
    ];
}

/// `None` for a subtype that is not known.
pub(crate) fn decode(subtype: u16, reader: &mut Reader<'_>) -> Result<Option<Body>, Error> {
    let subtype = Subtype(subtype);
    if [Subtype::STATE_CHANGE, Subtype::STATE_CHANGE_AS4].contains(&subtype) {
        let session = Session::decode(subtype == Subtype::STATE_CHANGE_AS4, reader)?;
        let old = PeerState::from_number(reader.u16()?)?;
        let new = PeerState::from_number(reader.u16()?)?;
        return Ok(Some(Body::StateChange(StateChange { session, old, new })));
    }
    let known = Subtype::MESSAGES.into_iter().find(|(known, ..)| *known == subtype);
    let Some((_, has_four_octet_as, has_path_ids, is_local)) = known else { return Ok(None) };
    let session = Session::decode(has_four_octet_as, reader)?;
    let octets = Bytes::copy_from_slice(reader.take(reader.0.len())?);
    let message = SessionMessage { session, has_four_octet_as, has_path_ids, is_local, octets };
    Ok(Some(Body::Message(message)))
}

impl Session {
    fn decode(has_four_octet_as: bool, reader: &mut Reader<'_>) -> Result<Self, Error> {
        let asn = |reader: &mut Reader<'_>| match has_four_octet_as {
            true => reader.u32().map(Asn::new),
            false => reader.u16().map(|asn| Asn::new(asn.into())),
        };
        let peer_asn = asn(reader)?;
        let local_asn = asn(reader)?;
        let interface = reader.u16()?;
        let family = match reader.u16()? {
            1 => Family::V4,
            2 => Family::V6,
            other => return Err(Error::Family(other)),
        };
        let peer = reader.address(family)?;
        let local = reader.address(family)?;
        Ok(Self { peer_asn, local_asn, interface, peer, local })
    }

    fn encode(&self, has_four_octet_as: bool, out: &mut BytesMut) -> Result<(), Error> {
        for asn in [self.peer_asn, self.local_asn] {
            if has_four_octet_as {
                out.put_u32(asn.to_u32());
            } else {
                out.put_u16(asn.to_u16_or_trans());
            }
        }
        out.put_u16(self.interface);
        if self.peer.is_ipv4() != self.local.is_ipv4() {
            return Err(Error::Overflow);
        }
        out.put_u16(if self.peer.is_ipv4() { 1 } else { 2 });
        put_address(self.peer, out);
        put_address(self.local, out);
        Ok(())
    }
}

impl SessionMessage {
    pub(crate) fn subtype(&self) -> Subtype {
        let wanted = (self.has_four_octet_as, self.has_path_ids, self.is_local);
        let known = Subtype::MESSAGES.into_iter().find(|(_, a, b, c)| (*a, *b, *c) == wanted);
        known.map_or(Subtype(4), |(subtype, ..)| subtype)
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        self.session.encode(self.has_four_octet_as, out)?;
        out.put_slice(&self.octets);
        Ok(())
    }

    /// The message, read as a peer of this kind would read it. An error is the NOTIFICATION that it
    /// would answer with; `None` where the octets are not one whole message.
    pub fn message(&self, sender: PeerKind) -> Result<Option<Message>, Notification> {
        let ids = if self.has_path_ids { Families::BOTH } else { Families::NONE };
        let session = SessionParameters {
            four_octet_as: self.has_four_octet_as,
            receive_extended: true,
            families: Families::BOTH,
            add_path_receive: ids,
            extended_next_hop: true,
            ..SessionParameters::before_open(sender)
        };
        match first_frame(&self.octets, EXTENDED_MESSAGE_LEN)? {
            Some(frame) if frame.whole_len() == self.octets.len() => {
                Message::decode_body(frame.kind, frame.body, &session).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl StateChange {
    pub(crate) const fn subtype(&self) -> Subtype {
        Subtype::STATE_CHANGE_AS4
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        self.session.encode(true, out)?;
        out.put_u16(self.old as u16);
        out.put_u16(self.new as u16);
        Ok(())
    }
}
