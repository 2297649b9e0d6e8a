use bgp_wire::{
    Message, SessionParameters, encode_announcements, encode_withdrawals, first_frame, split_frame,
};
use bytes::BytesMut;

use crate::input::session;

/// A stream of messages on a session that the first octet describes: none is read beyond its end, and
/// what has been understood is understood again when it has been written.
pub fn message(data: &[u8]) {
    let Some((&bits, mut stream)) = data.split_first() else { return };
    let session = session(bits);
    let limit = session.receive_limit();
    let mut buffer = BytesMut::from(stream);
    loop {
        let frame = first_frame(stream, limit);
        let again = split_frame(&mut buffer, limit);
        let (frame, again) = match (frame, again) {
            (Ok(Some(frame)), Ok(Some(again))) => (frame, again),
            (Ok(None), Ok(None)) => return,
            (Err(one), Err(other)) => return assert_eq!(one, other),
            (one, other) => panic!("{one:?} is not {other:?}"),
        };
        assert_eq!((frame.kind, frame.body), (again.kind, &again.body[..]));
        stream = &stream[frame.whole_len()..];
        match Message::decode_body(frame.kind, frame.body, &session) {
            Ok(message) => say_again(&message, &session),
            Err(refusal) => say_again(&Message::Notification(refusal), &session),
        }
    }
}

fn say_again(message: &Message, session: &SessionParameters) {
    let mut said = BytesMut::new();
    match message {
        Message::Open(open) => open.encode(&mut said),
        Message::Notification(notification) => notification.encode(&mut said),
        Message::Keepalive => Message::encode_keepalive(&mut said),
        Message::RouteRefresh(refresh) => refresh.encode(&mut said),
        Message::Update(update) => {
            let mut withdrawn = Vec::new();
            encode_withdrawals(session, &update.withdrawn, &mut said);
            for message in decode_all(&said, session) {
                let Message::Update(update) = message else { panic!("{message:?}") };
                withdrawn.extend(update.withdrawn);
            }
            let (mut told, mut heard) = (update.withdrawn.clone(), withdrawn);
            told.sort();
            heard.sort();
            assert_eq!(told, heard);
            return announce_again(update, session);
        }
    }
    let heard = decode_all(&said, session);
    assert_eq!(heard.as_slice(), std::slice::from_ref(message));
}

fn announce_again(update: &bgp_wire::Update, session: &SessionParameters) {
    for announcement in &update.announced {
        let (next_hop, prefixes) = (announcement.next_hop, &announcement.prefixes);
        let mut said = BytesMut::new();
        if encode_announcements(session, &update.attributes, next_hop, prefixes, &mut said).is_err()
        {
            continue;
        }
        let mut heard = Vec::new();
        for message in decode_all(&said, session) {
            let Message::Update(again) = message else { panic!("{message:?}") };
            assert_eq!(again.malformed, []);
            // An AS that needs four octets may stand where two of them cannot tell it (RFC 6793 §4.2.2).
            if session.four_octet_as {
                assert_eq!(again.attributes, update.attributes);
            }
            for one in again.announced {
                assert_eq!(one.next_hop, next_hop);
                heard.extend(one.prefixes);
            }
        }
        assert_eq!(&heard, prefixes);
    }
}

fn decode_all(mut octets: &[u8], session: &SessionParameters) -> Vec<Message> {
    let mut messages = Vec::new();
    while let Some(frame) = first_frame(octets, session.send_limit()).unwrap() {
        octets = &octets[frame.whole_len()..];
        messages.push(Message::decode_body(frame.kind, frame.body, session).unwrap());
    }
    assert!(octets.is_empty(), "half a message was said");
    messages
}
