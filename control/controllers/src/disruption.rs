//! How many pods each disruption budget lets go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use k8s_openapi::{
    api::{core::v1::Pod, policy::v1::PodDisruptionBudget},
    apimachinery::pkg::{
        apis::meta::v1::{Condition, Time},
        util::intstr::IntOrString,
    },
};
use serde_json::{Value, json};

use crate::{
    kinds::{Key, Object, Ref},
    operation::{Note, Now, Outcome, Step, controller_of, patch},
    percent::{self, Rounding},
    pods, selector,
    world::World,
};

const COMPONENT: &str = "controllermanager";
/// For how long a pod that was to be evicted counts as gone though it is there.
const DELETION_TIMEOUT_SECS: i64 = 120;

pub(crate) fn reconcile(key: &Key, world: &World, now: Now) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(budget) = world.objects.budgets.get(key) else { return outcome };
    if budget.metadata.deletion_timestamp.is_some() {
        return outcome;
    }
    let object = Object::PodDisruptionBudget(budget.clone());
    let pods = covered(budget, world);
    let disrupted = disrupted(budget, &pods, now, &mut outcome);
    let mut notes = Vec::new();
    let status = match expected(budget, &pods, world) {
        Ok(Expected { pods: expected, healthy: desired, unmanaged }) => {
            if pods.is_empty() {
                notes.push(Note::normal(COMPONENT, &object, "NoPods", "No matching pods found"));
            }
            if unmanaged > 0 {
                notes.push(Note::warning(COMPONENT, &object, "UnmanagedPods", UNMANAGED));
            }
            let is_healthy = |pod: &&&Arc<Pod>| {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                !pods::is_deleting(pod) && pods::is_ready(pod) && !disrupted.contains_key(name)
            };
            let healthy = i32::try_from(pods.iter().filter(is_healthy).count()).unwrap_or(i32::MAX);
            let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
            Status { expected, desired, healthy, allowed, failure: None }
        }
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            let reason = "CalculateExpectedPodCountFailed";
            notes.push(Note::warning(COMPONENT, &object, reason, message.clone()));
            Status::failed(budget, message)
        }
    };
    let before = budget.status.as_ref().map(|status| json!(status)).unwrap_or(json!({}));
    let change = change(&before, &status.to_value(budget, &disrupted, now));
    if !is_empty(&change) {
        let mut notes = notes.into_iter();
        let operation = patch(&object, Some("status"), json!({"status": change}));
        outcome.push(Step { operation, done: notes.next(), failed: None });
        outcome.notes.extend(notes);
    }
    outcome
}

const UNMANAGED: &str = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a \
                         result, the status of the PDB cannot be calculated correctly, which may \
                         result in undefined behavior. To account for these pods please set \
                         \".spec.minAvailable\" field of the PDB to an integer value.";

/// Whether the budget counts a pod with these labels. Without a selector it counts none.
pub(crate) fn covers(
    budget: &PodDisruptionBudget,
    labels: Option<&BTreeMap<String, String>>,
) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| selector::matches(selector, labels))
}

fn covered<'a>(budget: &PodDisruptionBudget, world: &'a World) -> Vec<&'a Arc<Pod>> {
    let namespace = budget.metadata.namespace.clone().unwrap_or_default();
    let all = world.objects.pods.range(Key::new(namespace.clone(), "")..);
    let inside = all.take_while(|(key, _)| key.namespace == namespace).map(|(_, pod)| pod);
    inside.filter(|pod| covers(budget, pod.metadata.labels.as_ref())).collect()
}

/// Pods that the API has evicted and that are still there, with the times of that.
fn disrupted(
    budget: &PodDisruptionBudget,
    pods: &[&Arc<Pod>],
    now: Now,
    outcome: &mut Outcome,
) -> BTreeMap<String, Time> {
    let noted = budget.status.as_ref().and_then(|status| status.disrupted_pods.as_ref());
    let Some(noted) = noted else { return BTreeMap::new() };
    let mut waiting = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pods::is_deleting(pod)) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(time) = noted.get(&name) else { continue };
        let left = time.0.as_second() + DELETION_TIMEOUT_SECS - now.wall.as_second();
        if let Ok(left) = u64::try_from(left) {
            outcome.again(Duration::from_secs(left + 1));
            waiting.insert(name, time.clone());
        } else {
            let budget = Key::of(&budget.metadata);
            let why = format!("Pod was expected by PDB {budget} to be deleted but it wasn't");
            let object = Object::Pod((*pod).clone());
            outcome.notes.push(Note::warning(COMPONENT, &object, "NotDeleted", why));
        }
    }
    waiting
}

struct Expected {
    pods: i32,
    healthy: i32,
    /// Pods that nobody would replace.
    unmanaged: usize,
}

fn expected(
    budget: &PodDisruptionBudget,
    pods: &[&Arc<Pod>],
    world: &World,
) -> Result<Expected, String> {
    let spec = budget.spec.as_ref();
    let least = spec.and_then(|spec| spec.min_available.as_ref());
    let most = spec.and_then(|spec| spec.max_unavailable.as_ref());
    let count = i32::try_from(pods.len()).unwrap_or(i32::MAX);
    Ok(match (most, least) {
        (Some(most), _) => {
            let (pods, unmanaged) = scale(pods, world)?;
            let missing = part_of(most, pods)?;
            Expected { pods, healthy: (pods - missing).max(0), unmanaged }
        }
        (None, Some(IntOrString::Int(least))) => {
            Expected { pods: count, healthy: *least, unmanaged: 0 }
        }
        (None, Some(least)) => {
            let (pods, unmanaged) = scale(pods, world)?;
            Expected { pods, healthy: part_of(least, pods)?, unmanaged }
        }
        (None, None) => Expected { pods: 0, healthy: 0, unmanaged: 0 },
    })
}

