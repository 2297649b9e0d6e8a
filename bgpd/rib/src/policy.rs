//! Which routes pass to and from a peer: ordered rules, the first that matches decides.

use std::sync::Arc;

use bgp_wire::PeerKind;
use viaduct_net::{Asn, Prefix};

/// Whom a route came from, as seen by this speaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Originated here.
    Local,
    /// A peer of the same AS.
    Internal,
    /// A peer of another AS.
    External,
}

impl From<PeerKind> for Source {
    fn from(kind: PeerKind) -> Self {
        match kind {
            PeerKind::Internal => Self::Internal,
            PeerKind::External => Self::External,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Accept,
    Reject,
}

/// Prefixes inside `prefix` whose length lies within the bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixMatch {
    pub prefix: Prefix,
    pub min_len: u8,
    pub max_len: u8,
}

impl PrefixMatch {
    /// `prefix` itself and nothing else.
    pub fn exact(prefix: Prefix) -> Self {
        Self { prefix, min_len: prefix.len(), max_len: prefix.len() }
    }

    /// `prefix` and everything inside it.
    pub fn or_longer(prefix: Prefix) -> Self {
        Self { prefix, min_len: prefix.len(), max_len: prefix.family().bits() }
    }

    pub fn matches(&self, prefix: Prefix) -> bool {
        (self.min_len..=self.max_len).contains(&prefix.len()) && self.prefix.covers(prefix)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Any of these; every prefix where empty.
    pub prefixes: Vec<PrefixMatch>,
    /// Any of these; every source where empty.
    pub sources: Vec<Source>,
    /// Any of these as the neighbouring AS, the first of AS_PATH; every path where empty.
    pub neighbor_asns: Vec<Asn>,
    pub action: Action,
}

impl Rule {
    fn matches(&self, prefix: Prefix, source: Source, neighbor: Option<Asn>) -> bool {
        let asn_matches = |neighbor| self.neighbor_asns.contains(&neighbor);
        (self.sources.is_empty() || self.sources.contains(&source))
            && (self.neighbor_asns.is_empty() || neighbor.is_some_and(asn_matches))
            && (self.prefixes.is_empty() || self.prefixes.iter().any(|m| m.matches(prefix)))
    }
}

/// A route that no rule matches is rejected. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Arc<[Rule]>,
}

impl Policy {
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    pub fn accept_all() -> Self {
        Self::new([Rule {
            prefixes: Vec::new(),
            sources: Vec::new(),
            neighbor_asns: Vec::new(),
            action: Action::Accept,
        }])
    }

    pub fn reject_all() -> Self {
        Self::new([])
    }

    /// What rules where nothing is configured, for import and export alike: an internal peer is
    /// believed and told everything, an external one nothing (RFC 8212 §2). The one place that
    /// says so.
    pub fn default_for(kind: PeerKind) -> Self {
        match kind {
            PeerKind::Internal => Self::accept_all(),
            PeerKind::External => Self::reject_all(),
        }
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// `neighbor` is the first AS of the path; one that has not left our own AS has none.
    pub fn accepts(&self, prefix: Prefix, source: Source, neighbor: Option<Asn>) -> bool {
        let rule = self.rules.iter().find(|rule| rule.matches(prefix, source, neighbor));
        rule.is_some_and(|rule| rule.action == Action::Accept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_configured_is_nothing_from_outside() {
        for text in ["10.0.0.0/8", "::/0"] {
            let accepts =
                |kind| Policy::default_for(kind).accepts(prefix(text), Source::Local, None);
            assert!(!accepts(PeerKind::External) && accepts(PeerKind::Internal));
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::new([
            Rule {
                prefixes: vec![PrefixMatch::exact(prefix("10.1.0.0/16"))],
                sources: Vec::new(),
                neighbor_asns: Vec::new(),
                action: Action::Reject,
            },
            Rule {
                prefixes: vec![
                    PrefixMatch { prefix: prefix("10.0.0.0/8"), min_len: 16, max_len: 24 },
                    PrefixMatch::or_longer(prefix("fd00::/8")),
                ],
                sources: vec![Source::Local, Source::Internal],
                neighbor_asns: Vec::new(),
                action: Action::Accept,
            },
        ]);
        for (text, source, accepted) in [
            ("10.1.0.0/16", Source::Local, false),
            ("10.1.0.0/17", Source::Local, true),
            ("10.1.0.0/17", Source::Internal, true),
            ("10.1.0.0/17", Source::External, false),
            ("10.0.0.0/15", Source::Local, false),
            ("10.2.0.0/25", Source::Local, false),
            ("192.0.2.0/24", Source::Local, false),
            ("fd00::1/128", Source::Internal, true),
            ("fe00::/8", Source::Internal, false),
        ] {
            assert_eq!(policy.accepts(prefix(text), source, None), accepted, "{text} {source:?}");
        }
    }

    #[test]
    fn a_rule_may_ask_for_the_neighbour() {
        let policy = Policy::new([Rule {
            prefixes: Vec::new(),
            sources: Vec::new(),
            neighbor_asns: vec![Asn::new(64512), Asn::new(64513)],
            action: Action::Accept,
        }]);
        for (neighbor, accepted) in [(Some(64512), true), (Some(64514), false), (None, false)] {
            let neighbor = neighbor.map(Asn::new);
            let found = policy.accepts(prefix("10.1.0.0/16"), Source::External, neighbor);
            assert_eq!(found, accepted, "{neighbor:?}");
        }
    }
}
