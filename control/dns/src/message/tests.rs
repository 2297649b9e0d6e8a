use std::net::Ipv4Addr;

use domain::{
    base::{Record, Ttl},
    rdata::{A, ZoneRecordData},
};
use proptest::prelude::*;

use super::*;

fn request(name: &str, edns: Option<u16>) -> Vec<u8> {
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(7);
    builder.header_mut().set_rd(true);
    let mut builder = builder.question();
    builder.push((Name::vec_from_str(name).unwrap(), Rtype::A, Class::IN)).unwrap();
    let mut builder = builder.additional();
    if let Some(payload) = edns {
        builder
            .opt(|opt| {
                opt.set_udp_payload_size(payload);
                Ok(())
            })
            .unwrap();
    }
    builder.finish()
}

fn parse(bytes: &[u8]) -> Result<Query, Rejection> {
    Query::parse(bytes, Transport::Udp)
}

fn refused(bytes: &[u8]) -> OptRcode {
    match parse(bytes) {
        Err(rejection @ Rejection::Refuse { rcode, id: 7, .. }) => {
            let answer = rejection.encode().unwrap();
            let answer = Message::from_octets(answer).unwrap();
            assert!(answer.header().qr() && answer.header().id() == 7);
            assert_eq!(answer.opt_rcode(), rcode);
            rcode
        }
        other => panic!("{other:?}"),
    }
}

fn many(count: usize) -> Response {
    let name = Name::vec_from_str("s.a.svc.cluster.local").unwrap();
    let data = |number: usize| ZoneRecordData::A(A::new(Ipv4Addr::from(number as u32)));
    let record = |number| Record::new(name.clone(), Class::IN, Ttl::from_secs(5), data(number));
    Response { answers: (0..count).map(record).collect(), ..Response::of(Rcode::NOERROR) }
}

#[test]
fn a_query_is_read_as_it_was_spelled() {
    let query = parse(&request("Echo.Default.svc.cluster.local", Some(1400))).unwrap();
    assert_eq!(query.name.to_string(), "Echo.Default.svc.cluster.local");
    assert_eq!((query.id, query.rtype, query.recursion_desired), (7, Rtype::A, true));
    assert_eq!(query.edns, Some(Edns { payload: 1400, dnssec_ok: false }));
    assert_eq!(parse(&request("a", None)).unwrap().edns, None);
}

#[test]
fn what_is_wrong_is_refused_by_its_name() {
    let good = request("a.example", Some(1232));
    let with = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    assert_eq!(refused(&with(2, 0x28)), OptRcode::NOTIMP, "an update");
    assert_eq!(refused(&with(5, 2)), OptRcode::FORMERR, "two questions");
    assert_eq!(refused(&with(5, 0)), OptRcode::FORMERR, "no question");
    assert_eq!(refused(&with(7, 1)), OptRcode::FORMERR, "an answer that is not there");
    assert_eq!(refused(&with(12, 0xff)), OptRcode::FORMERR, "a pointer to nowhere");
    assert_eq!(refused(&good[..good.len() - 4]), OptRcode::FORMERR, "cut off");
    let class = 12 + 11 + 3;
    assert_eq!(refused(&with(class, 3)), OptRcode::REFUSED, "CHAOS");
    assert_eq!(refused(&with(class - 2, 252)), OptRcode::REFUSED, "a zone transfer");
    let version = good.len() - 5;
    assert_eq!(refused(&with(version, 1)), OptRcode::BADVERS);
    let mut twice = with(11, 2);
    twice.extend(&good[good.len() - OPT_BYTES..]);
    assert_eq!(refused(&twice), OptRcode::FORMERR, "EDNS twice");
}

#[test]
fn what_is_no_query_is_dropped() {
    assert_eq!(parse(&[]), Err(Rejection::Drop));
    assert_eq!(parse(&[0; 11]), Err(Rejection::Drop));
    let mut answer = request("a", None);
    answer[2] |= 0x80;
    assert_eq!(parse(&answer), Err(Rejection::Drop));
    assert_eq!(Rejection::Drop.encode(), None);
}

#[test]
fn what_does_not_fit_is_cut_and_says_so() {
    for (edns, limit) in [(None, 512), (Some(600), 600), (Some(100), 512), (Some(4096), 1232)] {
        let query = parse(&request("s.a.svc.cluster.local", edns)).unwrap();
        let (bytes, cut) = many(100).encode(&query);
        assert!(cut && bytes.len() <= limit && bytes.len() > limit - 40, "{}", bytes.len());
        let message = Message::from_octets(bytes).unwrap();
        assert!(message.header().tc());
        assert_eq!(message.opt().is_some(), edns.is_some());
    }
    let query = Query::parse(&request("s.a.svc.cluster.local", None), Transport::Tcp).unwrap();
    let (bytes, cut) = many(2000).encode(&query);
    assert!(!cut);
    assert_eq!(Message::from_octets(bytes).unwrap().answer().unwrap().count(), 2000);
}

#[test]
fn a_short_answer_has_everything() {
    let query = parse(&request("s.a.svc.cluster.local", Some(1232))).unwrap();
    let (bytes, cut) = many(3).encode(&query);
    let message = Message::from_octets(bytes).unwrap();
    assert!(!cut && !message.header().tc() && message.header().rd() && message.header().ra());
    assert_eq!(message.sole_question().unwrap().qtype(), Rtype::A);
    // Names after the first are two bytes each.
    assert!(message.as_slice().len() < 12 + 28 + 3 * 16 + OPT_BYTES, "{message:?}");
}

#[test]
fn a_forwarded_answer_has_grown_older() {
    let query = parse(&request("s.a.svc.cluster.local", Some(1232))).unwrap();
    let (bytes, _) = many(2).encode(&query);
    for (age, left) in [(0, 5), (3, 2), (9, 0)] {
        let forwarded = Some((Arc::new(bytes.clone()), age));
        let (again, _) = Response { forwarded, ..Response::of(Rcode::NOERROR) }.encode(&query);
        let message = Message::from_octets(again).unwrap();
        let ttls = message.answer().unwrap().flatten().map(|record| record.ttl().as_secs());
        assert_eq!(ttls.collect::<Vec<_>>(), [left, left]);
        assert_eq!(message.header_counts().arcount(), 1, "one OPT, our own");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Err(rejection) = parse(&bytes) {
            rejection.encode();
        }
    }

    /// A good query with some of its bytes changed or cut off.
    #[test]
    fn damaged_queries_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut bytes = request("echo.default.svc.cluster.local", Some(1232));
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if !whole {
            bytes.truncate(cut.index(bytes.len()));
        }
        match parse(&bytes) {
            Ok(query) => {
                let (answer, _) = many(40).encode(&query);
                prop_assert!(answer.len() <= PAYLOAD_MAX.into());
                prop_assert!(Message::from_octets(answer).is_ok());
            }
            Err(rejection) => {
                rejection.encode();
            }
        }
    }

    /// Whatever a name server says, it becomes an answer that can be read.
    #[test]
    fn random_answers_never_panic(bytes in prop::collection::vec(any::<u8>(), 12..600)) {
        let query = parse(&request("a.example", None)).unwrap();
        let forwarded = Some((Arc::new(bytes), 1));
        let (answer, _) = Response { forwarded, ..Response::of(Rcode::NOERROR) }.encode(&query);
        prop_assert!(answer.len() <= PAYLOAD_MIN.into());
    }
}
