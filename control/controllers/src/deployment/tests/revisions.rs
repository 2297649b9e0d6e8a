//! Numbers, history, adoption and names.

use super::*;

#[test]
fn going_back_takes_the_old_set_with_a_new_number() {
    let mut world = with(deployment(json!({})));
    settle(&mut world);
    for next in ["echo:2", "echo:3", "echo:1", "echo:2", "echo:1"] {
        change(&mut world, image(next));
        settle(&mut world);
    }
    assert_eq!(sets(&world), [set("echo:3", 0, "3"), set("echo:2", 0, "5"), set("echo:1", 3, "6")]);
    let history = "deployment.kubernetes.io/revision-history";
    assert_eq!(annotation(of_image(&world, "echo:1"), history), "1,4");
    assert_eq!(annotation(of_image(&world, "echo:2"), history), "2");
    let annotations = world.objects.deployments[&key()].metadata.annotations.clone().unwrap();
    assert_eq!(annotations[revision::REVISION], "6");
}

#[test]
fn annotations_go_on_to_the_newest_set_alone() {
    let mut world = with(deployment(json!({})));
    settle(&mut world);
    let cause =
        |text: &str| json!({"metadata": {"annotations": {"kubernetes.io/change-cause": text}}});
    change(&mut world, cause("first"));
    settle(&mut world);
    change(&mut world, image("echo:2"));
    change(&mut world, cause("second"));
    settle(&mut world);
    let of = |image: &str| annotation(of_image(&world, image), "kubernetes.io/change-cause");
    assert_eq!((of("echo:1"), of("echo:2")), ("first".to_owned(), "second".to_owned()));
}

#[test]
fn only_so_many_old_sets_are_kept() {
    let mut world = with(deployment(json!({"spec": {"revisionHistoryLimit": 2}})));
    for number in 1..=6 {
        change(&mut world, image(&format!("echo:{number}")));
        settle(&mut world);
    }
    assert_eq!(sets(&world), [set("echo:4", 0, "4"), set("echo:5", 0, "5"), set("echo:6", 3, "6")]);
    change(&mut world, json!({"spec": {"revisionHistoryLimit": 0}}));
    settle(&mut world);
    assert_eq!(sets(&world), [set("echo:6", 3, "6")]);
}

#[test]
fn a_name_that_is_taken_is_another_the_next_time() {
    let mut world = with(deployment(json!({})));
    let first = reconcile(&key(), &world, NOW);
    let Operation::Create { object: made, .. } = &first.steps[0].operation else { panic!() };
    // Somebody else's set has the name.
    let mut other = made.clone();
    other["metadata"]["uid"] = "other".into();
    other["metadata"]["ownerReferences"][0]["uid"] = "someone".into();
    world.observe(serde_json::from_value::<ReplicaSet>(other).unwrap(), NOW);
    let outcome = reconcile(&key(), &world, NOW);
    assert_eq!(outcome.steps.len(), 1, "{outcome:?}");
    apply(&mut world, &outcome);
    let collisions = world.objects.deployments[&key()].status.as_ref().unwrap().collision_count;
    assert_eq!(collisions, Some(1));
    settle(&mut world);
    assert_eq!(world.objects.replica_sets.len(), 2);
    let status = world.objects.deployments[&key()].status.clone().unwrap();
    assert_eq!((status.replicas, status.available_replicas), (Some(3), Some(3)));
}

#[test]
fn orphans_of_the_selector_are_taken_and_others_let_go() {
    let mut world = with(deployment(json!({})));
    settle(&mut world);
    let mut orphan = of_image(&world, "echo:1").clone();
    orphan.metadata.owner_references = None;
    world.observe(orphan, NOW);
    settle(&mut world);
    assert!(controller_of(&of_image(&world, "echo:1").metadata).is_some());
    assert_eq!(sets(&world), [set("echo:1", 3, "1")]);

    let mut stranger = of_image(&world, "echo:1").clone();
    stranger.metadata.labels = None;
    let name = stranger.metadata.name.clone().unwrap();
    world.observe(stranger, NOW);
    settle(&mut world);
    // Its name is taken now, and its pods are no longer ours.
    let set = &world.objects.replica_sets[&Key::new("default", name)];
    assert!(controller_of(&set.metadata).is_none());
    assert_eq!(world.objects.replica_sets.len(), 2);
}

#[test]
fn nothing_is_done_twice_and_nothing_for_nothing() {
    let mut world = with(deployment(json!({})));
    settle(&mut world);
    // Another controller, that knows what the API says and nothing else.
    let mut other = World::default();
    for kind in Kind::ALL {
        for key in world.objects.keys(*kind) {
            other.observe(world.objects.get(*kind, &key).unwrap(), NOW);
        }
    }
    assert_eq!(reconcile(&key(), &other, NOW).steps, []);
}
