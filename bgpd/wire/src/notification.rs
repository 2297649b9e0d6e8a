use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    HEADER_LEN, MAX_MESSAGE_LEN, MessageType,
    framing::{begin_message, end_message},
    reader::Reader,
};

/// The longest shutdown message (RFC 9003 §2), in octets of UTF-8.
const SHUTDOWN_MESSAGE_LEN: usize = 255;

macro_rules! notification_codes {
    ($($code:literal, $subcode:literal => $name:ident, $text:literal;)*) => {
        /// Why a session ends: error code and subcode in one name. Numbers of neither table of
        /// ours survive a round trip in [`Self::Unknown`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum NotificationCode {
            $(#[doc = $text] $name,)*
            Unknown { code: u8, subcode: u8 },
        }

        impl NotificationCode {
            /// Every code that has a name.
            pub const NAMED: &[Self] = &[$(Self::$name),*];

            pub const fn from_octets(code: u8, subcode: u8) -> Self {
                match (code, subcode) {
                    $(($code, $subcode) => Self::$name,)*
                    _ => Self::Unknown { code, subcode },
                }
            }

            /// Error code and error subcode.
            pub const fn to_octets(self) -> (u8, u8) {
                match self {
                    $(Self::$name => ($code, $subcode),)*
                    Self::Unknown { code, subcode } => (code, subcode),
                }
            }
        }

        impl fmt::Display for NotificationCode {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => f.pad($text),)*
                    Self::Unknown { code, subcode } => write!(f, "unknown error {code}/{subcode}"),
                }
            }
        }
    };
}

// RFC 4271 §4.5, RFC 4486 §3 (6/1 to 6/8), RFC 5492 §3 (2/7), RFC 6608 §3 (5/1 to 5/3),
// RFC 7313 §5 (7/1), RFC 8538 §3 (6/9), RFC 9234 §4.2 (2/11), RFC 9384 §3 (6/10),
// RFC 9687 §4 (8/0).
notification_codes! {
    1, 0 => MessageHeaderError, "message header error";
    1, 1 => ConnectionNotSynchronized, "connection not synchronized";
    1, 2 => BadMessageLength, "bad message length";
    1, 3 => BadMessageType, "bad message type";
    2, 0 => OpenMessageError, "OPEN message error";
    2, 1 => UnsupportedVersionNumber, "unsupported version number";
    2, 2 => BadPeerAs, "bad peer AS";
    2, 3 => BadBgpIdentifier, "bad BGP identifier";
    2, 4 => UnsupportedOptionalParameter, "unsupported optional parameter";
    2, 6 => UnacceptableHoldTime, "unacceptable hold time";
    2, 7 => UnsupportedCapability, "unsupported capability";
    2, 11 => RoleMismatch, "role mismatch";
    3, 0 => UpdateMessageError, "UPDATE message error";
    3, 1 => MalformedAttributeList, "malformed attribute list";
    3, 2 => UnrecognizedWellKnownAttribute, "unrecognized well-known attribute";
    3, 3 => MissingWellKnownAttribute, "missing well-known attribute";
    3, 4 => AttributeFlagsError, "attribute flags error";
    3, 5 => AttributeLengthError, "attribute length error";
    3, 6 => InvalidOriginAttribute, "invalid ORIGIN attribute";
    3, 8 => InvalidNextHopAttribute, "invalid NEXT_HOP attribute";
    3, 9 => OptionalAttributeError, "optional attribute error";
    3, 10 => InvalidNetworkField, "invalid network field";
    3, 11 => MalformedAsPath, "malformed AS_PATH";
    4, 0 => HoldTimerExpired, "hold timer expired";
    5, 0 => FiniteStateMachineError, "finite state machine error";
    5, 1 => UnexpectedMessageInOpenSent, "unexpected message in state OpenSent";
    5, 2 => UnexpectedMessageInOpenConfirm, "unexpected message in state OpenConfirm";
    5, 3 => UnexpectedMessageInEstablished, "unexpected message in state Established";
    6, 0 => Cease, "cease";
    6, 1 => MaximumPrefixesReached, "maximum number of prefixes reached";
    6, 2 => AdministrativeShutdown, "administrative shutdown";
    6, 3 => PeerDeconfigured, "peer de-configured";
    6, 4 => AdministrativeReset, "administrative reset";
    6, 5 => ConnectionRejected, "connection rejected";
    6, 6 => OtherConfigurationChange, "other configuration change";
    6, 7 => ConnectionCollisionResolution, "connection collision resolution";
    6, 8 => OutOfResources, "out of resources";
    6, 9 => HardReset, "hard reset";
    6, 10 => BfdDown, "BFD down";
    7, 0 => RouteRefreshMessageError, "ROUTE-REFRESH message error";
    7, 1 => InvalidRouteRefreshLength, "invalid ROUTE-REFRESH message length";
    8, 0 => SendHoldTimerExpired, "send hold timer expired";
}

impl NotificationCode {
    /// Whether the session ends by intent, not by error (RFC 4486).
    pub const fn is_cease(self) -> bool {
        self.to_octets().0 == 6
    }

    /// Whether the data may be a shutdown message (RFC 9003 §2).
    const fn takes_shutdown_message(self) -> bool {
        matches!(self, Self::AdministrativeShutdown | Self::AdministrativeReset)
    }
}

/// The last message of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    pub code: NotificationCode,
    /// By the code: the offending octets, a length, a shutdown message. At most 4075 octets are
    /// sent.
    pub data: Bytes,
}

