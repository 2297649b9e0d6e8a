//! Rules in their order, and what they say of a route.

use std::{net::IpAddr, sync::Arc};

use bgp_wire::{AttributeSet, PeerKind};
use viaduct_net::Prefix;

use crate::{Applied, Change, Changes, Matches, NextHopChange, Source, matches::Seen};

/// What becomes of a route that a rule matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Accept,
    Reject,
    /// What the rule changes is changed, and the next rule is tried.
    Continue,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub matches: Matches,
    /// Of no account where the route is rejected.
    pub change: Arc<Change>,
    pub action: Action,
}

impl Rule {
    /// A rule that changes nothing.
    pub fn new(matches: Matches, action: Action) -> Self {
        Self { matches, change: Arc::default(), action }
    }
}

/// A route that no rule accepts is rejected. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Arc<[Rule]>,
}

/// A route as far as it is not its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    pub prefix: Prefix,
    pub source: Source,
    /// Who has told us; `None` for what is originated here.
    pub peer: Option<IpAddr>,
    pub next_hop: Option<IpAddr>,
}

impl Route {
    pub const fn new(prefix: Prefix, source: Source) -> Self {
        Self { prefix, source, peer: None, next_hop: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Reject,
    Accept(Changes),
}

/// What can be said without a look at attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// As it is.
    Accept,
    Reject,
    /// They are asked about, or changed.
    NeedsAttributes,
}

impl Policy {
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    pub fn accept_all() -> Self {
        Self::new([Rule::new(Matches::default(), Action::Accept)])
    }

    pub fn reject_all() -> Self {
        Self::new([])
    }

    /// What rules where nothing is configured, for import and export alike: an internal peer is
    /// believed and told everything, an external one nothing (RFC 8212 §2). The one place that
    /// says so.
    pub fn default_for(kind: PeerKind) -> Self {
        match kind {
            PeerKind::Internal | PeerKind::Confederation => Self::accept_all(),
            PeerKind::External => Self::reject_all(),
        }
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Decides by prefix, source and peer, if these are enough. The next hop is not looked at.
    pub fn before_attributes(&self, route: &Route) -> Decided {
        for rule in self.rules.iter().filter(|rule| rule.matches.fit(route)) {
            match rule.action {
                _ if rule.matches.needs_attributes() => return Decided::NeedsAttributes,
                Action::Reject => return Decided::Reject,
                _ if !rule.change.is_empty() => return Decided::NeedsAttributes,
                Action::Accept => return Decided::Accept,
                Action::Continue => {}
            }
        }
        Decided::Reject
    }

    /// Decides about one route. For several with the same attributes there is [`Judge`].
    pub fn judge(&self, route: &Route, attributes: &AttributeSet) -> Verdict {
        Judge::new(self, attributes).verdict(route)
    }

    /// Whether a route is accepted, be it as another.
    pub fn accepts(&self, route: &Route, attributes: &AttributeSet) -> bool {
        self.judge(route, attributes) != Verdict::Reject
    }
}

/// One policy over one set of attributes, for any number of routes that have it.
#[derive(Clone, Debug)]
pub struct Judge {
    policy: Policy,
    seen: Seen,
    /// What the attributes say to each rule, as far as it was asked for.
    known: Vec<Option<bool>>,
    /// The outcome of the last changes: routes with one set of attributes mostly meet the same.
    last: Option<(Changes, Applied)>,
}

impl Judge {
    pub fn new(policy: &Policy, attributes: &AttributeSet) -> Self {
        let seen = Seen::new(attributes.clone());
        Self { policy: policy.clone(), seen, known: Vec::new(), last: None }
    }

    pub const fn attributes(&self) -> &AttributeSet {
        &self.seen.set
    }

    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Decides about a route with these attributes.
    pub fn verdict(&mut self, route: &Route) -> Verdict {
        self.walk(route, |_| {})
    }

    /// The same; `met` is told the place of each rule that the route fits, up to the one that decides.
    pub(crate) fn walk(&mut self, route: &Route, mut met: impl FnMut(usize)) -> Verdict {
        let Self { policy, seen, known, .. } = self;
        let mut changes = Changes::default();
        let mut changed: Option<Seen> = None;
        let mut next_hop = route.next_hop;
        for (at, rule) in policy.rules.iter().enumerate() {
            if !rule.matches.fit(route) || !rule.matches.fit_next_hop(next_hop) {
                continue;
            }
            if rule.matches.asks_attributes() {
                let fits = match &mut changed {
                    Some(changed) => rule.matches.fit_attributes(changed),
                    None => {
                        if known.is_empty() {
                            known.resize(policy.rules.len(), None);
                        }
                        *known[at].get_or_insert_with(|| rule.matches.fit_attributes(seen))
                    }
                };
                if !fits {
                    continue;
                }
            }
            met(at);
            if rule.action == Action::Reject {
                return Verdict::Reject;
            }
            if !rule.change.is_empty() {
                changes.push(&rule.change);
            }
            if rule.action == Action::Accept {
                return Verdict::Accept(changes);
            }
            if rule.change.changes_attributes() {
                let before = changed.as_ref().unwrap_or(seen);
                changed = Some(Seen::new(rule.change.apply(&before.set)));
            }
            next_hop = match rule.change.next_hop {
                Some(NextHopChange::Address(address)) => Some(address),
                // Which address that is depends on who is told.
                Some(NextHopChange::Own) => None,
                Some(NextHopChange::Unchanged) => route.next_hop,
                None => next_hop,
            };
        }
        Verdict::Reject
    }

