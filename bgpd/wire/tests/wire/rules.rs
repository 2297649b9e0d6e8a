//! The rules of RFC 7606, each held against every attribute that it is about: what `rfc7606` says by
//! examples is here worked through.

use bgp_wire::{
    AttributeType as T, Consequence, Notification, NotificationCode as Code, PeerKind,
    SessionParameters, Update,
};

use crate::{decode_update, hex, session, update_body};

const DISCARD: Option<Consequence> = Some(Consequence::AttributeDiscard);
const WITHDRAW: Option<Consequence> = Some(Consequence::TreatAsWithdraw);
const RESET: Option<Consequence> = Some(Consequence::SessionReset);

/// What a document says of one attribute.
struct Rule {
    kind: T,
    /// Its optional and transitive bits.
    flags: u8,
    /// A value without fault.
    good: &'static str,
    /// RFC 7606 §7: whether a value may be so long, and what follows where not.
    fits: fn(usize) -> bool,
    otherwise: Option<Consequence>,
    /// RFC 7606 §7.5, §7.9, §7.10.
    internal_only: bool,
}

const fn rule(
    kind: T,
    flags: u8,
    good: &'static str,
    fits: fn(usize) -> bool,
    otherwise: Option<Consequence>,
) -> Rule {
    Rule { kind, flags, good, fits, otherwise, internal_only: false }
}

const fn internal(rule: Rule) -> Rule {
    Rule { internal_only: true, ..rule }
}

const REACH: &str = "0002 01 10 20010db8000000000000000000000001 00 20 20010db8";

/// RFC 7606 §7 in its order; RFC 8092 §6 and RFC 9234 §5 for what is younger; RFC 6793 §6 does not apply where AS
/// numbers have four octets, and has a test of its own.
const RULES: &[Rule] = &[
    rule(T::ORIGIN, 0x40, "00", |len| len == 1, WITHDRAW),
    // One segment of one AS, or nothing.
    rule(T::AS_PATH, 0x40, "02 01 0000fde9", |len| len == 0 || len == 6, WITHDRAW),
    rule(T::NEXT_HOP, 0x40, "c0000201", |len| len == 4, WITHDRAW),
    rule(T::MULTI_EXIT_DISC, 0x80, "00000001", |len| len == 4, WITHDRAW),
    internal(rule(T::LOCAL_PREF, 0x40, "00000064", |len| len == 4, WITHDRAW)),
    rule(T::ATOMIC_AGGREGATE, 0x40, "", |len| len == 0, DISCARD),
    rule(T::AGGREGATOR, 0xc0, "0000fde9 c6336401", |len| len == 8, DISCARD),
    rule(T::COMMUNITIES, 0xc0, "fde80001", |len| len != 0 && len % 4 == 0, WITHDRAW),
    internal(rule(T::ORIGINATOR_ID, 0x80, "c0000205", |len| len == 4, WITHDRAW)),
    internal(rule(T::CLUSTER_LIST, 0x80, "c0000209", |len| len != 0 && len % 4 == 0, WITHDRAW)),
    rule(
        T::EXTENDED_COMMUNITIES,
        0xc0,
        "0002fde900000001",
        |len| len != 0 && len % 8 == 0,
        WITHDRAW,
    ),
    rule(
        T::LARGE_COMMUNITY,
        0xc0,
        "000000010000000200000003",
        |len| len != 0 && len % 12 == 0,
        WITHDRAW,
    ),
    // RFC 9234 §5.
    rule(T::ONLY_TO_CUSTOMER, 0xc0, "0000fde9", |len| len == 4, WITHDRAW),
    // What is cut off a prefix, or stands where the next would, is another prefix or none.
    rule(T::MP_REACH_NLRI, 0x80, REACH, |len| len == 21 || len == 26 || len > 26, RESET),
    rule(T::MP_UNREACH_NLRI, 0x80, "0002 01 20 20010db8", |len| len == 3 || len >= 8, RESET),
];

fn attribute(kind: T, flags: u8, value: &[u8]) -> Vec<u8> {
    [&[flags, kind.0, value.len() as u8], value].concat()
}

impl Rule {
    fn with_flags(&self, flags: u8) -> Vec<u8> {
        attribute(self.kind, flags, &hex(self.good))
    }

    fn whole(&self) -> Vec<u8> {
        self.with_flags(self.flags)
    }

    /// With a value of that length: cut, or continued by zeros.
    fn of_length(&self, len: usize) -> Vec<u8> {
        let mut value = hex(self.good);
        value.resize(len, 0);
        attribute(self.kind, self.flags, &value)
    }