impl Notification {
    pub const fn new(code: NotificationCode) -> Self {
        Self { code, data: Bytes::new() }
    }

    pub fn with_data(code: NotificationCode, data: &[u8]) -> Self {
        Self { code, data: Bytes::copy_from_slice(data) }
    }

    /// A Cease with words for the operator of the other side (RFC 9003 §2), cut to 255 octets at
    /// a character's border. Meant for administrative shutdown and reset.
    pub fn with_shutdown_message(code: NotificationCode, text: &str) -> Self {
        let text = &text[..text.floor_char_boundary(SHUTDOWN_MESSAGE_LEN)];
        let mut data = BytesMut::with_capacity(1 + text.len());
        data.put_u8(text.len() as u8);
        data.put_slice(text.as_bytes());
        Self { code, data: data.freeze() }
    }

    /// The words of the other side's operator, if there are any and they are UTF-8. Print them
    /// escaped: they come from the network.
    pub fn shutdown_message(&self) -> Option<&str> {
        if !self.code.takes_shutdown_message() {
            return None;
        }
        let mut reader = Reader::new(&self.data);
        let len = reader.u8()?;
        let text = std::str::from_utf8(reader.take(len.into())?).ok()?;
        (!text.is_empty()).then_some(text)
    }

    /// This notification as a hard reset: the peer ends the session and keeps no route, graceful
    /// restart or not (RFC 8538 §3).
    pub fn into_hard_reset(self) -> Self {
        let (code, subcode) = self.code.to_octets();
        let mut data = BytesMut::with_capacity(2 + self.data.len());
        data.put_u8(code);
        data.put_u8(subcode);
        data.put_slice(&self.data);
        Self { code: NotificationCode::HardReset, data: data.freeze() }
    }

    /// What a hard reset carries inside (RFC 8538 §3).
    pub fn inside_hard_reset(&self) -> Option<Self> {
        match (self.code, &self.data[..]) {
            (NotificationCode::HardReset, [code, subcode, ..]) => Some(Self {
                code: NotificationCode::from_octets(*code, *subcode),
                data: self.data.slice(2..),
            }),
            _ => None,
        }
    }

    /// Appends the whole message.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = begin_message(out, MessageType::Notification);
        let (code, subcode) = self.code.to_octets();
        out.put_u8(code);
        out.put_u8(subcode);
        let room = MAX_MESSAGE_LEN - HEADER_LEN - 2;
        out.put_slice(&self.data[..self.data.len().min(room)]);
        end_message(out, start);
    }

    /// Reads what follows the header. No error is possible but a short one, which framing refuses.
    pub(crate) fn decode(body: &Bytes) -> Option<Self> {
        let mut reader = Reader::new(body);
        let code = NotificationCode::from_octets(reader.u8()?, reader.u8()?);
        Some(Self { code, data: Bytes::copy_from_slice(reader.rest()) })
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(inside) = self.inside_hard_reset() {
            return write!(f, "hard reset: {inside}");
        }
        let (code, subcode) = self.code.to_octets();
        write!(f, "{} ({code}/{subcode})", self.code)?;
        match self.shutdown_message() {
            Some(text) => write!(f, ": {text:?}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Notification {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Frame, split_frame};

    fn round_trip(sent: &Notification) -> Notification {
        let mut buffer = BytesMut::new();
        sent.encode(&mut buffer);
        let Frame { body, .. } = split_frame(&mut buffer, MAX_MESSAGE_LEN).unwrap().unwrap();
        Notification::decode(&body).unwrap()
    }

    #[test]
    fn every_code_survives() {
        for code in 0..=u8::MAX {
            for subcode in 0..=u8::MAX {
                let name = NotificationCode::from_octets(code, subcode);
                assert_eq!(name.to_octets(), (code, subcode));
            }
        }
        for &code in NotificationCode::NAMED {
            let sent = Notification::with_data(code, b"\x01\x02\x03");
            assert_eq!(round_trip(&sent), sent);
        }
    }

    #[test]
    fn a_shutdown_message_is_cut_between_characters() {
        let code = NotificationCode::AdministrativeShutdown;
        let sent = Notification::with_shutdown_message(code, &"é".repeat(200));
        assert_eq!(round_trip(&sent).shutdown_message(), Some("é".repeat(127).as_str()));
        let sent = Notification::with_shutdown_message(code, "maintenance\n");
        assert_eq!(sent.to_string(), r#"administrative shutdown (6/2): "maintenance\n""#);
        assert_eq!(Notification::with_data(code, &[9, b'x']).shutdown_message(), None);
        assert_eq!(Notification::with_data(code, &[1, 0xff]).shutdown_message(), None);
        assert_eq!(Notification::new(code).shutdown_message(), None);
    }

    #[test]
    fn a_hard_reset_wraps_another() {
        let inner = Notification::with_shutdown_message(
            NotificationCode::AdministrativeReset,
            "new software",
        );
        let outer = round_trip(&inner.clone().into_hard_reset());
        assert_eq!(outer.code, NotificationCode::HardReset);
        assert_eq!(outer.inside_hard_reset(), Some(inner));
    }

    #[test]
    fn long_data_is_cut_to_a_message() {
        let sent = Notification::with_data(NotificationCode::BadMessageLength, &[7; 5000]);
        assert_eq!(round_trip(&sent).data.len(), 4075);
    }
}
