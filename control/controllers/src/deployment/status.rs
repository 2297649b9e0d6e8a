//! What a Deployment tells of itself: counts, conditions and the revision.

use std::time::Duration;

use k8s_openapi::api::apps::v1::{
    Deployment, DeploymentCondition, DeploymentStatus, ReplicaSetStatus,
};
use serde_json::json;

use super::{
    bounds::Bounds,
    revision::{Newest, REVISION},
    sets::{Rollout, Set},
};
use crate::{
    kinds::Object,
    operation::{Now, Operation, Outcome, patch},
    replica_set::REPLICA_FAILURE,
};

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";

const PAUSED: &str = "DeploymentPaused";
const RESUMED: &str = "DeploymentResumed";
const NEW_SET: &str = "NewReplicaSetCreated";
const FOUND_SET: &str = "FoundNewReplicaSet";
const UPDATED: &str = "ReplicaSetUpdated";
const COMPLETE: &str = "NewReplicaSetAvailable";
const TIMED_OUT: &str = "ProgressDeadlineExceeded";
pub(super) const CREATE_ERROR: &str = "ReplicaSetCreateError";

/// The deadline that is none.
const NO_DEADLINE: i32 = i32::MAX;

/// The status as it was, and as it will be.
pub(super) struct Status<'a> {
    deployment: &'a Deployment,
    bounds: Bounds,
    before: DeploymentStatus,
    after: DeploymentStatus,
    revision: Option<String>,
    now: Now,
}

impl<'a> Status<'a> {
    pub(super) fn new(deployment: &'a Deployment, now: Now) -> Self {
        let before = deployment.status.clone().unwrap_or_default();
        let bounds = Bounds::of(deployment);
        Self { deployment, bounds, after: before.clone(), before, revision: None, now }
    }