    fn applies(&self, session: &SessionParameters) -> bool {
        !self.internal_only || session.peer_kind == PeerKind::Internal
    }

    fn is_mandatory(&self) -> bool {
        matches!(self.kind, T::ORIGIN | T::AS_PATH | T::NEXT_HOP)
    }
}

fn rule_of(kind: T) -> &'static Rule {
    RULES.iter().find(|rule| rule.kind == kind).unwrap()
}

/// An UPDATE for 10.0.0.0/8 with these attributes, and what is mandatory where it is not among them.
fn decode(attributes: &[Vec<u8>], session: &SessionParameters) -> Result<Update, Notification> {
    let mut all = attributes.to_vec();
    for rule in RULES.iter().filter(|rule| rule.is_mandatory()) {
        if !all.iter().any(|one| one[1] == rule.kind.0) {
            all.insert(0, rule.whole());
        }
    }
    decode_update(&update_body(&[], &all.concat(), &[8, 10]), session)
}

/// What follows, as the prefixes and the session show it.
fn consequence(decoded: &Result<Update, Notification>) -> Option<Consequence> {
    let Ok(update) = decoded else { return RESET };
    let announces = !update.announced.is_empty();
    let worst = update.malformed.iter().map(|error| error.consequence).max();
    assert_eq!(announces, worst != WITHDRAW, "{update:?}");
    if worst == WITHDRAW {
        let classic = |text: &String| text == "10.0.0.0/8";
        let withdrawn: Vec<_> = update.withdrawn.iter().map(ToString::to_string).collect();
        assert!(withdrawn.iter().any(classic), "{update:?}");
    }
    assert_eq!(update.end_of_rib, None);
    worst
}

fn kinds() -> [SessionParameters; 2] {
    [session(PeerKind::Internal), session(PeerKind::External)]
}

/// What comes of an attribute that internal peers alone may send.
fn if_it_may(rule: &Rule, session: &SessionParameters) -> Option<Consequence> {
    if rule.applies(session) { None } else { DISCARD }
}

#[test]
fn every_attribute_is_taken_as_it_should_be() {
    for session in kinds() {
        for rule in RULES {
            let decoded = decode(&[rule.whole()], &session);
            assert_eq!(consequence(&decoded), if_it_may(rule, &session), "{}", rule.kind);
        }
    }
}

/// RFC 7606 §3 c, and RFC 4271 §4.3 for the bits that say nothing.
#[test]
fn flags() {
    for session in kinds() {
        for rule in RULES {
            for flags in [0x00, 0x40, 0x80, 0xc0] {
                let expected =
                    if flags == rule.flags { if_it_may(rule, &session) } else { WITHDRAW };
                for more in [0x00, 0x01, 0x0f, 0x20] {
                    let decoded = decode(&[rule.with_flags(flags | more)], &session);
                    let why = format!("{} with 0x{:02x}", rule.kind, flags | more);
                    assert_eq!(consequence(&decoded), expected, "{why}");
                }
            }
        }
    }
}

/// RFC 7606 §4 (zero) and §7.
#[test]
fn lengths() {
    for session in kinds() {
        for rule in RULES {
            for len in 0..=hex(rule.good).len() + 12 {
                let expected = match if_it_may(rule, &session) {
                    None if !(rule.fits)(len) => rule.otherwise,
                    other => other,
                };
                let decoded = decode(&[rule.of_length(len)], &session);
                assert_eq!(consequence(&decoded), expected, "{} of {len}", rule.kind);
            }
        }
    }
}

/// RFC 4271 §4.3: a length of two octets may stand where one would do.
#[test]
fn extended_lengths_where_none_is_needed() {
    for session in kinds() {
        for rule in RULES {
            let mut long = rule.whole();
            long[0] |= 0x10;
            long.insert(2, 0);
            let (decoded, plain) = (decode(&[long], &session), decode(&[rule.whole()], &session));
            assert_eq!(decoded, plain, "{}", rule.kind);
        }
    }
}

/// RFC 7606 §3 g.
#[test]
fn repeats() {
    for session in kinds() {
        for rule in RULES {
            let decoded = decode(&[rule.whole(), rule.whole()], &session);
            let severe = matches!(rule.kind, T::MP_REACH_NLRI | T::MP_UNREACH_NLRI);
            assert_eq!(
                consequence(&decoded),
                if severe { RESET } else { DISCARD },
                "{}",
                rule.kind
            );
            match decoded {
                Err(refused) => assert_eq!(refused.code, Code::MalformedAttributeList),
                Ok(update) => {
                    let once = decode(&[rule.whole()], &session).unwrap();
                    assert_eq!(update.attributes, once.attributes, "{}: the first", rule.kind);
                }
            }
        }
    }
}

