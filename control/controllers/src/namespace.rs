//! Empties namespaces that are being deleted.

use crate::{
    kinds::Key,
    operation::{Operation, Outcome},
    world::World,
};

/// The finalizer that every namespace carries in its spec.
pub(crate) const FINALIZER: &str = "kubernetes";

pub(crate) fn reconcile(name: &str, world: &World) -> Outcome {
    let mut outcome = Outcome::default();
    let Some(namespace) = world.objects.namespaces.get(&Key::new("", name)) else {
        return outcome;
    };
    let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.as_ref());
    let held = finalizers.into_iter().flatten().any(|finalizer| finalizer == FINALIZER);
    if namespace.metadata.deletion_timestamp.is_some() && held {
        outcome.push(Operation::Finalize { namespace: name.to_owned() });
    }
    outcome
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{NOW, object, world};

    #[test]
    fn only_one_that_is_deleted_and_held_is_emptied() {
        let steps = |metadata: Value, spec: Value| {
            let namespace: Namespace = object(
                json!({"metadata": {"name": "x"}}),
                json!({"metadata": metadata, "spec": spec}),
            );
            let mut world = world([]);
            world.observe(namespace, NOW);
            reconcile("x", &world).steps.len()
        };
        let deleted = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
        let held = json!({"finalizers": ["kubernetes"]});
        assert_eq!(steps(deleted.clone(), held.clone()), 1);
        assert_eq!(steps(json!({}), held), 0);
        assert_eq!(steps(deleted, json!({"finalizers": ["other"]})), 0);
    }
}
