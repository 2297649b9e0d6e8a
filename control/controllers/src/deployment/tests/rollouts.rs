//! From one template to the next, in each way.

use super::*;

#[test]
fn the_first_set_is_made_and_told() {
    let mut world = with(deployment(json!({"metadata": {"annotations": {"note": "a",
        "kubectl.kubernetes.io/last-applied-configuration": "{}"}}})));
    let outcome = reconcile(&key(), &world, NOW);
    let Operation::Create { kind, object, .. } = &outcome.steps[0].operation else { panic!() };
    assert_eq!(*kind, Kind::ReplicaSet);
    let name = object["metadata"]["name"].as_str().unwrap();
    let hash = name.strip_prefix("web-").unwrap();
    let labels = json!({"app": "web", "pod-template-hash": hash});
    assert_eq!(object["metadata"]["labels"], labels);
    assert_eq!(object["spec"]["selector"], json!({"matchLabels": labels}));
    assert_eq!(object["spec"]["template"]["metadata"]["labels"], labels);
    assert_eq!(
        object["metadata"]["annotations"],
        json!({
            "deployment.kubernetes.io/desired-replicas": "3",
            "deployment.kubernetes.io/max-replicas": "4",
            "deployment.kubernetes.io/revision": "1",
            "note": "a",
        })
    );
    assert_eq!(messages(&outcome), [format!("Scaled up replica set {name} from 0 to 3")]);
    settle(&mut world);
    let deployment = &world.objects.deployments[&key()];
    let status = deployment.status.as_ref().unwrap();
    let counts = [
        status.replicas,
        status.updated_replicas,
        status.ready_replicas,
        status.available_replicas,
        status.unavailable_replicas,
    ];
    assert_eq!(counts, [3, 3, 3, 3, 0].map(Some));
    assert_eq!(status.observed_generation, Some(1));
    let annotations = deployment.metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations[revision::REVISION], "1");
    assert_eq!(
        conditions(&world),
        [
            ["Available", "True", "MinimumReplicasAvailable"],
            ["Progressing", "True", "NewReplicaSetAvailable"],
        ]
    );
}