    /// The route as it is after the policy; `None` where it is rejected. One allocation of attributes
    /// for routes in a row that meet the same rules.
    pub fn apply(&mut self, route: &Route) -> Option<Applied> {
        let Verdict::Accept(changes) = self.verdict(route) else { return None };
        if let Some((known, applied)) = &self.last
            && *known == changes
        {
            return Some(applied.clone());
        }
        let applied = changes.apply(&self.seen.set);
        self.last = Some((changes, applied.clone()));
        Some(applied)
    }
}

#[cfg(test)]
mod tests {
    use bgp_wire::{AsPath, Community, PathAttributes};
    use viaduct_net::Asn;

    use super::*;
    use crate::{MedChange, PrefixMatch};

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    #[test]
    fn nothing_configured_is_nothing_from_outside() {
        for text in ["10.0.0.0/8", "::/0"] {
            let route = Route::new(prefix(text), Source::Local);
            let decided = |kind| Policy::default_for(kind).before_attributes(&route);
            assert_eq!(decided(PeerKind::External), Decided::Reject);
            assert_eq!(decided(PeerKind::Internal), Decided::Accept);
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = Policy::new([
            Rule::new(
                Matches {
                    prefixes: vec![PrefixMatch::exact(prefix("10.1.0.0/16"))].into(),
                    ..Matches::default()
                },
                Action::Reject,
            ),
            Rule::new(
                Matches {
                    prefixes: vec![
                        PrefixMatch { prefix: prefix("10.0.0.0/8"), min_len: 16, max_len: 24 },
                        PrefixMatch::or_longer(prefix("fd00::/8")),
                    ]
                    .into(),
                    sources: vec![Source::Local, Source::Internal],
                    ..Matches::default()
                },
                Action::Accept,
            ),
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
            let route = Route::new(prefix(text), source);
            let expected = if accepted { Decided::Accept } else { Decided::Reject };
            assert_eq!(policy.before_attributes(&route), expected, "{text} {source:?}");
            assert_eq!(policy.accepts(&route, &AttributeSet::default()), accepted);
        }
    }

    #[test]
    fn a_rule_may_ask_for_the_neighbour() {
        let policy = Policy::new([Rule::new(
            Matches { neighbor_asns: vec![Asn::new(64512), Asn::new(64513)], ..Matches::default() },
            Action::Accept,
        )]);
        let route = Route::new(prefix("10.1.0.0/16"), Source::External);
        assert_eq!(policy.before_attributes(&route), Decided::NeedsAttributes);
        for (asns, accepted) in [(vec![64512], true), (vec![64514, 64512], false), (vec![], false)]
        {
            let as_path = AsPath::sequence(asns.into_iter().map(Asn::new));
            let attributes = PathAttributes { as_path, ..PathAttributes::default() };
            assert_eq!(policy.accepts(&route, &attributes.into()), accepted);
        }
    }

    #[test]
    fn later_rules_see_what_was_changed() {
        let tag = Community::new(65000, 1);
        let mut first = Change { med: Some(MedChange::Add(5)), ..Change::default() };
        first.communities.add.push(tag);
        first.next_hop = Some(NextHopChange::Address("192.0.2.9".parse().unwrap()));
        let second = Change { local_pref: Some(200), ..Change::default() };
        let hop = PrefixMatch::exact(prefix("192.0.2.9/32"));
        let policy = Policy::new([
            Rule { matches: Matches::default(), change: first.into(), action: Action::Continue },
            Rule {
                matches: Matches {
                    communities: [tag.into()].into_iter().collect(),
                    next_hops: vec![hop].into(),
                    ..Matches::default()
                },
                change: second.into(),
                action: Action::Accept,
            },
        ]);
        let route = Route::new(prefix("10.1.0.0/16"), Source::External);
        assert_eq!(policy.before_attributes(&route), Decided::NeedsAttributes);
        let mut judge = Judge::new(&policy, &AttributeSet::default());
        let applied = judge.apply(&route).unwrap();
        let expected = PathAttributes {
            med: Some(5),
            local_pref: Some(200),
            communities: vec![tag],
            ..PathAttributes::default()
        };
        assert_eq!(applied.attributes, expected);
        assert!(applied.sets_med);
        let again = judge.apply(&Route { prefix: prefix("10.2.0.0/16"), ..route }).unwrap();
        assert!(again.attributes.ptr_eq(&applied.attributes), "one allocation");
    }

    #[test]
    fn what_changes_nothing_is_the_same_allocation() {
        let mut change = Change { local_pref: Some(100), ..Change::default() };
        change.communities.remove = ["65000:*".parse().unwrap()].into_iter().collect();
        let attributes = PathAttributes { local_pref: Some(100), ..PathAttributes::default() };
        let set = AttributeSet::from(attributes);
        assert!(change.apply(&set).ptr_eq(&set));
    }
}
