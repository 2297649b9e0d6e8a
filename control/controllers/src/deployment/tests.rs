use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use serde_json::{Value, json};

use super::*;
use crate::{
    operation::{Operation, Step, controller_of},
    replica_set,
    testing::{NOW, apply, object, ready_node, world},
    world::World,
};

mod failing;
mod model;
mod revisions;
mod rollouts;

pub(super) fn deployment(changes: Value) -> Deployment {
    object(
        json!({
            "metadata": {"name": "web", "namespace": "default", "generation": 1},
            "spec": {
                "replicas": 3,
                "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
                "strategy": {"type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
                "selector": {"matchLabels": {"app": "web"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{"name": "c", "image": "echo:1"}]},
                },
            },
        }),
        changes,
    )
}

fn key() -> Key {
    Key::new("default", "web")
}

fn with(deployment: Deployment) -> World {
    let mut world = world([ready_node("n1")]);
    world.observe(deployment, NOW);
    world
}

/// The user changes the Deployment.
fn change(world: &mut World, changes: Value) {
    let mut value = json!(*world.objects.deployments[&key()]);
    crate::testing::merge(&mut value, &changes);
    let generation = value["metadata"]["generation"].as_i64().unwrap();
    value["metadata"]["generation"] = (generation + 1).into();
    world.observe(serde_json::from_value::<Deployment>(value).unwrap(), NOW);
}

fn image(image: &str) -> Value {
    let containers = json!([{"name": "c", "image": image}]);
    json!({"spec": {"template": {"spec": {"containers": containers}}}})
}

/// Every pod becomes ready, and its node runs it.
fn run_pods(world: &mut World) {
    let pods: Vec<Pod> = world.objects.pods.values().map(|pod| (**pod).clone()).collect();
    for mut pod in pods {
        set_ready(&mut pod, true);
        world.observe(pod, NOW);
    }
}

fn set_ready(pod: &mut Pod, ready: bool) {
    pod.spec.as_mut().unwrap().node_name = Some("n1".into());
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready",
        "status": if ready { "True" } else { "False" },
        "lastTransitionTime": "2026-01-01T00:00:00Z"}]});
    pod.status = Some(serde_json::from_value(status).unwrap());
}

/// The sets' own controller, until it has nothing to do.
fn run_sets(world: &mut World) {
    for key in world.objects.keys(Kind::ReplicaSet) {
        for _ in 0..20 {
            let outcome = replica_set::reconcile(&key, world, NOW);
            if outcome.steps.is_empty() {
                break;
            }
            apply(world, &outcome);
        }
    }
}

/// All controllers, with pods that are ready at once, until nothing moves.
fn settle(world: &mut World) {
    for _ in 0..100 {
        run_sets(world);
        run_pods(world);
        run_sets(world);
        let outcome = reconcile(&key(), world, NOW);
        if outcome.steps.is_empty() {
            return;
        }
        apply(world, &outcome);
    }
    panic!("never comes to rest: {:?}", reconcile(&key(), world, NOW));
}

/// Image, size and revision of each set, by revision.
fn sets(world: &World) -> Vec<(String, i32, String)> {
    let mut all: Vec<_> = world
        .objects
        .replica_sets
        .values()
        .map(|set| {
            let template = set.spec.template.as_ref().unwrap();
            let image = template.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
            let revision = annotation(set, revision::REVISION);
            (image, set.spec.replicas.unwrap(), revision)
        })
        .collect();
    all.sort_by_key(|(_, _, revision)| revision.parse::<u32>().unwrap());
    all
}

fn set(image: &str, size: i32, revision: &str) -> (String, i32, String) {
    (image.to_owned(), size, revision.to_owned())
}

fn annotation(set: &ReplicaSet, key: &str) -> String {
    let annotations = set.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(key)).cloned().unwrap_or_default()
}

fn of_image<'a>(world: &'a World, image: &str) -> &'a ReplicaSet {
    let is = |set: &&std::sync::Arc<ReplicaSet>| {
        let template = set.spec.template.as_ref().unwrap();
        template.spec.as_ref().unwrap().containers[0].image.as_deref() == Some(image)
    };
    world.objects.replica_sets.values().find(is).unwrap()
}

/// Type, status and reason of each condition.
fn conditions(world: &World) -> Vec<[String; 3]> {
    let status = world.objects.deployments[&key()].status.clone().unwrap_or_default();
    let mut all: Vec<_> = status
        .conditions
        .unwrap_or_default()
        .into_iter()
        .map(|one| [one.type_, one.status, one.reason].map(Option::unwrap_or_default))
        .collect();
    all.sort();
    all
}

fn messages(outcome: &Outcome) -> Vec<&str> {
    let done = |step: &Step| step.done.is_some();
    let noted = outcome.steps.iter().filter(|step| done(step));
    noted.map(|step| step.done.as_ref().unwrap().message.as_str()).collect()
}

/// The pods of a Deployment that stay, and how many of them are ready.
fn pods(world: &World) -> (usize, usize) {
    let active = world.objects.pods.values().filter(|pod| crate::pods::is_active(pod));
    let (all, ready): (Vec<_>, Vec<_>) = active.map(|pod| ((), crate::pods::is_ready(pod))).unzip();
    (all.len(), ready.into_iter().filter(|ready| *ready).count())
}
