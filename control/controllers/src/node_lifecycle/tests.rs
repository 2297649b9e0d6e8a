use k8s_openapi::api::coordination::v1::Lease;

use serde_json::Value;

use super::*;
use crate::{
    kinds::Kind,
    kinds::Ref,
    operation::Operation,
    testing::{NOW, apply, node, object, ready_node, running_pod, world},
};

const CONFIG: ControllersConfig = ControllersConfig {
    node_grace: Duration::from_secs(40),
    eviction_delay: Duration::from_secs(300),
};

fn renew(world: &mut World, name: &str, now: Now) {
    let renewed = now.wall.to_string();
    let lease: Lease = object(
        json!({"metadata": {"name": name, "namespace": "kube-node-lease"}}),
        json!({"spec": {"renewTime": renewed}}),
    );
    world.observe(lease, now);
}

/// Node n1 falls silent at `NOW`; n2 goes on.
fn silent_n1(secs: u64) -> (World, Now) {
    let mut world = world([ready_node("n1"), ready_node("n2")]);
    world.observe(running_pod("a", "n1", 1), NOW);
    world.observe(running_pod("b", "n2", 2), NOW);
    let later = NOW.after_secs(secs);
    renew(&mut world, "n2", later);
    (world, later)
}

fn run(world: &mut World, name: &str, now: Now) -> Outcome {
    let outcome = reconcile(name, world, &CONFIG, now);
    apply(world, &outcome);
    outcome
}

fn deleted(outcome: &Outcome) -> Vec<(&str, Option<u32>)> {
    let one = |step: &'_ Step| match &step.operation {
        Operation::Delete { target, grace_secs, .. } => {
            let name: &str = Box::leak(target.key.name.clone().into_boxed_str());
            Some((name, *grace_secs))
        }
        Operation::Disrupt { pod, .. } => {
            let name: &str = Box::leak(pod.name.clone().into_boxed_str());
            Some((name, None))
        }
        _ => None,
    };
    outcome.steps.iter().filter_map(one).collect()
}

#[test]
fn a_node_that_is_heard_of_is_left_alone() {
    let mut world = world([ready_node("n1")]);
    renew(&mut world, "n1", NOW);
    let outcome = run(&mut world, "n1", NOW.after_secs(39));
    assert_eq!(outcome.steps, []);
    assert_eq!(outcome.again_after, Some(Duration::from_secs(1)));
}

#[test]
fn a_silent_node_is_unknown_tainted_and_its_pods_are_not_ready() {
    let (mut world, later) = silent_n1(41);
    let outcome = run(&mut world, "n1", later);
    let n1 = &world.objects.nodes[&Key::new("", "n1")];
    assert_eq!(pods::node_condition(n1, "Ready").unwrap().status, "Unknown");
    let taints = n1.spec.as_ref().unwrap().taints.clone().unwrap();
    let effects: Vec<_> = taints.iter().map(|t| (t.key.as_str(), t.effect.as_str())).collect();
    assert_eq!(effects, [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]);
    assert!(!pods::is_ready(&world.objects.pods[&Key::new("default", "a")]));
    assert_eq!(deleted(&outcome), []);
    let note = outcome.steps[0].done.as_ref().unwrap();
    assert_eq!(note.reason, "NodeNotReady");
    assert_eq!(run(&mut world, "n2", later).steps, []);
    // Nothing more to do, until the pods have to go.
    let outcome = run(&mut world, "n1", later);
    assert_eq!(outcome.steps, []);
    assert_eq!(outcome.again_after, Some(Duration::from_secs(300)));
}

#[test]
fn its_pods_are_evicted_after_the_delay_and_finished_after_their_grace() {
    let (mut world, later) = silent_n1(41);
    run(&mut world, "n1", later);
    let evicted = later.after_secs(300);
    renew(&mut world, "n2", evicted);
    let outcome = reconcile("n1", &world, &CONFIG, evicted);
    assert_eq!(deleted(&outcome), [("a", None)]);
    // The server has noted when the grace ends; the node never says that it has.
    let mut pod = running_pod("a", "n1", 1);
    pod.metadata.deletion_timestamp = Some(evicted.after_secs(30).time());
    world.observe(pod, evicted);
    let outcome = reconcile("n1", &world, &CONFIG, evicted);
    assert_eq!(deleted(&outcome), []);
    assert_eq!(outcome.again_after, Some(Duration::from_secs(30)));
    let outcome = reconcile("n1", &world, &CONFIG, evicted.after_secs(30));
    assert_eq!(deleted(&outcome), [("a", Some(0))]);
}

#[test]
fn tolerations_say_how_long_a_pod_stays() {
    let toleration = |seconds: Value| {
        json!([{"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute",
            "tolerationSeconds": seconds}])
    };
    let (mut world, later) = silent_n1(41);
    for (name, number, seconds) in [("short", 3, json!(5)), ("ever", 4, Value::Null)] {
        let mut pod = running_pod(name, "n1", number);
        pod.spec.as_mut().unwrap().tolerations =
            serde_json::from_value(toleration(seconds)).unwrap();
        world.observe(pod, NOW);
    }
    run(&mut world, "n1", later);
    let soon = later.after_secs(5);
    renew(&mut world, "n2", soon);
    assert_eq!(deleted(&reconcile("n1", &world, &CONFIG, soon)), [("short", None)]);
    let late = later.after_secs(3000);
    renew(&mut world, "n2", late);
    let outcome = reconcile("n1", &world, &CONFIG, late);
    assert_eq!(deleted(&outcome), [("a", None), ("short", None)]);
}

