//! Which reconciliations a change calls for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};

use crate::{
    ControllersConfig, block, collect, deployment, disruption, endpoint_slice,
    kinds::{Key, Kind, Object, Ref},
    namespace, node_lifecycle,
    operation::{Now, Outcome, controller_of},
    pods, replica_set, scheduling, selector, vip,
    world::{Change, NODE_LEASES, World},
};

/// One controller, and the object it is to look at where it looks at one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Task {
    Schedule,
    Deployment(Key),
    ReplicaSet(Key),
    EndpointSlices(Key),
    Budget(Key),
    Node(String),
    Vips,
    Blocks,
    Collect(Ref),
    Namespace(String),
}

impl Task {
    pub(crate) fn controller(&self) -> &'static str {
        match self {
            Self::Schedule => "scheduler",
            Self::Deployment(_) => "deployment",
            Self::ReplicaSet(_) => "replicaset",
            Self::EndpointSlices(_) => "endpointslice",
            Self::Budget(_) => "disruption",
            Self::Node(_) => "node-lifecycle",
            Self::Vips => "vip",
            Self::Blocks => "ip-block",
            Self::Collect(_) => "garbage-collector",
            Self::Namespace(_) => "namespace",
        }
    }

    pub(crate) fn reconcile(&self, world: &World, config: &ControllersConfig, now: Now) -> Outcome {
        match self {
            Self::Schedule => scheduling::reconcile(world, now),
            Self::Deployment(key) => deployment::reconcile(key, world, now),
            Self::ReplicaSet(key) => replica_set::reconcile(key, world, now),
            Self::EndpointSlices(key) => endpoint_slice::reconcile(key, world),
            Self::Budget(key) => disruption::reconcile(key, world, now),
            Self::Node(name) => node_lifecycle::reconcile(name, world, config, now),
            Self::Vips => vip::reconcile(world, now),
            Self::Blocks => block::reconcile(world),
            Self::Collect(reference) => collect::reconcile(reference, world),
            Self::Namespace(name) => namespace::reconcile(name, world),
        }
    }
}

/// Everything there is to look at, for the start.
pub(crate) fn all(world: &World) -> BTreeSet<Task> {
    let mut tasks = BTreeSet::from([Task::Schedule, Task::Vips, Task::Blocks]);
    for kind in Kind::ALL {
        for key in world.objects.keys(*kind) {
            let reference = Ref { kind: *kind, key };
            let new = world.objects.get(reference.kind, &reference.key);
            tasks.extend(affected(&Change { reference, old: None, new }, world));
        }
    }
    tasks
}

pub(crate) fn affected(change: &Change, world: &World) -> BTreeSet<Task> {
    let mut tasks = BTreeSet::new();
    let key = &change.reference.key;
    for object in [&change.old, &change.new].into_iter().flatten() {
        match object {
            Object::Pod(pod) => of_pod(key, pod, world, &mut tasks),
            Object::Node(_) => {
                tasks.extend([Task::Schedule, Task::Blocks, Task::Node(key.name.clone())]);
            }
            Object::Lease(_) if key.namespace == NODE_LEASES => {
                tasks.insert(Task::Node(key.name.clone()));
            }
            Object::Deployment(_) => {
                tasks.insert(Task::Deployment(key.clone()));
                of_scale(key, world, &mut tasks);
            }
            Object::ReplicaSet(set) => {
                tasks.insert(Task::ReplicaSet(key.clone()));
                of_set(key, set, world, &mut tasks);
                of_scale(key, world, &mut tasks);
            }
            Object::PodDisruptionBudget(_) => {
                tasks.insert(Task::Budget(key.clone()));
            }
            Object::Service(_) => {
                tasks.extend([Task::EndpointSlices(key.clone()), Task::Vips]);
            }
            Object::EndpointSlice(slice) => {
                let labels = slice.metadata.labels.as_ref();
                let service = labels.and_then(|all| all.get(endpoint_slice::SERVICE_NAME));
                let key = service.map(|name| Key::new(key.namespace.clone(), name.clone()));
                tasks.extend(key.map(Task::EndpointSlices));
            }
            Object::IPPool(_) | Object::IPBlock(_) => {
                tasks.insert(Task::Blocks);
            }
            Object::VIPPool(_) => {
                tasks.insert(Task::Vips);
            }
            // Affinity selects namespaces by their labels.
            Object::Namespace(_) => {
                tasks.extend([Task::Namespace(key.name.clone()), Task::Schedule]);
            }
            Object::Lease(_)
            | Object::ConfigMap(_)
            | Object::Secret(_)
            | Object::ServiceAccount(_) => {}
        }
    }
    of_owners(change, world, &mut tasks);
    let namespace = world.objects.namespaces.get(&Key::new("", key.namespace.clone()));
    let emptying = namespace.is_some_and(|n| n.metadata.deletion_timestamp.is_some());
    if emptying && change.new.is_none() {
        tasks.insert(Task::Namespace(key.namespace.clone()));
    }
    tasks
}

