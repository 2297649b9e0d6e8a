//! Policies with the attributes they were last asked about.

use std::cell::RefCell;

use bgp_policy::{Applied, Judge, Policy, Route};
use bgp_wire::AttributeSet;

/// What one policy has made of the last two sets of attributes, the old and the new ones of a change:
/// paths in a row mostly share theirs.
#[derive(Debug, Default)]
pub(crate) struct Judges(RefCell<[Option<Judge>; 2]>);

impl Judges {
    /// The route as it is after the policy; `None` where it is rejected. Always asked for the same
    /// policy.
    pub(crate) fn apply(
        &self,
        policy: &Policy,
        attributes: &AttributeSet,
        route: &Route,
    ) -> Option<Applied> {
        let mut judges = self.0.borrow_mut();
        let knows = |judge: &Option<Judge>| {
            judge.as_ref().is_some_and(|judge| judge.attributes().ptr_eq(attributes))
        };
        if !knows(&judges[0]) {
            judges.swap(0, 1);
        }
        if !knows(&judges[0]) {
            judges[0] = Some(Judge::new(policy, attributes));
        }
        judges[0].as_mut()?.apply(route)
    }
}
