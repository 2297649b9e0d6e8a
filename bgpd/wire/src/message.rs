use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    AfiSafi, Frame, MessageType, Notification, NotificationCode, Open, SessionParameters, Update,
    framing::{begin_message, end_message},
    reader::Reader,
};

/// What a peer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Open(Open),
    Update(Update),
    Notification(Notification),
    Keepalive,
    RouteRefresh(RouteRefresh),
}

impl Message {
    /// Reads a frame. An error is the NOTIFICATION with which to end the session; lesser faults of
    /// an UPDATE are told in [`Update::malformed`].
    pub fn decode(frame: &Frame, session: &SessionParameters) -> Result<Self, Notification> {
        Self::decode_body(frame.kind, &frame.body, session)
    }

    /// [`Self::decode`] of what [`crate::first_frame`] gives.
    pub fn decode_body(
        kind: MessageType,
        body: &[u8],
        session: &SessionParameters,
    ) -> Result<Self, Notification> {
        match kind {
            MessageType::Open => Open::decode(body).map(Self::Open),
            MessageType::Update => Update::decode(body, session).map(Self::Update),
            // Nothing may be answered to a NOTIFICATION (RFC 4271 §6.4); framing has seen to its
            // two octets, so the code for a wrong length stands for an impossible case.
            MessageType::Notification => Notification::decode(&Bytes::copy_from_slice(body))
                .map(Self::Notification)
                .ok_or(Notification::new(NotificationCode::BadMessageLength)),
            MessageType::Keepalive => Ok(Self::Keepalive),
            MessageType::RouteRefresh => RouteRefresh::decode(body).map(Self::RouteRefresh),
        }
    }

    pub const fn kind(&self) -> MessageType {
        match self {
            Self::Open(_) => MessageType::Open,
            Self::Update(_) => MessageType::Update,
            Self::Notification(_) => MessageType::Notification,
            Self::Keepalive => MessageType::Keepalive,
            Self::RouteRefresh(_) => MessageType::RouteRefresh,
        }
    }

    /// Appends a KEEPALIVE, the one message without content.
    pub fn encode_keepalive(out: &mut BytesMut) {
        let start = begin_message(out, MessageType::Keepalive);
        end_message(out, start);
    }
}

/// RFC 2918 §3, with the message subtype of RFC 7313 §3.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    pub family: AfiSafi,
    pub subtype: RouteRefreshSubtype,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteRefreshSubtype {
    /// Send all of the family again.
    Request,
    /// What follows, up to the end, is all there is of the family (RFC 7313 §3.2).
    Begin,
    End,
    /// To be ignored (RFC 7313 §5).
    Unknown(u8),
}

impl RouteRefreshSubtype {
    const fn from_octet(octet: u8) -> Self {
        match octet {
            0 => Self::Request,
            1 => Self::Begin,
            2 => Self::End,
            other => Self::Unknown(other),
        }
    }

    const fn to_octet(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Begin => 1,
            Self::End => 2,
            Self::Unknown(other) => other,
        }
    }
}

impl RouteRefresh {
    pub fn request(family: viaduct_net::Family) -> Self {
        Self { family: family.into(), subtype: RouteRefreshSubtype::Request }
    }

    pub fn begin(family: viaduct_net::Family) -> Self {
        Self { family: family.into(), subtype: RouteRefreshSubtype::Begin }
    }

    pub fn end(family: viaduct_net::Family) -> Self {
        Self { family: family.into(), subtype: RouteRefreshSubtype::End }
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = begin_message(out, MessageType::RouteRefresh);
        out.put_u16(self.family.afi);
        out.put_u8(self.subtype.to_octet());
        out.put_u8(self.family.safi);
        end_message(out, start);
    }

    fn decode(body: &[u8]) -> Result<Self, Notification> {
        let short = || Notification::new(NotificationCode::BadMessageLength);
        let mut reader = Reader::new(body);
        let afi = reader.u16().ok_or_else(short)?;
        let subtype = RouteRefreshSubtype::from_octet(reader.u8().ok_or_else(short)?);
        let safi = reader.u8().ok_or_else(short)?;
        let demarcation = matches!(subtype, RouteRefreshSubtype::Begin | RouteRefreshSubtype::End);
        // What follows a plain request would be filters (RFC 5291), which were not agreed on.
        if demarcation && !reader.is_empty() {
            return Err(Notification::with_data(NotificationCode::InvalidRouteRefreshLength, body));
        }
        Ok(Self { family: AfiSafi { afi, safi }, subtype })
    }
}
