//! The ReplicaSets of a Deployment and what each is to become.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use serde_json::{Map, Value, json};

use super::{COMPONENT, bounds::Bounds, template};
use crate::{
    kinds::Object,
    operation::{Note, Outcome, Step, patch},
};

/// What the Deployment wished for when the set's size was last planned; a difference means that it
/// was scaled meanwhile.
pub(super) const DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// The same with its surge.
pub(super) const MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";

/// A ReplicaSet, and beside it its size and annotations as planned.
#[derive(Clone, Debug)]
pub(super) struct Set {
    pub object: Arc<ReplicaSet>,
    pub size: i64,
    pub annotations: BTreeMap<String, String>,
    pub min_ready_secs: i32,
}

impl Set {
    fn new(object: Arc<ReplicaSet>) -> Self {
        Self {
            size: size_of(&object),
            annotations: object.metadata.annotations.clone().unwrap_or_default(),
            min_ready_secs: object.spec.min_ready_seconds.unwrap_or_default(),
            object,
        }
    }

    pub(super) fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub(super) fn number(&self, annotation: &str) -> Option<i64> {
        self.annotations.get(annotation)?.parse().ok()
    }

    /// Pods that were there when the set was last counted.
    pub(super) fn counted(&self) -> i64 {
        self.object.status.as_ref().map_or(0, |status| i64::from(status.replicas))
    }

    /// Pods that may be there: a set that shrinks has them until it has deleted them.
    pub(super) fn at_most(&self) -> i64 {
        self.size.max(self.counted())
    }

    fn available(&self) -> i64 {
        let available = self.object.status.as_ref().and_then(|status| status.available_replicas);
        available.map_or(0, i64::from)
    }

    /// Pods that are available and remain so at the planned size. A set gives up pods that are not
    /// available first.
    pub(super) fn available_at_least(&self) -> i64 {
        self.available().min(self.size)
    }

    pub(super) fn unavailable(&self) -> i64 {
        self.size - self.available_at_least()
    }

    pub(super) fn is_active(&self) -> bool {
        self.size > 0
    }

    pub(super) fn resize(&mut self, size: i64, bounds: &Bounds) {
        self.size = size.max(0);
        self.annotations.extend(planned_for(bounds));
    }

    /// Whether it alone is what was wished for.
    pub(super) fn is_saturated(&self, bounds: &Bounds) -> bool {
        self.size == bounds.wanted
            && self.number(DESIRED_REPLICAS) == Some(bounds.wanted)
            && self.available() == bounds.wanted
    }

    /// The change from what is to what is planned.
    fn step(&self, owner: &Object) -> Option<Step> {
        let (before, spec) = (size_of(&self.object), &self.object.spec);
        let mut change = json!({});
        if self.size != before {
            change["spec"]["replicas"] = self.size.into();
        }
        if self.min_ready_secs != spec.min_ready_seconds.unwrap_or_default() {
            change["spec"]["minReadySeconds"] = self.min_ready_secs.into();
        }
        let known = self.object.metadata.annotations.as_ref();
        let is_new = |key: &str, value: &String| known.and_then(|all| all.get(key)) != Some(value);
        let annotations: Map<String, Value> = self
            .annotations
            .iter()
            .filter(|(key, value)| is_new(key, value))
            .map(|(key, value)| (key.clone(), value.as_str().into()))
            .collect();
        if !annotations.is_empty() {
            change["metadata"]["annotations"] = annotations.into();
        }
        if change == json!({}) {
            return None;
        }
        let done = (self.size != before).then(|| scaled(owner, self.name(), before, self.size));
        let operation = patch(&Object::ReplicaSet(self.object.clone()), None, change);
        Some(Step { operation, done, failed: None })
    }
}

pub(super) fn planned_for(bounds: &Bounds) -> [(String, String); 2] {
    [(DESIRED_REPLICAS, bounds.wanted), (MAX_REPLICAS, bounds.most())]
        .map(|(key, number)| (key.to_owned(), number.to_string()))
}

/// The Event of a change of size.
pub(super) fn scaled(owner: &Object, set: &str, from: i64, to: i64) -> Note {
    let way = if to > from { "up" } else { "down" };
    let message = format!("Scaled {way} replica set {set} from {from} to {to}");
    Note::normal(COMPONENT, owner, "ScalingReplicaSet", message)
}

fn size_of(set: &ReplicaSet) -> i64 {
    i64::from(set.spec.replicas.unwrap_or(1))
}

/// A Deployment in the middle of things.
#[derive(Debug)]
pub(super) struct Rollout<'a> {
    pub deployment: &'a Deployment,
    pub bounds: Bounds,
    /// The set of the Deployment's template.
    pub new: Option<Set>,
    /// The others, the oldest first.
    pub old: Vec<Set>,
}

impl<'a> Rollout<'a> {
    pub(super) fn new(
        deployment: &'a Deployment,
        sets: impl IntoIterator<Item = Arc<ReplicaSet>>,
    ) -> Self {
        let mut old: Vec<Set> = sets.into_iter().map(Set::new).collect();
        old.sort_by_cached_key(|set| {
            let created = set.object.metadata.creation_timestamp.clone().map(|time| time.0);
            (created, set.name().to_owned())
        });
        // Should there be several, the oldest is the one that others before us have chosen.
        let is_new = |set: &Set| {
            let template = set.object.spec.template.as_ref();
            template.is_some_and(|one| template::is_same(one, &deployment.spec.template))
        };
        let new = old.iter().position(is_new).map(|index| old.remove(index));
        Self { deployment, bounds: Bounds::of(deployment), new, old }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Set> {
        self.old.iter_mut().chain(&mut self.new)
    }

    /// Whether the Deployment was scaled since its sets' sizes were planned.
    pub(super) fn is_resized(&self) -> bool {
        let planned = |set: &Set| set.number(DESIRED_REPLICAS);
        self.all()
            .filter(|set| set.is_active())
            .filter_map(planned)
            .any(|desired| desired != self.bounds.wanted)
    }

    /// To how many the new set may grow; `size` is what it has.
    pub(super) fn grown(&self, size: i64) -> i64 {
        let others: i64 = self.old.iter().map(Set::at_most).sum();
        let counted = self.new.as_ref().map_or(0, Set::at_most);
        let room = self.bounds.most() - others - counted;
        size + room.max(0).min(self.bounds.wanted - size).max(0)
    }

    pub(super) fn push_changes(&self, owner: &Object, outcome: &mut Outcome) {
        let sets = self.new.iter().chain(&self.old);
        sets.filter_map(|set| set.step(owner)).for_each(|step| outcome.push(step));
    }
}