/// How many pods an owner is to keep counts for percentages.
fn of_scale(key: &Key, world: &World, tasks: &mut BTreeSet<Task>) {
    let budgets = in_namespace(&world.objects.budgets, &key.namespace);
    tasks.extend(budgets.map(|(key, _)| Task::Budget(key.clone())));
}

fn of_pod(key: &Key, pod: &Pod, world: &World, tasks: &mut BTreeSet<Task>) {
    tasks.extend([Task::Schedule, Task::Blocks]);
    tasks.extend(pods::node_of(pod).map(|node| Task::Node(node.to_owned())));
    let labels = pod.metadata.labels.as_ref();
    let covering = in_namespace(&world.objects.budgets, &key.namespace)
        .filter(|(_, budget)| disruption::covers(budget, labels));
    tasks.extend(covering.map(|(key, _)| Task::Budget(key.clone())));
    match controller_of(&pod.metadata) {
        Some(owner) => of_controlled_pod(&owner.uid, world, tasks),
        None => {
            let sets = in_namespace(&world.objects.replica_sets, &key.namespace);
            let mine = sets.filter(|(_, set)| selector::matches(&set.spec.selector, labels));
            tasks.extend(mine.map(|(set, _)| Task::ReplicaSet(set.clone())));
        }
    }
    for (service, object) in in_namespace(&world.objects.services, &key.namespace) {
        let selector = object.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        if selector.is_some_and(|selector| selector::matches_all(selector, labels)) {
            tasks.insert(Task::EndpointSlices(service.clone()));
        }
    }
}

fn of_controlled_pod(owner: &str, world: &World, tasks: &mut BTreeSet<Task>) {
    let Some(Ref { kind: Kind::ReplicaSet, key }) = world.by_uid(owner) else { return };
    tasks.insert(Task::ReplicaSet(key.clone()));
    // A Deployment that makes its pods anew waits for the last of the old ones.
    let Some(set) = world.objects.replica_sets.get(key) else { return };
    let Some(owner) = controller_of(&set.metadata) else { return };
    if let Some(Ref { kind: Kind::Deployment, key }) = world.by_uid(&owner.uid)
        && world.objects.deployments.get(key).is_some_and(|one| deployment::is_recreated(one))
    {
        tasks.insert(Task::Deployment(key.clone()));
    }
}

fn of_set(key: &Key, set: &ReplicaSet, world: &World, tasks: &mut BTreeSet<Task>) {
    match controller_of(&set.metadata) {
        Some(owner) => {
            if let Some(Ref { kind: Kind::Deployment, key }) = world.by_uid(&owner.uid) {
                tasks.insert(Task::Deployment(key.clone()));
            }
        }
        None => {
            let labels = set.metadata.labels.as_ref();
            let all = in_namespace(&world.objects.deployments, &key.namespace);
            let mine = all.filter(|(_, one)| selector::matches(&one.spec.selector, labels));
            tasks.extend(mine.map(|(deployment, _)| Task::Deployment(deployment.clone())));
        }
    }
}

fn in_namespace<'a, K>(
    all: &'a BTreeMap<Key, Arc<K>>,
    namespace: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a Arc<K>)> {
    all.range(Key::new(namespace, "")..).take_while(move |(key, _)| key.namespace == namespace)
}

