//! Policies, as the resources write them.

mod change;
mod matches;

use std::fmt;

use bgp_speaker::{Policy, PolicyAction as Action, Rule};
use bgp_wire::CommunityParseError;
use viaduct_api::v1alpha1 as api;
use viaduct_net::Asn;

use super::reader::Reader;

// The schema of the API has the same bounds.

/// Rules of one policy.
pub const MAX_POLICY_RULES: usize = 1000;
/// Prefixes of one rule.
const MAX_POLICY_PREFIXES: usize = 20_000;
/// Entries of any other list that a rule matches.
const MAX_POLICY_ENTRIES: usize = 1000;
/// Expressions of one rule.
const MAX_AS_PATHS: usize = 100;
/// Communities that one rule puts to a route.
const MAX_ADDED: usize = 100;
/// How often one rule puts an AS number in front of a path.
const MAX_PREPEND: u8 = 32;

/// What a policy is for: not everything can be done in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Import,
    Export,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Import => "import",
            Self::Export => "export",
        })
    }
}

impl Reader<'_> {
    /// The policy of one direction, where `place` holds it; `own` is the AS that the peer sees.
    pub(super) fn policy(
        &mut self,
        place: &str,
        policy: &api::Policy,
        direction: Direction,
        own: Asn,
    ) -> Policy {
        let place = format!("{place}.{direction}.rules");
        if policy.rules.len() > MAX_POLICY_RULES {
            self.wrong(place, format!("more than {MAX_POLICY_RULES} rules"));
            return Policy::reject_all();
        }
        let mut rules = Vec::with_capacity(policy.rules.len());
        for (index, rule) in policy.rules.iter().enumerate() {
            let place = format!("{place}[{index}]");
            let change = rule.set.as_ref();
            if change.is_some() && rule.action == api::PolicyAction::Reject {
                self.wrong(format!("{place}.set"), "changes a route that is rejected");
            }
            rules.push(Rule {
                matches: self.matches(&place, rule),
                change: change
                    .map(|change| self.change(&format!("{place}.set"), change, direction, own))
                    .unwrap_or_default()
                    .into(),
                action: match rule.action {
                    api::PolicyAction::Accept => Action::Accept,
                    api::PolicyAction::Reject => Action::Reject,
                    api::PolicyAction::Continue => Action::Continue,
                },
            });
        }
        Policy::new(rules)
    }

    /// Each entry of a list, or an error that names it. A list that is too long is not read.
    fn list<T, U, E: fmt::Display>(
        &mut self,
        place: &str,
        list: &[T],
        max: usize,
        read: impl Fn(&T) -> Result<U, E>,
    ) -> Vec<U> {
        if list.len() > max {
            self.wrong(place.to_owned(), format!("{} entries, more than {max}", list.len()));
            return Vec::new();
        }
        let mut all = Vec::with_capacity(list.len());
        for (index, entry) in list.iter().enumerate() {
            match read(entry) {
                Ok(value) => all.push(value),
                Err(problem) => self.wrong(format!("{place}[{index}]"), problem.to_string()),
            }
        }
        all
    }

    /// Communities of one kind, or sets of them.
    fn communities<T>(&mut self, place: &str, list: &[String], max: usize) -> Vec<T>
    where
        T: std::str::FromStr<Err = CommunityParseError>,
    {
        self.list(place, list, max, |text| text.parse())
    }
}