    /// A pause is told as a stop of the progress, unless there was none any more.
    pub(super) fn pause_or_resume(&mut self) {
        let reason = self.progressing().and_then(|condition| condition.reason.as_deref());
        if self.deadline_secs().is_none() || reason == Some(TIMED_OUT) {
            return;
        }
        let paused = self.deployment.spec.paused == Some(true);
        let was_paused = reason == Some(PAUSED);
        if paused && !was_paused {
            self.set(PROGRESSING, "Unknown", PAUSED, "Deployment is paused".to_owned());
        } else if !paused && was_paused {
            self.set(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed".to_owned());
        }
    }

    /// The name that the new set would have is taken: the next try has another.
    pub(super) fn collide(&mut self) {
        let count = self.after.collision_count.unwrap_or_default();
        self.after.collision_count = Some(count.saturating_add(1));
    }

    pub(super) fn created(&mut self, name: &str, revision: i64) {
        self.revision = Some(revision.to_string());
        if self.deadline_secs().is_some() {
            let message = format!("Created new replica set \"{name}\"");
            self.set(PROGRESSING, "True", NEW_SET, message);
        }
    }

    pub(super) fn found(&mut self, new: &Newest) {
        self.revision = Some(new.revision.clone());
        if self.deadline_secs().is_some() && self.progressing().is_none() {
            let message = format!("Found new replica set \"{}\"", new.name);
            self.set(PROGRESSING, "True", FOUND_SET, message);
        }
    }

    /// What is told where the API refuses the new set, `{}` for its words.
    pub(super) fn refused(&self, object: &Object, name: &str) -> Option<Operation> {
        self.deadline_secs()?;
        let mut after = self.after.clone();
        let message = format!("Failed to create new replica set \"{name}\": {{}}");
        let condition = self.condition(PROGRESSING, "False", CREATE_ERROR, message);
        put(&mut after, condition);
        Some(patch(object, Some("status"), json!({ "status": after })))
    }

    /// Sums up the sets, and says whether enough is available.
    pub(super) fn count(&mut self, rollout: &Rollout<'_>) {
        let sum = |number: fn(&ReplicaSetStatus) -> Option<i32>| -> i32 {
            rollout.all().filter_map(|set| number(set.object.status.as_ref()?)).sum()
        };
        let available = sum(|status| status.available_replicas);
        let planned: i64 = rollout.all().map(|set| set.size).sum();
        let unavailable = planned.saturating_sub(i64::from(available)).max(0);
        let updated = rollout.new.as_ref().map_or(0, Set::counted);
        let after = &mut self.after;
        after.observed_generation = self.deployment.metadata.generation;
        after.replicas = Some(sum(|status| Some(status.replicas)));
        after.updated_replicas = Some(i32::try_from(updated).unwrap_or(i32::MAX));
        after.ready_replicas = Some(sum(|status| status.ready_replicas));
        after.available_replicas = Some(available);
        after.unavailable_replicas = Some(i32::try_from(unavailable).unwrap_or(i32::MAX));
        after.terminating_replicas = Some(sum(|status| status.terminating_replicas));
        let (status, reason, message) = if i64::from(available) >= self.bounds.fewest() {
            ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
        } else {
            (
                "False",
                "MinimumReplicasUnavailable",
                "Deployment does not have minimum availability.",
            )
        };
        self.set(AVAILABLE, status, reason, message.to_owned());
    }

    /// Whether the rollout comes on, is done or is stuck, and why pods are refused.
    pub(super) fn estimate(&mut self, rollout: &Rollout<'_>, outcome: &mut Outcome) {
        let new = rollout.new.as_ref();
        let deadline_secs = self.deadline_secs();
        if deadline_secs.is_none() {
            remove(&mut self.after, PROGRESSING);
        }
        let was_complete = self.after.replicas == self.after.updated_replicas
            && self.progressing().is_some_and(|one| one.reason.as_deref() == Some(COMPLETE));
        if let Some(deadline_secs) = deadline_secs
            && !was_complete
        {
            let subject = match new {
                Some(new) => format!("ReplicaSet \"{}\"", new.name()),
                None => {
                    let name = self.deployment.metadata.name.as_deref().unwrap_or_default();
                    format!("Deployment \"{name}\"")
                }
            };
            self.progress(&subject, deadline_secs, outcome);
        }
        match failure(rollout) {
            Some(condition) => put(&mut self.after, condition),
            None => remove(&mut self.after, REPLICA_FAILURE),
        }
    }

    fn progress(&mut self, subject: &str, deadline_secs: i32, outcome: &mut Outcome) {
        if self.is_complete() {
            let message = format!("{subject} has successfully progressed.");
            self.set(PROGRESSING, "True", COMPLETE, message);
        } else if self.has_moved() {
            let message = format!("{subject} is progressing.");
            // Told anew at every move: the deadline counts from the last.
            let condition = self.condition(PROGRESSING, "True", UPDATED, message);
            remove(&mut self.after, PROGRESSING);
            put(&mut self.after, condition);
            outcome
                .again(Duration::from_secs(u64::try_from(deadline_secs).unwrap_or_default() + 1));
        } else if let Some(left_secs) = self.left_secs(deadline_secs) {
            if left_secs < 0 {
                let message = format!("{subject} has timed out progressing.");
                self.set(PROGRESSING, "False", TIMED_OUT, message);
            } else {
                let left_secs = u64::try_from(left_secs).unwrap_or_default();
                outcome.again(Duration::from_secs(left_secs + 1));
            }
        }
    }

    /// Whether all pods are of the newest template and available, and no others are left.
    pub(super) fn is_complete(&self) -> bool {
        let wanted = Some(self.bounds.wanted);
        let after = &self.after;
        [after.updated_replicas, after.replicas, after.available_replicas]
            .iter()
            .all(|count| count.map(i64::from) == wanted)
    }

    fn has_moved(&self) -> bool {
        let number = |count: Option<i32>| count.unwrap_or_default();
        let old =
            |status: &DeploymentStatus| number(status.replicas) - number(status.updated_replicas);
        let (before, after) = (&self.before, &self.after);
        number(after.updated_replicas) > number(before.updated_replicas)
            || old(after) < old(before)
            || number(after.ready_replicas) > number(before.ready_replicas)
            || number(after.available_replicas) > number(before.available_replicas)
    }

    /// Until the deadline; `None` where nothing is waited for.
    fn left_secs(&self, deadline_secs: i32) -> Option<i64> {
        let condition = self.progressing()?;
        let reason = condition.reason.as_deref();
        if [Some(COMPLETE), Some(TIMED_OUT), Some(PAUSED)].contains(&reason) {
            return None;
        }
        let moved_at = condition.last_update_time.as_ref()?.0.as_second();
        Some(moved_at + i64::from(deadline_secs) - self.now.wall.as_second())
    }

    fn deadline_secs(&self) -> Option<i32> {
        self.deployment.spec.progress_deadline_seconds.filter(|secs| *secs != NO_DEADLINE)
    }

    fn progressing(&self) -> Option<&DeploymentCondition> {
        find(&self.after, PROGRESSING)
    }

    fn set(&mut self, type_: &str, status: &str, reason: &str, message: String) {
        let condition = self.condition(type_, status, reason, message);
        put(&mut self.after, condition);
    }

    /// A condition as of now; one that stays what it is has been so for longer.
    fn condition(
        &self,
        type_: &str,
        status: &str,
        reason: &str,
        message: String,
    ) -> DeploymentCondition {
        let before =
            find(&self.after, type_).filter(|known| known.status.as_deref() == Some(status));
        let since = before.and_then(|condition| condition.last_transition_time.clone());
        DeploymentCondition {
            type_: Some(type_.to_owned()),
            status: Some(status.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_update_time: Some(self.now.time()),
            last_transition_time: Some(since.unwrap_or(self.now.time())),
        }
    }

    /// The change from what is told to what is so.
    pub(super) fn push(self, object: &Object, outcome: &mut Outcome) {
        let told = self.deployment.metadata.annotations.as_ref().and_then(|all| all.get(REVISION));
        let revision = self.revision.filter(|revision| Some(revision) != told);
        if revision.is_none() && self.after == self.before {
            return;
        }
        let mut change = json!({ "status": self.after });
        if let Some(revision) = revision {
            change["metadata"]["annotations"][REVISION] = revision.into();
        }
        outcome.push(patch(object, Some("status"), change));
    }
}

/// Why the pods of a set are refused, the new one's before all others.
fn failure(rollout: &Rollout<'_>) -> Option<DeploymentCondition> {
    let sets = rollout.new.iter().chain(&rollout.old);
    let all = sets.flat_map(|set| {
        let status = set.object.status.iter();
        status.flat_map(|status| status.conditions.iter().flatten())
    });
    let mut failures = all.filter(|condition| condition.type_.as_deref() == Some(REPLICA_FAILURE));
    failures.next().map(|condition| DeploymentCondition {
        type_: condition.type_.clone(),
        status: condition.status.clone(),
        reason: condition.reason.clone(),
        message: condition.message.clone(),
        last_update_time: condition.last_transition_time.clone(),
        last_transition_time: condition.last_transition_time.clone(),
    })
}

fn find<'a>(status: &'a DeploymentStatus, type_: &str) -> Option<&'a DeploymentCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_.as_deref() == Some(type_))
}

/// The same status for the same reason is not told again.
fn put(status: &mut DeploymentStatus, condition: DeploymentCondition) {
    let type_ = condition.type_.clone().unwrap_or_default();
    if let Some(known) = find(status, &type_)
        && known.status == condition.status
        && known.reason == condition.reason
    {
        return;
    }
    remove(status, &type_);
    status.conditions.get_or_insert_default().push(condition);
}

fn remove(status: &mut DeploymentStatus, type_: &str) {
    if let Some(conditions) = &mut status.conditions {
        conditions.retain(|condition| condition.type_.as_deref() != Some(type_));
    }
}
