//! A policy with one route, step by step: for whoever wants to know why it says what it says.

use bgp_wire::AttributeSet;

use crate::{Action, Applied, Judge, Policy, Route};

/// A rule that the route fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place among [`Policy::rules`].
    pub rule: usize,
    /// The route behind it; as before where it rejects.
    pub after: Applied,
}

/// What a policy makes of a route, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// In their order.
    pub steps: Vec<Step>,
    /// The place of the rule that has decided; `None` where no rule has, which rejects.
    pub decided_by: Option<usize>,
    /// `None` where the route is rejected.
    pub accepted: Option<Applied>,
}

impl Policy {
    /// Decides about a route as [`Judge::apply`] does, and tells by which rules.
    pub fn trial(&self, route: &Route, attributes: &AttributeSet) -> Trial {
        let mut judge = Judge::new(self, attributes);
        let mut met = Vec::new();
        judge.walk(route, |rule| met.push(rule));
        let mut applied = Applied::unchanged(attributes);
        let steps = met.into_iter().map(|at| {
            let rule = &self.rules()[at];
            if rule.action != Action::Reject {
                applied.change(&rule.change);
            }
            Step { rule: at, after: applied.clone() }
        });
        let steps: Vec<_> = steps.collect();
        let last = steps.last().map(|step| step.rule);
        let decided_by = last.filter(|at| self.rules()[*at].action != Action::Continue);
        Trial { steps, decided_by, accepted: judge.apply(route) }
    }
}

#[cfg(test)]
mod tests {
    use bgp_wire::{Community, PathAttributes};
    use viaduct_net::Prefix;

    use super::*;
    use crate::{Change, Matches, MedChange, NextHopChange, PrefixMatch, Rule, Source};

    fn route(text: &str) -> Route {
        Route::new(text.parse::<Prefix>().unwrap(), Source::External)
    }

    fn within(text: &str) -> Matches {
        let prefix = PrefixMatch::or_longer(text.parse().unwrap());
        Matches { prefixes: vec![prefix].into(), ..Matches::default() }
    }

    /// Marks 10/8, refuses 10.66/16, and takes what is marked.
    fn policy() -> Policy {
        let tag = Community::new(65000, 1);
        let mut mark = Change { med: Some(MedChange::Add(5)), ..Change::default() };
        mark.communities.add.push(tag);
        let prefer = Change {
            local_pref: Some(200),
            next_hop: Some(NextHopChange::Own),
            ..Change::default()
        };
        let marked =
            Matches { communities: [tag.into()].into_iter().collect(), ..Matches::default() };
        Policy::new([
            Rule { change: mark.into(), ..Rule::new(within("10.0.0.0/8"), Action::Continue) },
            Rule::new(within("10.66.0.0/16"), Action::Reject),
            Rule { change: prefer.into(), ..Rule::new(marked, Action::Accept) },
        ])
    }

    #[test]
    fn each_rule_that_fits_is_told_with_what_it_makes_of_the_route() {
        let (policy, set) = (policy(), AttributeSet::default());
        let trial = policy.trial(&route("10.1.0.0/16"), &set);
        let marked = PathAttributes {
            med: Some(5),
            communities: vec![Community::new(65000, 1)],
            ..PathAttributes::default()
        };
        let preferred = PathAttributes { local_pref: Some(200), ..marked.clone() };
        let [first, second] = &trial.steps[..] else { panic!("{trial:?}") };
        assert_eq!((first.rule, &first.after.attributes), (0, &AttributeSet::from(marked.clone())));
        assert_eq!((second.rule, second.after.next_hop), (2, Some(NextHopChange::Own)));
        assert_eq!(second.after.attributes, preferred);
        assert_eq!(trial.accepted.as_ref(), Some(&second.after));
        assert_eq!(trial.decided_by, Some(2));

        let refused = policy.trial(&route("10.66.1.0/24"), &set);
        assert_eq!(refused.steps.iter().map(|step| step.rule).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(refused.steps[1].after.attributes, marked);
        assert_eq!((refused.decided_by, refused.accepted), (Some(1), None));
    }

    #[test]
    fn what_no_rule_decides_is_rejected_by_none() {
        let policy = policy();
        let stranger = policy.trial(&route("192.0.2.0/24"), &AttributeSet::default());
        assert_eq!(stranger, Trial { steps: Vec::new(), decided_by: None, accepted: None });
        // Let on by the last one that fits, and then nobody is there.
        let only_first = Policy::new(policy.rules()[..1].iter().cloned());
        let let_on = only_first.trial(&route("10.1.0.0/16"), &AttributeSet::default());
        assert_eq!(let_on.steps.len(), 1);
        assert_eq!((let_on.decided_by, let_on.accepted), (None, None));
    }
}
