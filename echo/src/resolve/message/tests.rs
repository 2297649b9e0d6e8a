use proptest::prelude::*;

use super::*;

/// An answer to `question`, made by hand: aliases, then addresses, with the name compressed.
pub(crate) fn answer(question: &Question, code: u8, addresses: &[IpAddr]) -> Vec<u8> {
    let mut message = question.encode();
    message[2] |= 0x80;
    message[3] |= code;
    message[6..8].copy_from_slice(&(addresses.len() as u16).to_be_bytes());
    for address in addresses {
        message.extend([0xc0, HEADER_LEN as u8]);
        let (kind, data) = match address {
            IpAddr::V4(v4) => (TYPE_A, v4.octets().to_vec()),
            IpAddr::V6(v6) => (TYPE_AAAA, v6.octets().to_vec()),
        };
        record(&mut message, kind, &data);
    }
    message
}

/// A record without its owner.
fn record(message: &mut Vec<u8>, kind: u16, data: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    message.extend(30u32.to_be_bytes());
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
}

fn question(name: &str, family: Family) -> Question {
    Question { id: 0x1234, name: Name::parse(name).unwrap(), family }
}

#[test]
fn a_question_is_as_the_rfc_draws_it() {
    let bytes = question("A.bc", Family::V6).encode();
    assert_eq!(
        bytes,
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x02bc\x00\x00\x1c\x00\x01"
    );
}

#[test]
fn aliases_are_followed() {
    let asked = question("a.example", Family::V4);
    let mut message = asked.encode();
    message[2] |= 0x80;
    message[7] = 3;
    // The address stands before the alias that leads to it; a stranger's is not taken.
    message.extend(b"\x01b\xc0\x0e");
    record(&mut message, TYPE_A, &[10, 0, 0, 2]);
    message.extend(b"\x01A\xc0\x0e");
    record(&mut message, TYPE_CNAME, b"\x01b\xc0\x0e");
    message.extend(b"\x01c\xc0\x0e");
    record(&mut message, TYPE_A, &[10, 0, 0, 3]);
    let answer = decode(&message, &asked);
    assert_eq!(answer, Some(Answer::Addresses(vec![[10, 0, 0, 2].into()])));
}

#[test]
fn aliases_in_a_circle_end() {
    let asked = question("a.example", Family::V4);
    let mut message = asked.encode();
    message[2] |= 0x80;
    message[7] = 1;
    message.extend(b"\xc0\x0c");
    record(&mut message, TYPE_CNAME, b"\xc0\x0c");
    assert_eq!(decode(&message, &asked), Some(Answer::Addresses(Vec::new())));
}

#[test]
fn a_pointer_leads_backwards_only() {
    let asked = question("a.example", Family::V4);
    let mut message = asked.encode();
    message[2] |= 0x80;
    message[7] = 1;
    let at = message.len() as u8;
    message.extend([0xc0, at]);
    record(&mut message, TYPE_A, &[10, 0, 0, 2]);
    assert_eq!(decode(&message, &asked), None);
}

#[test]
fn codes_are_told_apart() {
    let asked = question("a.example", Family::V4);
    let decoded = |code| decode(&answer(&asked, code, &[]), &asked);
    assert_eq!(decoded(0), Some(Answer::Addresses(Vec::new())));
    assert_eq!(decoded(3), Some(Answer::Addresses(Vec::new())));
    assert_eq!(decoded(2), Some(Answer::Failed(2)));
    let mut truncated = answer(&asked, 0, &[]);
    truncated[2] |= 0x02;
    assert_eq!(decode(&truncated, &asked), Some(Answer::Truncated));
    let refused = b"\x12\x34\x80\x05\x00\x00\x00\x00\x00\x00\x00\x00";
    assert_eq!(decode(refused, &asked), Some(Answer::Failed(5)));
}

#[test]
fn what_answers_another_question_is_none() {
    let asked = question("a.example", Family::V4);
    let of = |question: &Question| decode(&answer(question, 0, &[]), &asked);
    assert!(of(&asked).is_some());
    assert!(of(&question("A.EXAMPLE", Family::V4)).is_some(), "case does not count");
    assert_eq!(of(&question("b.example", Family::V4)), None);
    assert_eq!(of(&question("a.example", Family::V6)), None);
    assert_eq!(of(&Question { id: 1, ..asked.clone() }), None);
    assert_eq!(decode(&asked.encode(), &asked), None, "a question");
}

#[test]
fn names_have_their_limits() {
    assert!(Name::parse(&"a".repeat(63)).is_some());
    assert!(Name::parse(&"a".repeat(64)).is_none());
    assert!(Name::parse("a..b").is_none());
    assert!(Name::parse("").is_none());
    assert!(Name::parse(&["a"; 127].join(".")).is_some());
    assert!(Name::parse(&["a"; 128].join(".")).is_none());
}

proptest! {
    #[test]
    fn what_is_answered_is_read(
        id: u16,
        name in "[a-z0-9-]{1,63}(\\.[a-z0-9-]{1,20}){0,4}",
        v4 in prop::collection::vec(any::<[u8; 4]>(), 0..6),
        v6 in prop::collection::vec(any::<[u8; 16]>(), 0..6),
        cut: prop::sample::Index,
    ) {
        let name = Name::parse(&name).unwrap();
        let both: Vec<IpAddr> =
            v4.iter().map(|&one| one.into()).chain(v6.iter().map(|&one| one.into())).collect();
        for family in [Family::V4, Family::V6] {
            let question = Question { id, name: name.clone(), family };
            let wanted: Vec<IpAddr> =
                both.iter().copied().filter(|one| one.is_ipv4() == (family == Family::V4)).collect();
            let message = answer(&question, 0, &both);
            prop_assert_eq!(decode(&message, &question), Some(Answer::Addresses(wanted)));
            let end = cut.index(message.len());
            prop_assert_eq!(decode(&message[..end], &question), None, "cut at {}", end);
        }
    }

    #[test]
    fn nothing_is_too_malformed(tail: Vec<u8>, id: u16, counts: [u8; 2]) {
        let asked = Question { id, ..question("a.example", Family::V4) };
        let mut message = asked.encode();
        message[2] |= 0x80;
        message[6..8].copy_from_slice(&counts);
        message.extend(tail);
        // That it returns is what is shown.
        let _ = decode(&message, &asked);
    }

    #[test]
    fn no_bytes_are_too_strange(message: Vec<u8>, at in 0..64usize) {
        let _ = decode(&message, &question("a", Family::V6));
        let _ = Name::read(&message, at);
    }
}
