//! What the node's name servers have said, for as long as they said it holds. Pure: the time is an
//! argument.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    base::{Message, Rtype, iana::Rcode},
    rdata::Soa,
};

use crate::zone::DnsName;

/// Answers kept; the next that would go goes for one more.
const ENTRIES_MAX: usize = 1024;
/// A longer answer is rare, and asked for anew.
const BYTES_MAX: usize = 4096;
/// For how long an answer is kept at most, and an absence: names change sooner than they say.
const POSITIVE_MAX: Duration = Duration::from_secs(300);
const NEGATIVE_MAX: Duration = Duration::from_secs(30);

/// A question as far as its answer depends on it. The name is compared without case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Question {
    pub name: DnsName,
    pub rtype: Rtype,
    pub dnssec_ok: bool,
    pub checking_disabled: bool,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Vec<u8>>,
    since: Instant,
    until: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Cache {
    entries: BTreeMap<Question, Entry>,
    /// By when they end: the first is the first to go.
    ends: BTreeSet<(Instant, Question)>,
}

impl Cache {
    /// The message, and how many seconds ago it was said.
    pub(crate) fn find(&self, question: &Question, now: Instant) -> Option<(Arc<Vec<u8>>, u32)> {
        let entry = self.entries.get(question).filter(|entry| now < entry.until)?;
        let age = now.saturating_duration_since(entry.since).as_secs();
        Some((entry.message.clone(), age.try_into().unwrap_or(u32::MAX)))
    }

    pub(crate) fn keep(&mut self, question: Question, message: Arc<Vec<u8>>, now: Instant) {
        let Some(lifetime) = lifetime(&message).filter(|lifetime| !lifetime.is_zero()) else {
            return;
        };
        if message.len() > BYTES_MAX {
            return;
        }
        let until = now + lifetime;
        let entry = Entry { message, since: now, until };
        if let Some(replaced) = self.entries.insert(question.clone(), entry) {
            self.ends.remove(&(replaced.until, question.clone()));
        }
        self.ends.insert((until, question));
        while self.entries.len() > ENTRIES_MAX
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.entries.remove(&first);
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        assert_eq!(self.entries.len(), self.ends.len());
        self.entries.len()
    }
}

/// How long an answer holds: the least of its records' times, or what the SOA beside an absence
/// says (RFC 2308 §5). `None` where nothing may be concluded.
fn lifetime(bytes: &[u8]) -> Option<Duration> {
    let message = Message::from_octets(bytes).ok()?;
    let rcode = message.header().rcode();
    if message.header().tc() || !matches!(rcode, Rcode::NOERROR | Rcode::NXDOMAIN) {
        return None;
    }
    let answers = message.answer().ok()?.flatten().map(|record| record.ttl());
    let of_answers = answers.min().map(|ttl| ttl.into_duration());
    let has_answer = message.contains_answer::<domain::rdata::AllRecordData<_, _>>();
    if rcode == Rcode::NOERROR && has_answer {
        return Some(of_answers?.min(POSITIVE_MAX));
    }
    let mut soa = message.authority().ok()?.limit_to::<Soa<_>>().flatten();
    let soa = soa.next()?;
    let said = soa.ttl().into_duration().min(soa.data().minimum().into_duration());
    // An alias before the absence ends the whole when it ends.
    Some(of_answers.unwrap_or(said).min(said).min(NEGATIVE_MAX))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use domain::{
        base::{MessageBuilder, Name, Serial, Ttl, iana::Class},
        rdata::A,
    };

    use super::*;

    fn question(name: &str) -> Question {
        let name = Name::vec_from_str(name).unwrap();
        Question { name, rtype: Rtype::A, dnssec_ok: false, checking_disabled: false }
    }

    fn message(name: &str, rcode: Rcode, ttl: Option<u32>, minimum: Option<u32>) -> Arc<Vec<u8>> {
        let name = Name::vec_from_str(name).unwrap();
        let mut builder = MessageBuilder::new_vec();
        builder.header_mut().set_qr(true);
        builder.header_mut().set_rcode(rcode);
        let mut builder = builder.question();
        builder.push((&name, Rtype::A, Class::IN)).unwrap();
        let mut builder = builder.answer();
        if let Some(ttl) = ttl {
            builder.push((&name, ttl, A::new(Ipv4Addr::LOCALHOST))).unwrap();
        }
        let mut builder = builder.authority();
        if let Some(minimum) = minimum {
            let some = Ttl::from_secs(1);
            let least = Ttl::from_secs(minimum);
            let soa = Soa::new(&name, &name, Serial(1), some, some, some, least);
            builder.push((&name, 3600, soa)).unwrap();
        }
        Arc::new(builder.finish())
    }

    #[test]
    fn an_answer_is_kept_as_long_as_it_says_and_not_longer() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.keep(
            question("a.example"),
            message("a.example", Rcode::NOERROR, Some(60), None),
            now,
        );
        let at = |secs| now + Duration::from_secs(secs);
        assert_eq!(cache.find(&question("A.Example"), at(59)).unwrap().1, 59);
        assert!(cache.find(&question("a.example"), at(60)).is_none());
        let other = Question { rtype: Rtype::AAAA, ..question("a.example") };
        assert!(cache.find(&other, now).is_none());
        cache.keep(question("b"), message("b", Rcode::NOERROR, Some(86400), None), now);
        assert!(cache.find(&question("b"), at(299)).is_some());
        assert!(cache.find(&question("b"), at(300)).is_none());
    }

    #[test]
    fn an_absence_is_kept_as_long_as_its_zone_says() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.keep(question("a"), message("a", Rcode::NXDOMAIN, None, Some(7)), now);
        cache.keep(question("b"), message("b", Rcode::NOERROR, None, Some(7)), now);
        let at = |secs| now + Duration::from_secs(secs);
        for name in ["a", "b"] {
            assert!(cache.find(&question(name), at(6)).is_some());
            assert!(cache.find(&question(name), at(7)).is_none());
        }
        cache.keep(question("c"), message("c", Rcode::NXDOMAIN, None, None), now);
        cache.keep(question("d"), message("d", Rcode::SERVFAIL, None, Some(7)), now);
        cache.keep(question("e"), message("e", Rcode::NOERROR, Some(0), None), now);
        for name in ["c", "d", "e"] {
            assert!(cache.find(&question(name), now).is_none(), "{name}");
        }
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for number in 0..3 * ENTRIES_MAX as u32 {
            let name = format!("n{}.example", number % 2000);
            let ttl = Some(1 + number * 7 % 100);
            cache.keep(question(&name), message(&name, Rcode::NOERROR, ttl, None), now);
            assert!(cache.len() <= ENTRIES_MAX);
        }
        assert_eq!(cache.len(), ENTRIES_MAX);
    }
}
