use std::collections::BTreeMap;

/// As affinity terms and disruption budgets select, too.
pub(crate) use control_scheduler::selects as matches;

type Labels = BTreeMap<String, String>;

/// Whether every pair of `selector` is among `labels`.
pub(crate) fn matches_all(selector: &Labels, labels: Option<&Labels>) -> bool {
    selector.iter().all(|(key, value)| labels.is_some_and(|l| l.get(key) == Some(value)))
}
