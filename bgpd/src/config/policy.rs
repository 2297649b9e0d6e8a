//! Policies, as the resources write them.

use bgp_speaker::{Matches, Policy, PolicyAction as Action, PrefixMatch, Rule, Source};
use viaduct_api::v1alpha1::{self as api, SourceMatch};
use viaduct_net::Asn;

use super::reader::Reader;

/// Rules of one policy; the schema of the API says the same.
pub const MAX_POLICY_RULES: usize = 1000;

impl Reader<'_> {
    pub(super) fn policy(&mut self, place: &str, policy: &api::Policy) -> Policy {
        if policy.rules.len() > MAX_POLICY_RULES {
            self.wrong(format!("{place}.rules"), format!("more than {MAX_POLICY_RULES} rules"));
            return Policy::reject_all();
        }
        let mut rules = Vec::with_capacity(policy.rules.len());
        for (index, rule) in policy.rules.iter().enumerate() {
            let mut prefixes = Vec::with_capacity(rule.prefixes.len());
            for (at, matcher) in rule.prefixes.iter().enumerate() {
                let place = format!("{place}.rules[{index}].prefixes[{at}]");
                prefixes.extend(self.prefix_match(&place, matcher));
            }
            let matches = Matches {
                prefixes: prefixes.into(),
                sources: rule.sources.iter().copied().map(source).collect(),
                neighbor_asns: rule.neighbor_asns.iter().copied().map(Asn::new).collect(),
                ..Matches::default()
            };
            let action = match rule.action {
                api::PolicyAction::Accept => Action::Accept,
                api::PolicyAction::Reject => Action::Reject,
            };
            rules.push(Rule::new(matches, action));
        }
        Policy::new(rules)
    }

    fn prefix_match(&mut self, place: &str, matcher: &api::PrefixMatch) -> Option<PrefixMatch> {
        let prefix = matcher.prefix;
        let bits = prefix.family().bits();
        let min_len = matcher.min_length.unwrap_or(prefix.len());
        let max_len = matcher.max_length.unwrap_or(prefix.len());
        let field = |name: &str| format!("{place}.{name}");
        if min_len < prefix.len() {
            let problem = format!("{min_len} is shorter than {prefix} itself");
            self.wrong(field("minLength"), problem);
            return None;
        }
        if max_len > bits {
            let problem = format!("{max_len} is beyond the {bits} bits of {}", prefix.family());
            self.wrong(field("maxLength"), problem);
            return None;
        }
        if min_len > max_len {
            let problem = format!("{max_len} is less than the minimum of {min_len}");
            self.wrong(field("maxLength"), problem);
            return None;
        }
        Some(PrefixMatch { prefix, min_len, max_len })
    }
}

fn source(source: SourceMatch) -> Source {
    match source {
        SourceMatch::Local => Source::Local,
        SourceMatch::Internal => Source::Internal,
        SourceMatch::External => Source::External,
    }
}