#[test]
fn a_rolling_update_goes_step_by_step() {
    let rolling = json!({"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let mut world = with(deployment(json!({"spec": {"strategy": rolling}})));
    settle(&mut world);
    change(&mut world, image("echo:2"));
    let mut seen = Vec::new();
    for _ in 0..30 {
        let outcome = reconcile(&key(), &world, NOW);
        if outcome.steps.is_empty() {
            break;
        }
        apply(&mut world, &outcome);
        run_sets(&mut world);
        run_pods(&mut world);
        run_sets(&mut world);
        let sizes: Vec<i32> = sets(&world).iter().map(|(_, size, _)| *size).collect();
        if seen.last() != Some(&sizes) {
            seen.push(sizes);
        }
    }
    assert_eq!(seen, [[3, 1], [2, 1], [2, 2], [1, 2], [1, 3], [0, 3]].map(|sizes| sizes.to_vec()));
    assert_eq!(sets(&world), [set("echo:1", 0, "1"), set("echo:2", 3, "2")]);
}

#[test]
fn pods_that_serve_nobody_go_first() {
    let mut world = with(deployment(json!({"spec": {"replicas": 4}})));
    settle(&mut world);
    // An image that never runs takes its part of the surge and stays there.
    change(&mut world, image("broken"));
    for _ in 0..10 {
        let outcome = reconcile(&key(), &world, NOW);
        apply(&mut world, &outcome);
        run_sets(&mut world);
    }
    assert_eq!(sets(&world), [set("echo:1", 3, "1"), set("broken", 2, "2")]);
    assert_eq!(pods(&world), (5, 3));
    // The next one: the two that do not run go at once, before any that does.
    change(&mut world, image("echo:3"));
    for _ in 0..10 {
        let outcome = reconcile(&key(), &world, NOW);
        apply(&mut world, &outcome);
        run_sets(&mut world);
    }
    assert_eq!(sets(&world), [set("echo:1", 3, "1"), set("broken", 0, "2"), set("echo:3", 2, "3")]);
    settle(&mut world);
    assert_eq!(pods(&world), (4, 4));
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let recreate = json!({"type": "Recreate", "rollingUpdate": null});
    let mut world = with(deployment(json!({"spec": {"strategy": recreate}})));
    settle(&mut world);
    change(&mut world, image("echo:2"));
    let outcome = reconcile(&key(), &world, NOW);
    assert!(messages(&outcome)[0].ends_with("from 3 to 0"), "{outcome:?}");
    apply(&mut world, &outcome);
    // The pods are on their way out, and one takes its time.
    let mut last = (**world.objects.pods.values().next().unwrap()).clone();
    run_sets(&mut world);
    last.metadata.deletion_timestamp = Some(NOW.time());
    last.metadata.uid = Some("another".into());
    world.observe(last.clone(), NOW);
    run_sets(&mut world);
    for _ in 0..5 {
        let outcome = reconcile(&key(), &world, NOW);
        apply(&mut world, &outcome);
        assert_eq!(sets(&world), [set("echo:1", 0, "1")]);
    }
    world.remove(&Object::from(last).reference(), "another", NOW);
    settle(&mut world);
    assert_eq!(sets(&world), [set("echo:1", 0, "1"), set("echo:2", 3, "2")]);
}

#[test]
fn a_paused_one_only_changes_its_size() {
    let mut world = with(deployment(json!({})));
    settle(&mut world);
    change(&mut world, json!({"spec": {"paused": true}}));
    settle(&mut world);
    assert_eq!(conditions(&world)[1], ["Progressing", "Unknown", "DeploymentPaused"]);
    change(&mut world, image("echo:2"));
    change(&mut world, json!({"spec": {"replicas": 5}}));
    settle(&mut world);
    assert_eq!(sets(&world), [set("echo:1", 5, "1")]);
    let paused = world.objects.deployments[&key()].status.clone().unwrap();
    assert_eq!((paused.observed_generation, paused.updated_replicas), (Some(4), Some(0)));
    change(&mut world, json!({"spec": {"paused": null}}));
    let outcome = reconcile(&key(), &world, NOW);
    apply(&mut world, &outcome);
    settle(&mut world);
    assert_eq!(sets(&world), [set("echo:1", 0, "1"), set("echo:2", 5, "2")]);
    assert_eq!(conditions(&world)[1], ["Progressing", "True", "NewReplicaSetAvailable"]);
}

#[test]
fn one_that_is_made_paused_makes_nothing() {
    let mut world = with(deployment(json!({"spec": {"paused": true}})));
    settle(&mut world);
    assert_eq!(sets(&world), []);
    change(&mut world, json!({"spec": {"paused": false}}));
    settle(&mut world);
    assert_eq!(pods(&world), (3, 3));
}

#[test]
fn scaling_in_the_middle_is_shared_out() {
    let rolling = json!({"rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}});
    let mut world = with(deployment(json!({"spec": {"replicas": 10, "strategy": rolling}})));
    settle(&mut world);
    change(&mut world, image("broken"));
    for _ in 0..10 {
        let outcome = reconcile(&key(), &world, NOW);
        apply(&mut world, &outcome);
        run_sets(&mut world);
    }
    assert_eq!(sets(&world), [set("echo:1", 8, "1"), set("broken", 5, "2")]);
    change(&mut world, json!({"spec": {"replicas": 15}}));
    let outcome = reconcile(&key(), &world, NOW);
    apply(&mut world, &outcome);
    assert_eq!(sets(&world), [set("echo:1", 11, "1"), set("broken", 7, "2")]);
    let old = of_image(&world, "echo:1");
    assert_eq!(annotation(old, "deployment.kubernetes.io/desired-replicas"), "15");
    assert_eq!(annotation(old, "deployment.kubernetes.io/max-replicas"), "18");
    change(&mut world, json!({"spec": {"replicas": 3}}));
    let outcome = reconcile(&key(), &world, NOW);
    apply(&mut world, &outcome);
    let sizes: i32 = sets(&world).iter().map(|(_, size, _)| *size).sum();
    assert_eq!(sizes, 6, "{:?}", sets(&world));
    change(&mut world, json!({"spec": {"replicas": 0}}));
    settle(&mut world);
    assert_eq!(sets(&world).iter().map(|(_, size, _)| *size).sum::<i32>(), 0);
    assert_eq!(pods(&world), (0, 0));
}

#[test]
fn a_set_that_others_scaled_is_put_right() {
    let mut world = with(deployment(json!({})));
    settle(&mut world);
    let mut set_ = of_image(&world, "echo:1").clone();
    set_.spec.replicas = Some(7);
    world.observe(set_, NOW);
    settle(&mut world);
    assert_eq!(sets(&world), [set("echo:1", 3, "1")]);
    // Also where the Deployment comes to the same size by itself.
    let mut set_ = of_image(&world, "echo:1").clone();
    set_.spec.replicas = Some(5);
    world.observe(set_, NOW);
    change(&mut world, json!({"spec": {"replicas": 5}}));
    settle(&mut world);
    change(&mut world, image("echo:2"));
    settle(&mut world);
    assert_eq!(sets(&world), [set("echo:1", 0, "1"), set("echo:2", 5, "2")]);
}

#[test]
fn what_is_to_be_ready_for_long_is_available_late() {
    let mut world = with(deployment(json!({"spec": {"replicas": 1, "minReadySeconds": 5}})));
    settle(&mut world);
    assert_eq!(of_image(&world, "echo:1").spec.min_ready_seconds, Some(5));
    change(&mut world, json!({"spec": {"minReadySeconds": 9}}));
    settle(&mut world);
    assert_eq!(of_image(&world, "echo:1").spec.min_ready_seconds, Some(9));
    assert_eq!(sets(&world), [set("echo:1", 1, "1")]);
}

#[test]
fn one_on_its_way_out_only_counts() {
    let mut world = with(deployment(json!({})));
    settle(&mut world);
    let mut leaving = (*world.objects.deployments[&key()]).clone();
    leaving.metadata.deletion_timestamp = Some(NOW.time());
    leaving.spec.replicas = Some(9);
    world.observe(leaving, NOW);
    let outcome = reconcile(&key(), &world, NOW);
    assert!(outcome.steps.iter().all(|step| matches!(&step.operation,
        Operation::Patch { target, .. } if target.kind == Kind::Deployment)));
    assert!(reconcile(&Key::new("default", "none"), &world, NOW).steps.is_empty());
}
