use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{Notification, NotificationCode};

/// Marker, length and type (RFC 4271 §4.1).
pub const HEADER_LEN: usize = 19;
/// The longest message without RFC 8654.
pub const MAX_MESSAGE_LEN: usize = 4096;
/// The longest message with RFC 8654: all that the length field can say.
pub const EXTENDED_MESSAGE_LEN: usize = 65535;

const MARKER: [u8; 16] = [0xff; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageType {
    Open = 1,
    Update = 2,
    Notification = 3,
    Keepalive = 4,
    /// RFC 2918.
    RouteRefresh = 5,
}

impl MessageType {
    const fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Open),
            2 => Some(Self::Update),
            3 => Some(Self::Notification),
            4 => Some(Self::Keepalive),
            5 => Some(Self::RouteRefresh),
            _ => None,
        }
    }

    /// The shortest and longest this message can be, in octets with the header.
    const fn bounds(self, limit: usize) -> (usize, usize) {
        match self {
            // RFC 8654 §4: OPEN and KEEPALIVE are never extended.
            Self::Open => (29, MAX_MESSAGE_LEN),
            Self::Keepalive => (HEADER_LEN, HEADER_LEN),
            Self::Update => (23, limit),
            Self::Notification => (21, limit),
            Self::RouteRefresh => (23, limit),
        }
    }
}

/// One message, cut out of the stream but not yet read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: MessageType,
    /// What follows the header.
    pub body: Bytes,
}

/// One message where it stands in what was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameRef<'a> {
    pub kind: MessageType,
    /// What follows the header.
    pub body: &'a [u8],
}

impl FrameRef<'_> {
    /// Octets of the whole message.
    pub const fn whole_len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }
}

/// Takes the first message off the front of what was received; `None` while it is not complete.
/// `limit` is [`crate::SessionParameters::receive_limit`]. An error is the NOTIFICATION to send
/// before closing; the header is judged as soon as it is there, so a stream that is not BGP is
/// refused without waiting for 65535 octets of it.
pub fn split_frame(buffer: &mut BytesMut, limit: usize) -> Result<Option<Frame>, Notification> {
    let Some((kind, len)) = peek_frame(buffer, limit)? else { return Ok(None) };
    if buffer.len() < len {
        buffer.reserve(len - buffer.len());
        return Ok(None);
    }
    let mut message = buffer.split_to(len);
    message.advance(HEADER_LEN);
    Ok(Some(Frame { kind, body: message.freeze() }))
}

/// [`split_frame`] of octets that stay where they are.
pub fn first_frame(octets: &[u8], limit: usize) -> Result<Option<FrameRef<'_>>, Notification> {
    let Some((kind, len)) = peek_frame(octets, limit)? else { return Ok(None) };
    Ok(octets.get(HEADER_LEN..len).map(|body| FrameRef { kind, body }))
}

/// Kind and length of the first message, once its header is there.
fn peek_frame(octets: &[u8], limit: usize) -> Result<Option<(MessageType, usize)>, Notification> {
    let Some((header, _)) = octets.split_first_chunk::<HEADER_LEN>() else {
        return Ok(None);
    };
    if header[..16] != MARKER {
        return Err(Notification::new(NotificationCode::ConnectionNotSynchronized));
    }
    let length_field = [header[16], header[17]];
    let len = usize::from(u16::from_be_bytes(length_field));
    let bad_length = || Notification::with_data(NotificationCode::BadMessageLength, &length_field);
    if !(HEADER_LEN..=limit).contains(&len) {
        return Err(bad_length());
    }
    let Some(kind) = MessageType::from_octet(header[18]) else {
        return Err(Notification::with_data(NotificationCode::BadMessageType, &[header[18]]));
    };
    let (min, max) = kind.bounds(limit);
    if !(min..=max).contains(&len) {
        return Err(bad_length());
    }
    Ok(Some((kind, len)))
}

/// Writes a header whose length [`end_message`] fills in; gives where the message starts.
pub(crate) fn begin_message(out: &mut BytesMut, kind: MessageType) -> usize {
    let start = out.len();
    out.put_slice(&MARKER);
    out.put_u16(0);
    out.put_u8(kind as u8);
    start
}

pub(crate) fn end_message(out: &mut BytesMut, start: usize) {
    let len = out.len() - start;
    debug_assert!(len <= EXTENDED_MESSAGE_LEN, "the writer bounds its message");
    out[start + 16..start + 18].copy_from_slice(&(len as u16).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(len: u16, kind: u8) -> BytesMut {
        let mut out = BytesMut::new();
        out.put_slice(&MARKER);
        out.put_u16(len);
        out.put_u8(kind);
        out
    }

    fn refusal(mut buffer: BytesMut, limit: usize) -> Notification {
        split_frame(&mut buffer, limit).unwrap_err()
    }

    #[test]
    fn waits_for_the_whole_message_and_leaves_the_next() {
        let mut whole = header(19, 4);
        whole.extend_from_slice(&header(21, 3));
        whole.extend_from_slice(&[6, 2]);
        let mut buffer = BytesMut::new();
        let mut seen = Vec::new();
        for octet in whole {
            buffer.put_u8(octet);
            seen.extend(split_frame(&mut buffer, MAX_MESSAGE_LEN).unwrap());
        }
        assert_eq!(seen[0], Frame { kind: MessageType::Keepalive, body: Bytes::new() });
        let body = Bytes::from_static(&[6, 2]);
        assert_eq!(seen[1], Frame { kind: MessageType::Notification, body });
        assert!(buffer.is_empty());
    }

    #[test]
    fn refuses_wrong_headers() {
        let mut marker = header(19, 4);
        marker[3] = 0;
        let code = |buffer, limit| refusal(buffer, limit).code;
        assert_eq!(code(marker, MAX_MESSAGE_LEN), NotificationCode::ConnectionNotSynchronized);
        for (len, kind) in
            [(18, 4), (20, 4), (28, 1), (22, 2), (20, 3), (22, 5), (4097, 2), (0, 2), (65535, 2)]
        {
            let refused = refusal(header(len, kind), MAX_MESSAGE_LEN);
            assert_eq!(refused.code, NotificationCode::BadMessageLength, "{len} {kind}");
            assert_eq!(refused.data[..], len.to_be_bytes(), "{len} {kind}");
        }
        let refused = refusal(header(19, 9), MAX_MESSAGE_LEN);
        assert_eq!((refused.code, &refused.data[..]), (NotificationCode::BadMessageType, &[9][..]));
    }

    #[test]
    fn extended_messages_are_for_updates_and_the_like() {
        let limit = EXTENDED_MESSAGE_LEN;
        assert_eq!(split_frame(&mut header(65535, 2), limit), Ok(None));
        let open = refusal(header(4097, 1), limit);
        assert_eq!(open.code, NotificationCode::BadMessageLength);
    }
}
