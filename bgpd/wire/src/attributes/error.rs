use crate::{AsPathError, AttributeType, NlriError, Notification, NotificationCode};

/// What follows from a malformed attribute (RFC 7606 §2), the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Consequence {
    /// The attribute is left out and the UPDATE goes on.
    AttributeDiscard,
    /// All prefixes of the UPDATE count as withdrawn.
    TreatAsWithdraw,
    /// The prefixes cannot be told, so neither can what has become of them: the session ends.
    SessionReset,
}

/// What is wrong with an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeFault {
    #[error("wrong flags 0x{0:02x}")]
    Flags(u8),
    #[error("wrong length {0}")]
    Length(usize),
    #[error("runs over the end of the attributes")]
    Overrun,
    #[error("missing")]
    Missing,
    #[error("stands twice")]
    Duplicate,
    #[error("not allowed from an external peer")]
    FromExternalPeer,
    #[error("not allowed from a peer with four-octet AS numbers")]
    FromFourOctetPeer,
    #[error("undefined value {0}")]
    Value(u8),
    #[error("an address that can be no next hop")]
    NextHop,
    #[error("a next hop of {0} octets")]
    NextHopLength(u8),
    #[error("AS number zero")]
    AsZero,
    #[error("unrecognized though well-known")]
    Unrecognized,
    #[error("a family that was not agreed on")]
    Family,
    #[error(transparent)]
    AsPath(#[from] AsPathError),
    #[error(transparent)]
    Nlri(#[from] NlriError),
}

/// A malformed attribute and what follows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {fault}")]
pub struct AttributeError {
    pub kind: AttributeType,
    pub fault: AttributeFault,
    pub consequence: Consequence,
}

impl AttributeError {
    /// The NOTIFICATION that tells the fault, for a session reset (RFC 4271 §6.3). `attribute` is
    /// the whole attribute as it came, where it is still at hand.
    pub(crate) fn notification(&self, attribute: &[u8]) -> Notification {
        use AttributeFault as Fault;
        let code = match self.fault {
            Fault::Flags(_) => NotificationCode::AttributeFlagsError,
            Fault::Length(_) if self.kind.flags().is_some_and(|flags| flags & 0x80 != 0) => {
                NotificationCode::OptionalAttributeError
            }
            Fault::Length(_) => NotificationCode::AttributeLengthError,
            Fault::Missing => {
                return Notification::with_data(
                    NotificationCode::MissingWellKnownAttribute,
                    &[self.kind.0],
                );
            }
            Fault::Overrun | Fault::Duplicate => {
                return Notification::new(NotificationCode::MalformedAttributeList);
            }
            Fault::Value(_) => NotificationCode::InvalidOriginAttribute,
            Fault::NextHop => NotificationCode::InvalidNextHopAttribute,
            Fault::AsPath(_) => return Notification::new(NotificationCode::MalformedAsPath),
            Fault::Unrecognized => NotificationCode::UnrecognizedWellKnownAttribute,
            Fault::FromExternalPeer
            | Fault::FromFourOctetPeer
            | Fault::NextHopLength(_)
            | Fault::AsZero
            | Fault::Family
            | Fault::Nlri(_) => NotificationCode::OptionalAttributeError,
        };
        Notification::with_data(code, attribute)
    }
}
