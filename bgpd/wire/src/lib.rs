//! BGP-4 on the wire: messages, path attributes, capabilities and the codes of NOTIFICATION.
//!
//! Pure: octets in, values out, and back. What arrives is never trusted; malformed input is a
//! value that carries its consequence (RFC 7606), in the end either an [`Update`] with the
//! consequence applied or the [`Notification`] that ends the session.
//!
//! The way of a message: [`split_frame`] cuts a [`Frame`] out of what was received,
//! [`Message::decode`] reads it under the [`SessionParameters`] that the OPENs have agreed on.
//! UPDATEs are written by [`encode_announcements`], [`encode_withdrawals`] and
//! [`encode_end_of_rib`], which put as many prefixes into a message as fit.

mod as_path;
mod attributes;
mod capability;
mod community;
mod framing;
mod message;
mod nlri;
mod notification;
mod open;
mod reader;
mod role;
mod session;
mod update;

pub use as_path::{AsPath, AsPathError, AsPathParseError, Segment, SegmentKind};
pub use attributes::{
    Aggregator, AttributeError, AttributeFault, AttributeItem, AttributeItems, AttributeSet,
    AttributeType, Consequence, Edit, Facts, Number, Origin, PartialBits, PathAttributes, Rewrite,
    UnknownAttribute,
};
pub use capability::{
    AddPathFamily, AfiSafi, Capability, GracefulRestart, GracefulRestartFamily, LongLivedFamily,
};
pub use community::{Community, CommunityParseError, ExtendedCommunity, LargeCommunity};
pub use framing::{
    EXTENDED_MESSAGE_LEN, Frame, FrameRef, HEADER_LEN, MAX_MESSAGE_LEN, MessageType, first_frame,
    split_frame,
};
pub use message::{Message, RouteRefresh, RouteRefreshSubtype};
pub use nlri::{Nlri, NlriError};
pub use notification::{Notification, NotificationCode};
pub use open::{HoldTime, Open};
pub use role::Role;
pub use session::{Families, PeerKind, SessionParameters};
pub use update::{
    Announcement, BgpNextHop, EncodeError, Update, encode_announcements, encode_end_of_rib,
    encode_withdrawals, fits,
};
