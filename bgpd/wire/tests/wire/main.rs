//! Messages as the RFCs lay them out, octet by octet, and as chance makes them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod captured;
mod golden;
mod packing;
mod properties;
mod recorded;
mod rfc7606;
mod rules;

use bgp_wire::{
    EXTENDED_MESSAGE_LEN, Families, Message, Notification, PeerKind, SessionParameters, Update,
    split_frame,
};
use bytes::{BufMut, BytesMut};

/// Octets from hexadecimal digits; what follows a `#` is said to the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text
        .lines()
        .flat_map(|line| line.split('#').next().unwrap_or_default().chars())
        .filter_map(|c| c.to_digit(16))
        .collect();
    assert_eq!(digits.len() % 2, 0, "half an octet in {text}");
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

fn session(peer_kind: PeerKind) -> SessionParameters {
    SessionParameters {
        peer_kind,
        four_octet_as: true,
        receive_extended: false,
        send_extended: false,
        families: Families::BOTH,
        ..SessionParameters::before_open(peer_kind)
    }
}

/// A message around a body.
fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.put_u16(body.len() as u16 + 19);
    out.put_u8(kind);
    out.put_slice(body);
    out
}

/// The body of an UPDATE.
fn update_body(withdrawn: &[u8], attributes: &[u8], nlri: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u16(withdrawn.len() as u16);
    out.put_slice(withdrawn);
    out.put_u16(attributes.len() as u16);
    out.put_slice(attributes);
    out.put_slice(nlri);
    out
}

fn decode_all(octets: &[u8], session: &SessionParameters) -> Result<Vec<Message>, Notification> {
    let mut buffer = BytesMut::from(octets);
    let mut messages = Vec::new();
    while let Some(frame) = split_frame(&mut buffer, EXTENDED_MESSAGE_LEN)? {
        messages.push(Message::decode(&frame, session)?);
    }
    assert!(buffer.is_empty(), "half a message is left");
    Ok(messages)
}

fn decode_updates(octets: &[u8], session: &SessionParameters) -> Vec<Update> {
    let messages = decode_all(octets, session).unwrap();
    messages
        .into_iter()
        .map(|message| match message {
            Message::Update(update) => update,
            other => panic!("no UPDATE: {other:?}"),
        })
        .collect()
}

fn decode_update(body: &[u8], session: &SessionParameters) -> Result<Update, Notification> {
    match decode_all(&framed(2, body), session)?.pop() {
        Some(Message::Update(update)) => Ok(update),
        other => panic!("no UPDATE: {other:?}"),
    }
}