/// RFC 7606 §4: the attribute that runs over the end, and the rest that is too short for any.
#[test]
fn overruns() {
    for session in kinds() {
        for rule in RULES {
            for more in [1, 2, 100] {
                let mut long = rule.whole();
                long[2] += more;
                let decoded = decode(&[rule_of(T::ORIGIN).whole(), long], &session);
                assert_eq!(consequence(&decoded), WITHDRAW, "{} and {more}", rule.kind);
            }
            for cut in 1..3 {
                let cut_short = [rule.whole()[..cut].to_vec(), Vec::new()].concat();
                let before = [T::ORIGIN, T::AS_PATH, T::NEXT_HOP].map(|kind| rule_of(kind).whole());
                let body = update_body(&[], &[before.concat(), cut_short].concat(), &[8, 10]);
                let decoded = decode_update(&body, &session);
                assert_eq!(consequence(&decoded), WITHDRAW, "{} cut to {cut}", rule.kind);
            }
        }
    }
}

/// RFC 7606 §3 h: of two faults the worse rules, whichever comes first.
#[test]
fn the_worst_fault_rules() {
    let bad = |rule: &Rule| {
        let len = (0..=12).rev().find(|len| !(rule.fits)(*len)).unwrap();
        rule.of_length(len)
    };
    for session in kinds() {
        for one in RULES {
            for other in RULES.iter().filter(|other| other.kind != one.kind) {
                let alone = |rule: &Rule| match if_it_may(rule, &session) {
                    None => rule.otherwise,
                    other => other,
                };
                let expected = alone(one).max(alone(other));
                let decoded = decode(&[bad(one), bad(other)], &session);
                assert_eq!(consequence(&decoded), expected, "{} and {}", one.kind, other.kind);
            }
        }
    }
}

/// RFC 7606 §5.1: MP_REACH_NLRI first is a wish; RFC 4271 §5: so is any order.
#[test]
fn any_order_says_the_same() {
    let session = session(PeerKind::Internal);
    let mut all: Vec<_> = RULES.iter().map(Rule::whole).collect();
    let expected = decode(&all, &session).unwrap();
    assert_eq!((expected.announced.len(), expected.withdrawn.len()), (2, 1));
    for _ in 0..all.len() {
        all.rotate_left(1);
        assert_eq!(decode(&all, &session).as_ref(), Ok(&expected));
        all.swap(0, 5);
        assert_eq!(decode(&all, &session).as_ref(), Ok(&expected));
    }
}

/// RFC 7606 §3 d.
#[test]
fn each_mandatory_attribute_is_missed() {
    let mandatory: Vec<_> = RULES.iter().filter(|rule| rule.is_mandatory()).collect();
    for missing in &mandatory {
        let rest = mandatory.iter().filter(|rule| rule.kind != missing.kind);
        let rest: Vec<_> = rest.map(|rule| rule.whole()).collect();
        for session in kinds() {
            let classic = decode_update(&update_body(&[], &rest.concat(), &[8, 10]), &session);
            assert_eq!(consequence(&classic), WITHDRAW, "{}", missing.kind);
            // NEXT_HOP is not for what stands in MP_REACH_NLRI (RFC 4760 §3).
            let mp = [rule_of(T::MP_REACH_NLRI).whole(), rest.concat()].concat();
            let update = decode_update(&update_body(&[], &mp, &[]), &session).unwrap();
            let told = update.announced.len() == 1 && update.malformed.is_empty();
            assert_eq!(told, missing.kind == T::NEXT_HOP, "{}", missing.kind);
        }
    }
}

/// RFC 7606 §5.3: every length of a prefix, in each of the four places where prefixes stand.
#[test]
fn lengths_of_prefixes() {
    let session = session(PeerKind::External);
    let good = [T::ORIGIN, T::AS_PATH, T::NEXT_HOP].map(|kind| rule_of(kind).whole()).concat();
    for len in 0..=255_u8 {
        for missing in [0, 1] {
            let octets = usize::from(len).div_ceil(8);
            let field = [&[len][..], &vec![0x20; octets.saturating_sub(missing)]].concat();
            let whole = missing == 0 || octets == 0;
            let classic = [update_body(&field, &[], &[]), update_body(&[], &good, &field)];
            for body in classic {
                let refused = decode_update(&body, &session).err().map(|refused| refused.code);
                let expected = (len > 32 || !whole).then_some(Code::InvalidNetworkField);
                assert_eq!(refused, expected, "/{len} without {missing}");
            }
            let reach = [&hex("0002 01 10 20010db8000000000000000000000001 00")[..], &field];
            let unreach = [&hex("0002 01")[..], &field];
            let mp = [
                [&good[..], &attribute(T::MP_REACH_NLRI, 0x80, &reach.concat())].concat(),
                attribute(T::MP_UNREACH_NLRI, 0x80, &unreach.concat()),
            ];
            for attributes in mp {
                let decoded = decode_update(&update_body(&[], &attributes, &[]), &session);
                let refused = decoded.err().map(|refused| refused.code);
                let expected = (len > 128 || !whole).then_some(Code::OptionalAttributeError);
                assert_eq!(refused, expected, "/{len} without {missing}, MP");
            }
        }
    }
}