#[test]
fn a_taint_of_the_operator_evicts_at_once() {
    let tainted = json!({"spec": {"taints": [{"key": "repair", "effect": "NoExecute"}]}});
    let mut world = world([node("n1", tainted)]);
    world.observe(running_pod("a", "n1", 1), NOW);
    assert_eq!(deleted(&reconcile("n1", &world, &CONFIG, NOW)), [("a", None)]);
}

#[test]
fn when_no_node_is_heard_of_nothing_is_evicted() {
    let mut world = world([ready_node("n1"), ready_node("n2")]);
    world.observe(running_pod("a", "n1", 1), NOW);
    let later = NOW.after_secs(41);
    run(&mut world, "n1", later);
    let outcome = reconcile("n1", &world, &CONFIG, later.after_secs(3000));
    assert_eq!(deleted(&outcome), []);
}

#[test]
fn who_comes_back_first_drives_nobody_from_the_others() {
    let mut world = world([ready_node("n1"), ready_node("n2")]);
    world.observe(running_pod("a", "n1", 1), NOW);
    // The one is lost a moment before the other.
    renew(&mut world, "n2", NOW.after_secs(1));
    let first = NOW.after_secs(40);
    run(&mut world, "n1", first);
    let effects = |world: &World| -> Vec<String> {
        let taints = world.objects.nodes[&Key::new("", "n1")].spec.clone().unwrap().taints;
        taints.into_iter().flatten().map(|taint| taint.effect).collect()
    };
    assert_eq!(effects(&world), ["NoSchedule", "NoExecute"]);
    let both = NOW.after_secs(42);
    let outcome = run(&mut world, "n1", both);
    assert_eq!(effects(&world), ["NoSchedule"]);
    assert_eq!(outcome.again_after, Some(Duration::from_secs(10)));
    // An hour later n2 is heard of: n1 has as long as if it had just been lost.
    let later = NOW.after_secs(3600);
    renew(&mut world, "n2", later);
    assert_eq!(deleted(&run(&mut world, "n1", later)), []);
    assert_eq!(effects(&world), ["NoSchedule", "NoExecute"]);
    let outcome = run(&mut world, "n1", later);
    assert_eq!(outcome.again_after, Some(CONFIG.eviction_delay));
    let late = later.after_secs(300);
    renew(&mut world, "n2", late);
    assert_eq!(deleted(&run(&mut world, "n1", late)), [("a", None)]);
}

#[test]
fn cordons_and_pressures_are_taints_while_they_last() {
    let pressed = json!({"spec": {"unschedulable": true}, "status": {"conditions": [
        {"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "True"}]}});
    let mut world = world([node("n1", pressed)]);
    run(&mut world, "n1", NOW);
    let taints = |world: &World| -> Vec<(String, String)> {
        let spec = world.objects.nodes[&Key::new("", "n1")].spec.clone().unwrap_or_default();
        spec.taints.into_iter().flatten().map(|taint| (taint.key, taint.effect)).collect()
    };
    let no_schedule = |key: &str| (key.to_owned(), "NoSchedule".to_owned());
    assert_eq!(
        taints(&world),
        ["node.kubernetes.io/unschedulable", "node.kubernetes.io/disk-pressure"].map(no_schedule)
    );
    assert_eq!(run(&mut world, "n1", NOW).steps, []);
    let mut relieved = (*world.objects.nodes[&Key::new("", "n1")]).clone();
    relieved.spec.as_mut().unwrap().unschedulable = None;
    relieved.status.as_mut().unwrap().conditions.as_mut().unwrap()[1].status = "False".into();
    world.observe(relieved, NOW);
    run(&mut world, "n1", NOW);
    assert_eq!(taints(&world), []);
}

#[test]
fn a_node_that_comes_back_loses_the_taints_and_only_those() {
    let (mut world, later) = silent_n1(41);
    run(&mut world, "n1", later);
    let mut back = (*world.objects.nodes[&Key::new("", "n1")]).clone();
    let condition = &mut back.status.as_mut().unwrap().conditions.as_mut().unwrap()[0];
    condition.status = "True".into();
    back.spec.as_mut().unwrap().taints.as_mut().unwrap().push(Taint {
        key: "mine".into(),
        effect: "NoSchedule".into(),
        ..Taint::default()
    });
    world.observe(back, later);
    renew(&mut world, "n1", later);
    run(&mut world, "n1", later);
    let taints = world.objects.nodes[&Key::new("", "n1")].spec.clone().unwrap().taints.unwrap();
    assert_eq!(taints.iter().map(|t| t.key.as_str()).collect::<Vec<_>>(), ["mine"]);
    assert_eq!(run(&mut world, "n1", later).steps, []);
}

#[test]
fn pods_of_a_deleted_node_go_at_once_and_of_one_never_seen_later() {
    let (mut world, later) = silent_n1(1);
    let n1 = Ref { kind: Kind::Node, key: Key::new("", "n1") };
    world.remove(&n1, "uid-n1", later);
    assert_eq!(deleted(&reconcile("n1", &world, &CONFIG, later)), [("a", Some(0))]);

    world.observe(running_pod("c", "n9", 9), later);
    let outcome = reconcile("n9", &world, &CONFIG, later);
    assert_eq!((deleted(&outcome), outcome.again_after), (vec![], Some(CONFIG.node_grace)));
    let outcome = reconcile("n9", &world, &CONFIG, later.after_secs(40));
    assert_eq!(deleted(&outcome), [("c", Some(0))]);
    // Unless it turns up.
    world.observe(ready_node("n9"), later.after_secs(20));
    assert_eq!(deleted(&reconcile("n9", &world, &CONFIG, later.after_secs(40))), []);
}