fn of_owners(change: &Change, world: &World, tasks: &mut BTreeSet<Task>) {
    match &change.new {
        Some(object) => {
            let metadata = object.metadata();
            let lost = |uid: &str| world.by_uid(uid).is_none();
            let orphaned = metadata.owner_references.iter().flatten().any(|o| lost(&o.uid));
            let held = metadata.finalizers.as_ref().is_some_and(|all| !all.is_empty());
            if orphaned || held && metadata.deletion_timestamp.is_some() {
                tasks.insert(Task::Collect(change.reference.clone()));
            }
        }
        None => {
            let uid = change.old.as_ref().map(Object::uid).unwrap_or_default();
            tasks.extend(world.dependents(uid).cloned().map(Task::Collect));
        }
    }
    // An owner that waits for its dependents.
    let old = change.old.as_ref().map(Object::metadata);
    for owner in old.iter().flat_map(|metadata| metadata.owner_references.iter().flatten()) {
        let Some(reference) = world.by_uid(&owner.uid) else { continue };
        let owner = world.objects.get(reference.kind, &reference.key);
        if owner.is_some_and(|owner| owner.metadata().deletion_timestamp.is_some()) {
            tasks.insert(Task::Collect(reference.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::Deployment;
    use serde_json::{Value, json};

    use super::*;
    use crate::testing::{NOW, object, pod, world};

    fn owned_by(kind: &str, name: &str) -> Value {
        json!([{"apiVersion": "apps/v1", "kind": kind, "name": name, "uid": format!("uid-{name}"),
            "controller": true}])
    }

    fn set(name: &str, changes: Value) -> ReplicaSet {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
        let base = json!({"metadata": {"name": name, "namespace": "default",
            "labels": {"app": "web"}}, "spec": {"selector": {"matchLabels": {"app": "web"}},
            "template": template}});
        object(base, changes)
    }

    fn deployment(name: &str, strategy: &str) -> Deployment {
        let template = json!({"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}});
        let base = json!({"metadata": {"name": name, "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template}});
        object(base, json!({"spec": {"strategy": {"type": strategy}}}))
    }

    fn named(tasks: &BTreeSet<Task>) -> Vec<String> {
        let name = |task: &Task| match task {
            Task::Deployment(key) => Some(format!("deployment {}", key.name)),
            Task::ReplicaSet(key) => Some(format!("set {}", key.name)),
            _ => None,
        };
        tasks.iter().filter_map(name).collect()
    }

    fn observed(world: &mut World, object: impl Into<Object>) -> Vec<String> {
        let change = world.observe(object, NOW).unwrap();
        named(&affected(&change, world))
    }

    #[test]
    fn a_change_of_a_set_calls_its_owner_or_those_who_might_be() {
        let mut world = world([]);
        assert_eq!(observed(&mut world, deployment("a", "RollingUpdate")), ["deployment a"]);
        observed(&mut world, deployment("b", "Recreate"));
        let stray = set("s", json!({}));
        assert_eq!(observed(&mut world, stray), ["deployment a", "deployment b", "set s"]);
        let owners = json!({"metadata": {"ownerReferences": owned_by("Deployment", "a")}});
        assert_eq!(observed(&mut world, set("t", owners)), ["deployment a", "set t"]);
        let other = json!({"metadata": {"labels": {"app": "other"}}});
        assert_eq!(observed(&mut world, set("u", other)), ["set u"]);
    }

    #[test]
    fn a_pod_calls_its_set_and_where_pods_are_waited_for_the_deployment() {
        let mut world = world([]);
        for (name, strategy) in [("a", "RollingUpdate"), ("b", "Recreate")] {
            observed(&mut world, deployment(name, strategy));
            let owners = json!({"metadata": {"ownerReferences": owned_by("Deployment", name)}});
            observed(&mut world, set(&format!("of-{name}"), owners));
        }
        let owned =
            |set: &str| json!({"metadata": {"ownerReferences": owned_by("ReplicaSet", set)}});
        assert_eq!(observed(&mut world, pod("p", owned("of-a"))), ["set of-a"]);
        assert_eq!(observed(&mut world, pod("q", owned("of-b"))), ["deployment b", "set of-b"]);
        let gone = Object::from(pod("q", owned("of-b")));
        let change = world.remove(&gone.reference(), gone.uid(), NOW).unwrap();
        assert_eq!(named(&affected(&change, &world)), ["deployment b", "set of-b"]);
        // Nobody's pod may be anybody's.
        assert_eq!(observed(&mut world, pod("r", json!({}))), ["set of-a", "set of-b"]);
    }
}