/// A percentage is rounded up.
fn part_of(amount: &IntOrString, whole: i32) -> Result<i32, String> {
    let part = percent::part_of(amount, whole.into(), Rounding::Up);
    let invalid = || json!(amount).as_str().unwrap_or_default().to_owned();
    let part = part.ok_or_else(|| format!("invalid value for IntOrString: {}", invalid()))?;
    i32::try_from(part).map_err(|error| error.to_string())
}

/// How many pods their controllers are to keep, all in all, and how many pods have none.
fn scale(pods: &[&Arc<Pod>], world: &World) -> Result<(i32, usize), String> {
    let mut counted: BTreeSet<Ref> = BTreeSet::new();
    let (mut total, mut unmanaged) = (0_i32, 0);
    for pod in pods {
        let Some(owner) = controller_of(&pod.metadata) else {
            unmanaged += 1;
            continue;
        };
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let (reference, replicas) = controller(&owner.uid, world)
            .ok_or_else(|| format!("found no controllers for pod {name:?}"))?;
        if counted.insert(reference) {
            total = total.saturating_add(replicas);
        }
    }
    Ok((total, unmanaged))
}

/// The controller that in the end says how many pods there are.
fn controller(uid: &str, world: &World) -> Option<(Ref, i32)> {
    let reference = world.by_uid(uid)?;
    match world.objects.get(reference.kind, &reference.key)? {
        Object::ReplicaSet(set) => {
            let above = controller_of(&set.metadata).and_then(|one| controller(&one.uid, world));
            Some(above.unwrap_or((reference.clone(), set.spec.replicas.unwrap_or(1))))
        }
        Object::Deployment(one) => Some((reference.clone(), one.spec.replicas.unwrap_or(1))),
        _ => None,
    }
}

struct Status {
    expected: i32,
    desired: i32,
    healthy: i32,
    allowed: i32,
    /// Why the rest is not known anew.
    failure: Option<String>,
}

impl Status {
    /// Nothing may go while it is not known how many are there.
    fn failed(budget: &PodDisruptionBudget, why: String) -> Self {
        let status = budget.status.clone().unwrap_or_default();
        let failure = Some(why);
        Self {
            expected: status.expected_pods.unwrap_or_default(),
            desired: status.desired_healthy.unwrap_or_default(),
            healthy: status.current_healthy.unwrap_or_default(),
            allowed: 0,
            failure,
        }
    }

    fn to_value(
        &self,
        budget: &PodDisruptionBudget,
        disrupted: &BTreeMap<String, Time>,
        now: Now,
    ) -> Value {
        let (state, reason) = match (&self.failure, self.allowed) {
            (Some(_), _) => ("False", "SyncFailed"),
            (None, 0) => ("False", "InsufficientPods"),
            (None, _) => ("True", "SufficientPods"),
        };
        let known = budget.status.iter().flat_map(|s| s.conditions.iter().flatten());
        let is_ours = |condition: &&Condition| condition.type_ == "DisruptionAllowed";
        let since = known.clone().find(is_ours).filter(|c| c.status == state);
        let generation = budget.metadata.generation.unwrap_or_default();
        let mut conditions: Vec<Condition> = known.filter(|c| !is_ours(c)).cloned().collect();
        conditions.push(Condition {
            type_: "DisruptionAllowed".into(),
            status: state.into(),
            reason: reason.into(),
            message: self.failure.clone().unwrap_or_default(),
            observed_generation: Some(generation),
            last_transition_time: since
                .map_or_else(|| now.time(), |condition| condition.last_transition_time.clone()),
        });
        let mut status = json!({
            "expectedPods": self.expected,
            "desiredHealthy": self.desired,
            "currentHealthy": self.healthy,
            "disruptionsAllowed": self.allowed,
            "disruptedPods": disrupted,
            "conditions": conditions,
        });
        // What could not be looked at is not said to be.
        if self.failure.is_none() {
            status["observedGeneration"] = generation.into();
        }
        status
    }
}

/// The merge patch from one object to the fields of another.
fn change(before: &Value, after: &Value) -> Value {
    let mut patch = json!({});
    for (field, value) in after.as_object().into_iter().flatten() {
        match (&before[field], value) {
            (was @ Value::Object(_), Value::Object(is)) => {
                let mut inner = change(was, value);
                for gone in was.as_object().into_iter().flatten().map(|(key, _)| key) {
                    if !is.contains_key(gone) {
                        inner[gone] = Value::Null;
                    }
                }
                if !is_empty(&inner) {
                    patch[field] = inner;
                }
            }
            (Value::Null, Value::Object(is)) if is.is_empty() => {}
            (was, is) if was != is => patch[field] = is.clone(),
            _ => {}
        }
    }
    patch
}

fn is_empty(object: &Value) -> bool {
    object.as_object().is_none_or(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests;
