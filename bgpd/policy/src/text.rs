//! Rules in words, for operators.

use std::fmt::{self, Display, Write};

use crate::{Action, Change, Matches, MedChange, NextHopChange, PrefixMatch, Rule, Source};
use crate::{
    change::ListChange,
    ranges::{CommunityRange, Ranged},
};

/// Of a long list only the beginning is told.
const TOLD: usize = 8;

struct Words {
    text: String,
    between: &'static str,
}

impl Words {
    fn add(&mut self, what: impl Display) {
        let between = if self.text.is_empty() { "" } else { self.between };
        // A String takes whatever it is given.
        let _infallible = write!(self.text, "{between}{what}");
    }

    fn list<T: Display>(&mut self, name: &str, items: impl ExactSizeIterator<Item = T>) {
        let count = items.len();
        if count == 0 {
            return;
        }
        let told: Vec<_> = items.take(TOLD).map(|item| item.to_string()).collect();
        let rest = match count.saturating_sub(TOLD) {
            0 => String::new(),
            rest => format!(" or {rest} more"),
        };
        self.add(format_args!("{name} {}{rest}", told.join(" or ")));
    }
}

impl Display for PrefixMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { prefix, min_len, max_len } = self;
        match (*min_len == prefix.len(), *max_len == prefix.family().bits()) {
            _ if min_len == max_len && *min_len == prefix.len() => write!(f, "{prefix}"),
            (true, true) => write!(f, "{prefix} and longer"),
            _ => write!(f, "{prefix} of /{min_len} to /{max_len}"),
        }
    }
}

impl<T: Ranged> Display for CommunityRange<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.bounds();
        if first == last { write!(f, "{first}") } else { write!(f, "{first} to {last}") }
    }
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Local => "this speaker",
            Self::Internal => "internal peers",
            Self::External => "external peers",
        })
    }
}

/// What a route must be; nothing where every route fits.
impl Display for Matches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Words { text: String::new(), between: ", " };
        words.list("prefix", self.prefixes.entries().iter());
        words.list("from", self.sources.iter());
        words.list("peer", self.peers.entries().iter());
        words.list("next hop", self.next_hops.entries().iter());
        words.list("neighbour AS", self.neighbor_asns.iter());
        words.list("AS path", self.as_paths.iter().map(|pattern| format!("/{}/", pattern.text())));
        words.list("origin", self.origins.iter());
        words.list("community", self.communities.entries().iter());
        words.list("extended community", self.extended_communities.entries().iter());
        words.list("large community", self.large_communities.entries().iter());
        f.write_str(&words.text)
    }
}

impl<T: Ranged> ListChange<T> {
    fn tell(&self, name: &str, words: &mut Words) {
        if let Some(replace) = &self.replace {
            let all: Vec<_> = replace.iter().map(ToString::to_string).collect();
            words.add(format_args!("{name} become {}", all.join(" ")));
        }
        for one in self.remove.entries() {
            words.add(format_args!("{name} less {one}"));
        }
        for one in &self.add {
            words.add(format_args!("{name} more {one}"));
        }
    }
}

/// What becomes of a route; nothing where it stays as it is.
impl Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Words { text: String::new(), between: ", " };
        if let Some(value) = self.local_pref {
            words.add(format_args!("local preference {value}"));
        }
        match self.med {
            None => {}
            Some(MedChange::Set(med)) => words.add(format_args!("MED {med}")),
            Some(MedChange::Add(step)) => words.add(format_args!("MED {step:+}")),
            Some(MedChange::Remove) => words.add("no MED"),
        }
        self.communities.tell("communities", &mut words);
        self.extended_communities.tell("extended communities", &mut words);
        self.large_communities.tell("large communities", &mut words);
        if let Some((asn, times)) = self.prepend {
            words.add(format_args!("prepend {asn} {times} times"));
        }
        match self.next_hop {
            None => {}
            Some(NextHopChange::Address(address)) => words.add(format_args!("next hop {address}")),
            Some(NextHopChange::Own) => words.add("next hop self"),
            Some(NextHopChange::Unchanged) => words.add("next hop unchanged"),
        }
        f.write_str(&words.text)
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Continue => "continue",
        })
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (matches, change) = (self.matches.to_string(), self.change.to_string());
        let whom = if matches.is_empty() { "every route" } else { &matches };
        match (self.action, change.is_empty()) {
            (Action::Reject, _) | (_, true) => write!(f, "{whom}: {}", self.action),
            (Action::Accept | Action::Continue, false) => {
                write!(f, "{whom}: {change}; {}", self.action)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn rules_are_told_in_words() {
        let prefix = |text: &str| text.parse().unwrap();
        let mut matches = Matches::default();
        assert_eq!(Rule::new(matches.clone(), Action::Accept).to_string(), "every route: accept");
        matches.prefixes = vec![
            PrefixMatch::exact(prefix("10.0.0.0/8")),
            PrefixMatch::or_longer(prefix("fd00::/8")),
            PrefixMatch { prefix: prefix("10.0.0.0/8"), min_len: 16, max_len: 24 },
        ]
        .into();
        matches.sources = vec![Source::External];
        matches.communities = ["65000:*".parse().unwrap()].into_iter().collect();
        let mut rule = Rule::new(matches, Action::Accept);
        rule.change = Arc::new(Change {
            local_pref: Some(200),
            med: Some(MedChange::Add(-5)),
            ..Change::default()
        });
        assert_eq!(
            rule.to_string(),
            "prefix 10.0.0.0/8 or fd00::/8 and longer or 10.0.0.0/8 of /16 to /24, \
             from external peers, community 65000:0 to 65000:65535: \
             local preference 200, MED -5; accept"
        );
        rule.matches.prefixes =
            (0..20).map(|at| PrefixMatch::exact(prefix(&format!("10.{at}.0.0/16")))).collect();
        rule.action = Action::Reject;
        let text = rule.to_string();
        assert!(text.contains("10.7.0.0/16 or 12 more, from") && text.ends_with(": reject"));
    }
}