/// RFC 7606 §7.2, §7.7 and RFC 6793 §6 where AS numbers have two octets; RFC 7607 §2 for AS 0.
#[test]
fn two_octet_sessions() {
    let session = SessionParameters { four_octet_as: false, ..session(PeerKind::External) };
    let path = |value: &str| attribute(T::AS_PATH, 0x40, &hex(value));
    let good = path("02 02 fbf0 5ba0");
    let cases = [
        ("AS_PATH", path("02 01 fde9"), None),
        ("AS_PATH of four octets", path("02 01 0000fde9"), WITHDRAW),
        ("AS_PATH with AS 0", path("02 02 fde9 0000"), WITHDRAW),
        ("AGGREGATOR of two octets", attribute(T::AGGREGATOR, 0xc0, &hex("fde9 c6336401")), None),
        (
            "AGGREGATOR of four octets",
            attribute(T::AGGREGATOR, 0xc0, &hex("0000fde9 c6336401")),
            DISCARD,
        ),
        ("AGGREGATOR AS 0", attribute(T::AGGREGATOR, 0xc0, &hex("0000 c6336401")), DISCARD),
        ("AS4_PATH", attribute(T::AS4_PATH, 0xc0, &hex("02 01 00010000")), None),
        ("AS4_PATH cut", attribute(T::AS4_PATH, 0xc0, &hex("02 01 000100")), DISCARD),
        ("AS4_PATH empty segment", attribute(T::AS4_PATH, 0xc0, &hex("02 00")), DISCARD),
        ("AS4_PATH segment type", attribute(T::AS4_PATH, 0xc0, &hex("09 01 00010000")), DISCARD),
        ("AS4_PATH with AS 0", attribute(T::AS4_PATH, 0xc0, &hex("02 01 00000000")), DISCARD),
        ("AS4_PATH well-known", attribute(T::AS4_PATH, 0x40, &hex("02 01 00010000")), WITHDRAW),
        ("AS4_AGGREGATOR", attribute(T::AS4_AGGREGATOR, 0xc0, &hex("00010000 c6336401")), None),
        (
            "AS4_AGGREGATOR cut",
            attribute(T::AS4_AGGREGATOR, 0xc0, &hex("00010000 c63364")),
            DISCARD,
        ),
        (
            "AS4_AGGREGATOR AS 0",
            attribute(T::AS4_AGGREGATOR, 0xc0, &hex("00000000 c6336401")),
            DISCARD,
        ),
    ];
    for (name, bad, expected) in cases {
        let path = if bad[1] == T::AS_PATH.0 { Vec::new() } else { vec![good.clone()] };
        let decoded = decode(&[path, vec![bad]].concat(), &session);
        assert_eq!(consequence(&decoded), expected, "{name}");
    }
}

/// Attributes of documents that we do not speak: RFC 5543 and RFC 7311 are not transitive and go no
/// further, RFC 5701 and RFC 6368 pass by unread (RFC 4271 §9), whatever is in them.
#[test]
fn attributes_of_others() {
    let others = [(24, 0x80), (25, 0xc0), (26, 0x80), (128, 0xc0), (255, 0xc0)];
    for session in kinds() {
        for (kind, flags) in others {
            for value in ["", "00", "01 000b 0000000000000064"] {
                let decoded = decode(&[attribute(T(kind), flags, &hex(value))], &session);
                assert_eq!(consequence(&decoded), None, "{kind}");
                let unknown = decoded.unwrap().attributes.open().unknown;
                assert_eq!(unknown.len(), usize::from(flags == 0xc0), "{kind}");
            }
            // RFC 4271 §6.3: nothing that we do not know is well-known.
            let decoded = decode(&[attribute(T(kind), 0x40, &[])], &session);
            let refused = decoded.err().map(|refused| refused.code);
            assert_eq!(refused, Some(Code::UnrecognizedWellKnownAttribute), "{kind}");
        }
    }
}
