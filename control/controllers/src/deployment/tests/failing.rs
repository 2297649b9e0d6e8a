//! Rollouts that do not come on.

use std::time::Duration;

use super::*;

fn message(world: &World, type_: &str) -> String {
    let status = world.objects.deployments[&key()].status.clone().unwrap();
    let conditions = status.conditions.unwrap();
    let found = conditions.into_iter().find(|one| one.type_.as_deref() == Some(type_));
    found.and_then(|one| one.message).unwrap_or_default()
}

#[test]
fn a_deadline_passes_and_progress_comes_late() {
    let mut world = with(deployment(json!({"spec": {"progressDeadlineSeconds": 60}})));
    let mut outcome = reconcile(&key(), &world, NOW);
    while !outcome.steps.is_empty() {
        apply(&mut world, &outcome);
        run_sets(&mut world);
        outcome = reconcile(&key(), &world, NOW);
    }
    assert_eq!(outcome.again_after, Some(Duration::from_secs(61)));
    let soon = reconcile(&key(), &world, NOW.after_secs(59));
    assert_eq!((soon.steps.len(), soon.again_after), (0, Some(Duration::from_secs(2))));
    let late = reconcile(&key(), &world, NOW.after_secs(61));
    apply(&mut world, &late);
    let name = world.objects.replica_sets.keys().next().unwrap().name.clone();
    assert_eq!(
        message(&world, "Progressing"),
        format!("ReplicaSet \"{name}\" has timed out progressing.")
    );
    assert_eq!(
        conditions(&world),
        [
            ["Available", "False", "MinimumReplicasUnavailable"],
            ["Progressing", "False", "ProgressDeadlineExceeded"],
        ]
    );
    assert_eq!(reconcile(&key(), &world, NOW.after_secs(62)).steps, []);
    run_pods(&mut world);
    run_sets(&mut world);
    settle(&mut world);
    assert_eq!(
        message(&world, "Progressing"),
        format!("ReplicaSet \"{name}\" has successfully progressed.")
    );
    assert_eq!(conditions(&world)[0][1..], ["True", "MinimumReplicasAvailable"]);
}

#[test]
fn without_a_deadline_nothing_is_told_of_progress() {
    let mut world = with(deployment(json!({"spec": {"progressDeadlineSeconds": i32::MAX}})));
    settle(&mut world);
    assert_eq!(conditions(&world), [["Available", "True", "MinimumReplicasAvailable"]]);
    assert_eq!(reconcile(&key(), &world, NOW).again_after, None);
}

#[test]
fn a_set_that_is_refused_says_why() {
    let mut world = with(deployment(json!({})));
    let outcome = reconcile(&key(), &world, NOW);
    let failed = outcome.steps[0].failed.clone().unwrap();
    assert_eq!((failed.reason, failed.warning), ("ReplicaSetCreateError", true));
    let mut told = outcome.if_refused.clone().unwrap();
    let Operation::Patch { patch, .. } = &mut told else { panic!() };
    let text = patch.to_string().replace("{}", "no room");
    *patch = serde_json::from_str(&text).unwrap();
    apply(&mut world, &Outcome { steps: vec![told.into()], ..Outcome::default() });
    let name = match &outcome.steps[0].operation {
        Operation::Create { object, .. } => object["metadata"]["name"].clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        message(&world, "Progressing"),
        format!("Failed to create new replica set {name}: no room")
    );
    assert_eq!(conditions(&world)[1], ["Progressing", "False", "ReplicaSetCreateError"]);
    settle(&mut world);
    assert_eq!(conditions(&world)[1], ["Progressing", "True", "NewReplicaSetAvailable"]);
}

#[test]
fn pods_that_are_refused_are_told_of_the_deployment() {
    let mut world = with(deployment(json!({})));
    let made = reconcile(&key(), &world, NOW);
    apply(&mut world, &made);
    let set_key = world.objects.replica_sets.keys().next().unwrap().clone();
    let outcome = replica_set::reconcile(&set_key, &world, NOW);
    let told = outcome.if_refused.clone().unwrap();
    apply(&mut world, &Outcome { steps: vec![told.into()], ..Outcome::default() });
    let outcome = reconcile(&key(), &world, NOW);
    apply(&mut world, &outcome);
    assert_eq!(conditions(&world)[2], ["ReplicaFailure", "True", "FailedCreate"]);
    // Once they are taken nothing is wrong any more.
    settle(&mut world);
    assert_eq!(conditions(&world).len(), 2);
    let set = &world.objects.replica_sets[&set_key];
    assert_eq!(set.status.as_ref().unwrap().conditions, Some(vec![]));
}
