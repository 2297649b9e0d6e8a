use bytes::{BufMut, Bytes, BytesMut};

use crate::{Error, Information, octets::Reader};

/// Why a session is over (RFC 7854 §4.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerDownReason {
    /// We have sent this NOTIFICATION, with its header.
    LocalNotification(Bytes),
    /// We have ended it without a word, by this event of RFC 4271 §8.1; zero where none fits.
    LocalEvent(u16),
    /// The peer has sent this NOTIFICATION, with its header.
    RemoteNotification(Bytes),
    /// The connection is gone, and nobody has said why.
    RemoteSilence,
    /// The peer is no more shown, whatever becomes of the session.
    NotMonitored,
    /// Of Loc-RIB: it is no more (RFC 9069 §5.3).
    LocRibClosed(Vec<Information>),
}

impl PeerDownReason {
    pub(crate) fn encode(&self, out: &mut BytesMut) -> Result<(), Error> {
        match self {
            Self::LocalNotification(octets) => {
                out.put_u8(1);
                out.put_slice(octets);
            }
            Self::LocalEvent(event) => {
                out.put_u8(2);
                out.put_u16(*event);
            }
            Self::RemoteNotification(octets) => {
                out.put_u8(3);
                out.put_slice(octets);
            }
            Self::RemoteSilence => out.put_u8(4),
            Self::NotMonitored => out.put_u8(5),
            Self::LocRibClosed(information) => {
                out.put_u8(6);
                Information::encode_all(information, out)?;
            }
        }
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let reason = reader.u8()?;
        Ok(match reason {
            1 => Self::LocalNotification(rest(reader)?),
            2 => Self::LocalEvent(reader.u16()?),
            3 => Self::RemoteNotification(rest(reader)?),
            4 => Self::RemoteSilence,
            5 => Self::NotMonitored,
            6 => Self::LocRibClosed(Information::decode_all(reader)?),
            other => return Err(Error::DownReason(other)),
        })
    }
}

fn rest(reader: &mut Reader<'_>) -> Result<Bytes, Error> {
    reader.take(reader.0.len()).map(Bytes::copy_from_slice)
}
