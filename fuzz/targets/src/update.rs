use bgp_wire::{Message, MessageType, Notification, SessionParameters, Update};

use crate::input::session;

const EXTENDED_LENGTH: u8 = 0x10;

/// The body of an UPDATE: the quick reader of attributes says what the thorough one says.
///
/// A length of two octets where one would do changes nothing of the meaning, and the quick reader
/// passes such messages on.
pub fn update(data: &[u8]) {
    let Some((&bits, body)) = data.split_first() else { return };
    let session = session(bits);
    let Some(spelled) = spelled_otherwise(body) else { return };
    let (one, other) = (decode(body, &session), decode(&spelled, &session));
    match (one, other) {
        (Ok(one), Ok(other)) => {
            let faults = |update: &Update| -> Vec<_> {
                update.malformed.iter().map(|fault| (fault.kind, fault.consequence)).collect()
            };
            assert_eq!(faults(&one), faults(&other));
            let bare = |update: Update| Update { malformed: Vec::new(), ..update };
            assert_eq!(bare(one), bare(other));
        }
        (Err(one), Err(other)) => assert_eq!(one.code, other.code),
        (one, other) => panic!("{one:?} is not {other:?}"),
    }
}

fn decode(body: &[u8], session: &SessionParameters) -> Result<Update, Notification> {
    match Message::decode_body(MessageType::Update, body, session)? {
        Message::Update(update) => Ok(update),
        other => panic!("no UPDATE: {other:?}"),
    }
}

/// The same with a longer length in its first attribute; `None` where there is none that is whole and
/// short.
fn spelled_otherwise(body: &[u8]) -> Option<Vec<u8>> {
    let withdrawn = usize::from(u16::from_be_bytes(*body.first_chunk()?));
    let len_at = 2 + withdrawn;
    let attributes_len = u16::from_be_bytes(*body.get(len_at..)?.first_chunk()?);
    let start = len_at + 2;
    let field = body.get(start..start + usize::from(attributes_len))?;
    let &[flags, _, len, ..] = field else { return None };
    if flags & EXTENDED_LENGTH != 0 || field.len() < 3 + usize::from(len) {
        return None;
    }
    let mut spelled = body.to_vec();
    spelled[start] |= EXTENDED_LENGTH;
    spelled.insert(start + 2, 0);
    spelled[len_at..start].copy_from_slice(&attributes_len.checked_add(1)?.to_be_bytes());
    Some(spelled)
}
