//! What reconcilers want done, as values.

use std::time::Duration;

use k8s_openapi::{
    api::core::v1::ObjectReference,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time},
    jiff::Timestamp,
};
use serde_json::{Value, json};

use crate::kinds::{Key, Kind, Object, Ref};

/// The moment of a reconciliation. Deadlines of our own count by the uptime, which no one sets;
/// what objects say of times is compared with the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub wall: Timestamp,
    pub uptime: Duration,
}

impl Now {
    /// As objects say it: whole seconds.
    pub(crate) fn time(self) -> Time {
        Time(Timestamp::from_second(self.wall.as_second()).unwrap_or(self.wall))
    }
}

/// One request to the API. All but Create carry what they were computed from, so that what has
/// changed meanwhile is a conflict and no overwriting.
#[derive(Clone, Debug, PartialEq)]
pub enum Operation {
    Create {
        kind: Kind,
        namespace: String,
        object: Value,
    },
    /// A merge patch (RFC 7386).
    Patch {
        target: Ref,
        subresource: Option<&'static str>,
        patch: Value,
    },
    Delete {
        target: Ref,
        uid: String,
        grace_secs: Option<u32>,
        propagation: Propagation,
    },
    /// Puts a pod on a node (the `binding` subresource).
    Bind {
        pod: Key,
        uid: String,
        node: String,
    },
    /// Says on a pod why it is made to go, and deletes it.
    Disrupt {
        pod: Key,
        uid: String,
        reason: &'static str,
        message: String,
    },
    /// Deletes the target if the API confirms that none of its owners is there. The cache alone is
    /// no proof: owners and dependents come by different watches.
    Collect {
        target: Ref,
        uid: String,
        owners: Vec<OwnerReference>,
    },
    /// Deletes what is in a namespace and, once the API confirms that nothing is left, the
    /// finalizer that holds it.
    Finalize {
        namespace: String,
    },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    #[default]
    Background,
    Foreground,
}

/// An Event about an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub about: ObjectReference,
    pub warning: bool,
    pub reason: &'static str,
    /// `{}` stands for the name of the object that the operation made, or for its error.
    pub message: String,
    pub component: &'static str,
}

impl Note {
    pub fn normal(
        component: &'static str,
        about: &Object,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        let metadata = about.metadata();
        let about = ObjectReference {
            api_version: Some(about.kind().api_version()),
            kind: Some(about.kind().name().into()),
            name: metadata.name.clone(),
            namespace: metadata.namespace.clone(),
            uid: metadata.uid.clone(),
            resource_version: metadata.resource_version.clone(),
            field_path: None,
        };
        Self { about, warning: false, reason, message: message.into(), component }
    }

    pub fn warning(
        component: &'static str,
        about: &Object,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { warning: true, ..Self::normal(component, about, reason, message) }
    }
}

/// An operation and what is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub operation: Operation,
    pub done: Option<Note>,
    pub failed: Option<Note>,
}

impl From<Operation> for Step {
    fn from(operation: Operation) -> Self {
        Self { operation, done: None, failed: None }
    }
}

/// What a reconciliation comes to. Nothing at all means that everything is as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// In this order; after one that fails the rest is not tried, and all is computed anew.
    pub steps: Vec<Step>,
    /// Whether the steps are independent of each other and may be made side by side.
    pub parallel: bool,
    pub notes: Vec<Note>,
    /// What follows where the API refuses a Create, for the object to say why. `{}` in its texts
    /// stands for the words of the API.
    pub if_refused: Option<Operation>,
    /// When to look again though nothing changes.
    pub again_after: Option<Duration>,
}

impl Outcome {
    pub(crate) fn push(&mut self, step: impl Into<Step>) {
        self.steps.push(step.into());
    }

    pub(crate) fn again(&mut self, after: Duration) {
        self.again_after = Some(self.again_after.map_or(after, |soonest| soonest.min(after)));
    }
}

/// A merge patch of `object` as we know it: another revision, or another object of the same name,
/// is a conflict.
pub(crate) fn patch(
    object: &Object,
    subresource: Option<&'static str>,
    mut patch: Value,
) -> Operation {
    let metadata = object.metadata();
    if !patch["metadata"].is_object() {
        patch["metadata"] = json!({});
    }
    patch["metadata"]["uid"] = json!(metadata.uid);
    patch["metadata"]["resourceVersion"] = json!(metadata.resource_version);
    Operation::Patch { target: object.reference(), subresource, patch }
}

pub(crate) fn delete(object: &Object) -> Operation {
    Operation::Delete {
        target: object.reference(),
        uid: object.uid().to_owned(),
        grace_secs: None,
        propagation: Propagation::Background,
    }
}

/// Without waiting for a node that will not answer.
pub(crate) fn delete_at_once(object: &Object) -> Operation {
    Operation::Delete {
        target: object.reference(),
        uid: object.uid().to_owned(),
        grace_secs: Some(0),
        propagation: Propagation::Background,
    }
}

pub(crate) fn controller_of(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

/// That `owner` controls an object.
pub(crate) fn controlled_by(owner: &Object) -> OwnerReference {
    OwnerReference {
        api_version: owner.kind().api_version(),
        kind: owner.kind().name().into(),
        name: owner.metadata().name.clone().unwrap_or_default(),
        uid: owner.uid().to_owned(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}
