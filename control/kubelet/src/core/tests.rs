use k8s_openapi::{api::core::v1::Pod, jiff::SignedDuration};
use serde_json::{Value, json};

use super::{probe::ProbeKind, probe::Verdict, *};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + secs).unwrap()
}

fn pod(spec: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "shop", "uid": "u" }, "spec": spec }))
    .unwrap()
}

fn one(policy: &str) -> Pod {
    pod(json!({ "restartPolicy": policy, "terminationGracePeriodSeconds": 20,
                "containers": [{ "name": "a", "image": "i" }] }))
}

/// Performs what is decided in a world where everything works, until nothing is left to do.
struct World {
    pod: Pod,
    desire: Desire,
    observed: Observed,
    now: Timestamp,
    log: Vec<String>,
    wake: Option<(Timestamp, &'static str)>,
}

impl World {
    fn new(pod: Pod) -> Self {
        let observed = Observed { started_at: Some(at(0)), ..Observed::default() };
        Self { pod, desire: Desire::Run, observed, now: at(0), log: Vec::new(), wake: None }
    }

    /// What was done, in the order in which it was.
    fn settle(&mut self) -> Vec<String> {
        for _ in 0..50 {
            let decision = decide(&self.pod, self.desire, &self.observed, self.now);
            self.wake = decision.wake;
            if decision.actions.is_empty() {
                return std::mem::take(&mut self.log);
            }
            for action in decision.actions {
                if action == Action::Erase {
                    self.log.push("erase".to_owned());
                    return std::mem::take(&mut self.log);
                }
                self.perform(action);
            }
        }
        panic!("never settles: {:?}", self.log);
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::CreateSandbox => {
                self.log.push("sandbox".to_owned());
                self.observed.sandbox = Sandbox::Ready { addresses: Vec::new() };
            }
            Action::RemoveSandbox => {
                self.log.push("no sandbox".to_owned());
                self.observed.sandbox = Sandbox::Removed;
            }
            Action::Start { container } => {
                self.log.push(format!("start {container}"));
                let health = initially(&self.container(&container));
                let record = self.observed.containers.entry(container.clone()).or_default();
                if let ContainerState::Exited(exit) = &record.state {
                    record.last = Some(exit.clone());
                    record.restarts += 1;
                }
                record.health = health;
                record.state = ContainerState::Running { id: container, started_at: self.now };
            }
            Action::Leave { until } => {
                self.log.push("leave".to_owned());
                let stopping = self.observed.stopping.as_mut().unwrap();
                stopping.leaving = Leaving::Waiting { until };
            }
            Action::Terminate { container, deadline, .. } => {
                let hook =
                    self.container(&container).lifecycle.is_some_and(|l| l.pre_stop.is_some());
                if hook {
                    self.log.push(format!("hook {container}"));
                }
                let record = self.observed.containers.get_mut(&container).unwrap();
                record.killing = Some(Killing::begun(deadline, !hook));
            }
            Action::Signal { container } => {
                self.log.push(format!("term {container}"));
                let record = self.observed.containers.get_mut(&container).unwrap();
                record.killing.as_mut().unwrap().signalled = true;
            }
            Action::Kill { container } => {
                self.log.push(format!("kill {container}"));
                let record = self.observed.containers.get_mut(&container).unwrap();
                record.killing = Some(Killing::forced(self.now));
            }
            Action::ConfirmDeletion => self.log.push("confirm".to_owned()),
            Action::NoteStopping(stopping) => self.observed.stopping = Some(stopping),
            Action::NoteOutcome(outcome) => {
                self.log.push(format!("succeeded {}", outcome.succeeded));
                self.observed.outcome = Some(outcome);
            }
            Action::Erase => unreachable!("ends the settling"),
        }
    }

    fn container(&self, name: &str) -> Container {
        let spec = self.pod.spec.as_ref().unwrap();
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        all.into_iter().find(|c| c.name == name).unwrap().clone()
    }

    fn record(&mut self, name: &str) -> &mut ContainerRecord {
        self.observed.containers.get_mut(name).unwrap()
    }

    /// The pod has an address, by which services send it flows.
    fn give_address(&mut self) {
        let addresses = vec!["10.0.0.1".parse().unwrap()];
        self.observed.sandbox = Sandbox::Ready { addresses };
    }

    fn exit(&mut self, container: &str, exit_code: i32) {
        let record = self.observed.containers.get_mut(container).unwrap();
        let ContainerState::Running { id, started_at } = record.state.clone() else {
            panic!("{container} does not run")
        };
        let finished_at = self.now;
        record.note_exit(Exit {
            id,
            exit_code,
            started_at,
            finished_at,
            reason: None,
            message: None,
        });
    }

    fn pass(&mut self, secs: i64) {
        self.now += SignedDuration::from_secs(secs);
    }

    fn wakes_after(&self) -> i64 {
        let (at, _) = self.wake.expect("a time to wake at");
        at.duration_since(self.now).as_secs()
    }

    fn status(&self) -> Value {
        let addresses = ["192.0.2.1".parse().unwrap()];
        let host = status::Host { addresses: &addresses };
        serde_json::to_value(status::status(&self.pod, &self.observed, host, self.now)).unwrap()
    }

    fn condition(&self, kind: &str) -> String {
        let status = self.status();
        let conditions = status["conditions"].as_array().unwrap();
        let found = conditions.iter().find(|c| c["type"] == kind).unwrap();
        found["status"].as_str().unwrap().to_owned()
    }
}

#[test]
fn a_pod_starts_once_its_sandbox_is_there() {
    let mut world = World::new(one("Always"));
    assert_eq!(world.status()["phase"], "Pending");
    assert_eq!(
        world.status()["containerStatuses"][0]["state"]["waiting"]["reason"],
        "ContainerCreating"
    );
    assert_eq!(world.settle(), ["sandbox", "start a"]);
    assert_eq!(world.settle(), [""; 0]);
    assert_eq!(world.status()["phase"], "Running");
    assert_eq!(world.condition("Ready"), "True");
}

#[test]
fn a_sandbox_that_failed_is_tried_again_in_time() {
    let mut world = World::new(one("Always"));
    world.observed.sandbox =
        Sandbox::Failed { message: "no".to_owned(), attempts: 3, retry_at: at(5) };
    assert_eq!(world.settle(), [""; 0]);
    assert_eq!(world.wakes_after(), 5);
    world.pass(5);
    assert_eq!(world.settle(), ["sandbox", "start a"]);
}

#[test]
fn restarts_are_immediate_once_and_then_back_off() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.exit("a", 0);
    assert_eq!(world.settle(), ["start a"], "the first time at once");
    for delay in [10, 20, 40, 80, 160, 300, 300] {
        world.pass(1);
        world.exit("a", 1);
        assert_eq!(world.settle(), [""; 0]);
        assert_eq!(world.wakes_after(), delay);
        let state = &world.status()["containerStatuses"][0];
        assert_eq!(state["state"]["waiting"]["reason"], "CrashLoopBackOff");
        assert_eq!(state["lastState"]["terminated"]["exitCode"], 1);
        world.pass(delay);
        assert_eq!(world.settle(), ["start a"]);
    }
    assert_eq!(world.status()["containerStatuses"][0]["restartCount"], 8);
    assert_eq!(world.status()["phase"], "Running");
}

#[test]
fn the_policy_decides_what_an_end_means() {
    for (policy, code, then) in [
        ("Never", 0, vec!["succeeded true", "no sandbox"]),
        ("Never", 3, vec!["succeeded false", "no sandbox"]),
        ("OnFailure", 0, vec!["succeeded true", "no sandbox"]),
        ("OnFailure", 3, vec!["start a"]),
        ("Always", 0, vec!["start a"]),
    ] {
        let mut world = World::new(one(policy));
        world.settle();
        world.exit("a", code);
        assert_eq!(world.settle(), then, "{policy} {code}");
        if then.len() == 2 {
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            assert_eq!(world.status()["phase"], phase);
            assert_eq!(world.condition("Ready"), "False");
            let terminated = &world.status()["containerStatuses"][0]["state"]["terminated"];
            assert_eq!(terminated["exitCode"], code);
        }
    }
}

#[test]
fn one_of_two_containers_ending_does_not_end_the_pod() {
    let spec = json!({ "restartPolicy": "Never",
                       "containers": [{ "name": "a" }, { "name": "b" }] });
    let mut world = World::new(pod(spec));
    assert_eq!(world.settle(), ["sandbox", "start a", "start b"]);
    world.exit("a", 0);
    assert_eq!(world.settle(), [""; 0]);
    assert_eq!(world.status()["phase"], "Running");
    assert_eq!(world.condition("Ready"), "False");
    world.exit("b", 1);
    assert_eq!(world.settle(), ["succeeded false", "no sandbox"]);
}

#[test]
fn init_containers_come_one_after_another() {
    let spec = json!({ "initContainers": [{ "name": "x" }, { "name": "y" }],
                       "containers": [{ "name": "a" }] });
    let mut world = World::new(pod(spec));
    assert_eq!(world.settle(), ["sandbox", "start x"]);
    assert_eq!(
        world.status()["containerStatuses"][0]["state"]["waiting"]["reason"],
        "PodInitializing"
    );
    assert_eq!(world.condition("Initialized"), "False");
    world.exit("x", 1);
    assert_eq!(world.settle(), ["start x"], "until it succeeds");
    world.exit("x", 0);
    assert_eq!(world.settle(), ["start y"]);
    world.exit("y", 0);
    assert_eq!(world.settle(), ["start a"]);
    assert_eq!(world.condition("Initialized"), "True");
    assert_eq!(world.condition("Ready"), "True");
}

#[test]
fn a_failed_init_container_of_a_pod_that_never_restarts_fails_it() {
    let spec = json!({ "restartPolicy": "Never", "initContainers": [{ "name": "x" }],
                       "containers": [{ "name": "a" }] });
    let mut world = World::new(pod(spec));
    world.settle();
    world.exit("x", 1);
    assert_eq!(world.settle(), ["succeeded false", "no sandbox"]);
    assert_eq!(world.status()["phase"], "Failed");
}

#[test]
fn a_deleted_pod_gets_its_grace() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.desire = Desire::Stop { grace_secs: 20 };
    assert_eq!(world.settle(), ["term a"]);
    assert_eq!(world.wakes_after(), 20);
    world.pass(20);
    assert_eq!(world.settle(), ["kill a"]);
    assert_eq!(world.settle(), [""; 0], "once is enough");
    world.exit("a", 137);
    assert_eq!(world.settle(), ["no sandbox", "confirm", "erase"]);
    let state = &world.status()["containerStatuses"][0]["state"];
    assert_eq!(state["terminated"]["exitCode"], 137, "not a crash loop");
}

#[test]
fn a_second_deletion_can_only_shorten_the_grace() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.desire = Desire::Stop { grace_secs: 20 };
    world.settle();
    world.desire = Desire::Stop { grace_secs: 60 };
    world.settle();
    assert_eq!(world.wakes_after(), 20);
    world.desire = Desire::Stop { grace_secs: 0 };
    assert_eq!(world.settle(), ["kill a"]);
}

#[test]
fn a_pod_that_the_api_has_forgotten_goes_without_a_word() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.desire = Desire::Forget;
    assert_eq!(world.settle(), ["term a"]);
    world.exit("a", 0);
    assert_eq!(world.settle(), ["no sandbox", "erase"]);
}

#[test]
fn a_pod_deleted_before_it_began_needs_no_teardown() {
    let mut world = World::new(one("Always"));
    world.observed.started_at = None;
    world.desire = Desire::Stop { grace_secs: 30 };
    assert_eq!(world.settle(), ["confirm", "erase"]);
}

/// It may have an address and namespaces already, of which nothing is written down yet.
#[test]
fn a_sandbox_whose_creation_was_cut_short_is_torn_down() {
    let mut world = World::new(one("Always"));
    world.desire = Desire::Stop { grace_secs: 30 };
    assert_eq!(world.settle(), ["no sandbox", "confirm", "erase"]);
}

#[test]
fn readiness_and_liveness_act_by_their_verdicts() {
    let spec = json!({ "terminationGracePeriodSeconds": 5, "containers": [{
        "name": "a", "readinessProbe": {}, "livenessProbe": {} }] });
    let mut world = World::new(pod(spec));
    world.settle();
    assert_eq!(world.condition("Ready"), "False");
    let verdict = |world: &mut World, kind, verdict| {
        let record = world.observed.containers.get_mut("a").unwrap();
        record.health.apply(kind, verdict, "why");
    };
    verdict(&mut world, ProbeKind::Readiness, Verdict::Success);
    assert_eq!(world.condition("Ready"), "True");
    verdict(&mut world, ProbeKind::Readiness, Verdict::Failure);
    assert_eq!(world.condition("Ready"), "False");
    assert_eq!(world.settle(), [""; 0]);
    verdict(&mut world, ProbeKind::Liveness, Verdict::Failure);
    assert_eq!(world.settle(), ["term a"]);
    assert_eq!(world.wakes_after(), 5);
    world.exit("a", 143);
    assert_eq!(world.settle(), ["start a"]);
    assert_eq!(world.condition("Ready"), "False");
}

#[test]
fn a_startup_probe_holds_back_readiness() {
    let spec = json!({ "containers": [{ "name": "a", "startupProbe": {} }] });
    let mut world = World::new(pod(spec));
    world.settle();
    assert_eq!(world.status()["containerStatuses"][0]["started"], false);
    assert_eq!(world.condition("Ready"), "False");
    let record = world.observed.containers.get_mut("a").unwrap();
    record.health.apply(ProbeKind::Startup, Verdict::Success, "");
    assert_eq!(world.status()["containerStatuses"][0]["started"], true);
    assert_eq!(world.condition("Ready"), "True", "without a readiness probe, started is ready");
}

#[test]
fn a_pod_has_an_active_deadline() {
    let spec = json!({ "activeDeadlineSeconds": 60, "terminationGracePeriodSeconds": 5,
                       "containers": [{ "name": "a" }] });
    let mut world = World::new(pod(spec));
    world.settle();
    assert_eq!(world.wakes_after(), 60);
    world.pass(60);
    assert_eq!(world.settle(), ["term a"]);
    world.exit("a", 143);
    assert_eq!(world.settle(), ["succeeded false", "no sandbox"]);
    assert_eq!(world.status()["reason"], "DeadlineExceeded");
}

#[test]
fn a_container_that_cannot_be_started_says_why() {
    let mut world = World::new(one("Always"));
    world.observed.sandbox = Sandbox::Ready { addresses: Vec::new() };
    let failure = StartFailure {
        reason: "ErrImageNeverPull".to_owned(),
        message: "import it".to_owned(),
        retry_at: at(2),
    };
    let record = ContainerRecord { failure: Some(failure), ..ContainerRecord::default() };
    world.observed.containers.insert("a".to_owned(), record);
    assert_eq!(world.settle(), [""; 0]);
    assert_eq!(world.wakes_after(), 2);
    let waiting = &world.status()["containerStatuses"][0]["state"]["waiting"];
    assert_eq!(waiting["reason"], "ErrImageNeverPull");
    assert_eq!(world.status()["phase"], "Pending");
    world.pass(2);
    assert_eq!(world.settle(), ["start a"]);
}

#[test]
fn conditions_keep_the_time_of_their_last_change() {
    let mut world = World::new(one("Always"));
    world.settle();
    let first = world.status();
    world.pod.status = serde_json::from_value(first.clone()).unwrap();
    world.pass(100);
    assert_eq!(world.status()["conditions"], first["conditions"]);
}

#[test]
fn a_readiness_gate_is_for_others_to_open() {
    let spec = json!({ "readinessGates": [{ "conditionType": "example.com/in" }],
                       "containers": [{ "name": "a" }] });
    let mut world = World::new(pod(spec));
    world.settle();
    assert_eq!(world.condition("ContainersReady"), "True");
    assert_eq!(world.condition("Ready"), "False");
    world.pod.status = serde_json::from_value(json!({
        "conditions": [{ "type": "example.com/in", "status": "True" }] }))
    .unwrap();
    assert_eq!(world.condition("Ready"), "True");
    assert_eq!(world.condition("example.com/in"), "True", "kept");
}

#[test]
fn the_record_survives_the_disk() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.exit("a", 1);
    let text = serde_json::to_string(&world.observed).unwrap();
    assert_eq!(serde_json::from_str::<Observed>(&text).unwrap(), world.observed);
}

#[test]
fn a_deleted_pod_leaves_the_services_before_its_signal() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.give_address();
    world.desire = Desire::Stop { grace_secs: 20 };
    assert_eq!(world.settle(), ["leave"]);
    assert_eq!(world.wakes_after(), 2, "the bound");
    let left = Leaving::Left { at: world.now + SignedDuration::from_secs(1) };
    world.observed.stopping.as_mut().unwrap().leaving = left;
    world.pass(1);
    assert_eq!(world.settle(), ["term a"]);
    assert_eq!(world.wakes_after(), 20, "the grace counts from the signal");
}

#[test]
fn a_pod_that_nobody_lets_go_gets_its_signal_all_the_same() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.give_address();
    world.desire = Desire::Stop { grace_secs: 20 };
    world.settle();
    world.pass(2);
    assert_eq!(world.settle(), ["term a"]);
    assert_eq!(world.wakes_after(), 20);
}

#[test]
fn whoever_is_in_a_hurry_does_not_wait_for_the_services() {
    for (desire, expected) in
        [(Desire::Forget, vec!["term a"]), (Desire::Stop { grace_secs: 0 }, vec!["kill a"])]
    {
        let mut world = World::new(one("Always"));
        world.settle();
        world.give_address();
        world.desire = desire;
        assert_eq!(world.settle(), expected);
    }
    // One that leaves already is not kept either.
    let mut world = World::new(one("Always"));
    world.settle();
    world.give_address();
    world.desire = Desire::Stop { grace_secs: 20 };
    assert_eq!(world.settle(), ["leave"]);
    world.desire = Desire::Stop { grace_secs: 0 };
    assert_eq!(world.settle(), ["kill a"]);
}

#[test]
fn the_hook_runs_while_the_pod_leaves_and_the_signal_waits_for_both() {
    for hook_first in [true, false] {
        let spec = json!({ "terminationGracePeriodSeconds": 20, "containers": [{
            "name": "a", "lifecycle": { "preStop": { "sleep": { "seconds": 1 } } } }] });
        let mut world = World::new(pod(spec));
        world.settle();
        world.give_address();
        world.desire = Desire::Stop { grace_secs: 20 };
        assert_eq!(world.settle(), ["leave", "hook a"]);
        let hook_over =
            |world: &mut World| world.record("a").killing.as_mut().unwrap().pre_stop_over = true;
        let left = |world: &mut World| {
            let at = world.now;
            world.observed.stopping.as_mut().unwrap().leaving = Leaving::Left { at };
        };
        if hook_first {
            hook_over(&mut world)
        } else {
            left(&mut world)
        }
        assert_eq!(world.settle(), [""; 0]);
        if hook_first {
            left(&mut world)
        } else {
            hook_over(&mut world)
        }
        assert_eq!(world.settle(), ["term a"]);
    }
}

#[test]
fn a_hook_that_does_not_end_costs_the_grace() {
    let spec = json!({ "terminationGracePeriodSeconds": 20, "containers": [{
        "name": "a", "lifecycle": { "preStop": { "sleep": { "seconds": 60 } } } }] });
    let mut world = World::new(pod(spec));
    world.settle();
    world.desire = Desire::Stop { grace_secs: 20 };
    assert_eq!(world.settle(), ["hook a"]);
    world.pass(20);
    assert_eq!(world.settle(), ["kill a"]);
}

#[test]
fn a_container_counts_as_begun_after_its_post_start_hook() {
    let spec = json!({ "containers": [{
        "name": "a", "lifecycle": { "postStart": { "exec": { "command": ["x"] } } } }] });
    let mut world = World::new(pod(spec));
    assert_eq!(world.settle(), ["sandbox", "start a"]);
    let status = world.status();
    let container = &status["containerStatuses"][0];
    assert_eq!(container["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!((&container["ready"], &container["started"]), (&json!(false), &json!(false)));
    world.record("a").health.post_start_pending = false;
    assert_eq!(world.condition("Ready"), "True");
    world.record("a").health.fail(probe::Cause::PostStart, "exit code 1");
    assert_eq!(world.settle(), ["term a"]);
    world.exit("a", 143);
    assert_eq!(world.settle(), ["start a"]);
}

fn with_sidecars() -> World {
    let spec = json!({
        "terminationGracePeriodSeconds": 20,
        "initContainers": [
            { "name": "s", "restartPolicy": "Always", "startupProbe": {} },
            { "name": "x" },
            { "name": "t", "restartPolicy": "Always" },
        ],
        "containers": [{ "name": "a" }],
    });
    World::new(pod(spec))
}

#[test]
fn a_sidecar_starts_in_its_turn_and_stays() {
    let mut world = with_sidecars();
    assert_eq!(world.settle(), ["sandbox", "start s"], "the next waits until it has started");
    assert_eq!(world.condition("Initialized"), "False");
    world.record("s").health.started = true;
    assert_eq!(world.settle(), ["start x"]);
    world.exit("s", 1);
    assert_eq!(world.settle(), ["start s"], "at any time");
    world.exit("x", 0);
    assert_eq!(world.settle(), [""; 0], "until the sidecar has started again");
    world.record("s").health.started = true;
    assert_eq!(world.settle(), ["start t", "start a"]);
    assert_eq!(world.condition("Initialized"), "True");
    assert_eq!(world.condition("Ready"), "True");
    world.exit("t", 0);
    assert_eq!(world.condition("Ready"), "False", "the pod relies on it");
    assert_eq!(world.settle(), ["start t"], "whatever its exit code says");
    assert_eq!(world.condition("Initialized"), "True");
    world.record("s").health.fail(probe::Cause::Liveness, "no answer");
    assert_eq!(world.settle(), ["term s"]);
}

#[test]
fn sidecars_end_after_the_others_the_last_one_first() {
    let mut world = with_sidecars();
    for _ in 0..4 {
        world.settle();
        if let Some(record) = world.observed.containers.get_mut("s") {
            record.health.started = true;
        }
        if world.observed.container("x").is_some_and(ContainerRecord::is_running) {
            world.exit("x", 0);
        }
    }
    assert_eq!(world.settle(), [""; 0]);
    world.desire = Desire::Stop { grace_secs: 20 };
    for name in ["a", "t", "s"] {
        assert_eq!(world.settle(), [format!("term {name}")]);
        world.exit(name, 0);
    }
    assert_eq!(world.settle(), ["no sandbox", "confirm", "erase"]);
}

#[test]
fn a_pod_that_has_done_its_work_waits_for_its_sidecars_to_end() {
    let spec = json!({ "restartPolicy": "Never", "terminationGracePeriodSeconds": 5,
        "initContainers": [{ "name": "s", "restartPolicy": "Always" }],
        "containers": [{ "name": "a" }] });
    let mut world = World::new(pod(spec));
    assert_eq!(world.settle(), ["sandbox", "start s", "start a"]);
    world.exit("a", 0);
    assert_eq!(world.settle(), ["succeeded true", "term s"]);
    assert_eq!(world.status()["phase"], "Running");
    assert_eq!(world.wakes_after(), 5);
    world.exit("s", 143);
    assert_eq!(world.settle(), ["no sandbox"]);
    assert_eq!(world.status()["phase"], "Succeeded");
}

#[test]
fn an_init_container_that_succeeded_late_is_in_no_crash_loop() {
    let spec = json!({ "initContainers": [{ "name": "x" }, { "name": "y" }],
                       "containers": [{ "name": "a" }] });
    let mut world = World::new(pod(spec));
    world.settle();
    for code in [1, 1] {
        world.exit("x", code);
        world.pass(60);
        assert_eq!(world.settle(), ["start x"]);
    }
    world.exit("x", 0);
    assert_eq!(world.settle(), ["start y"]);
    let status = world.status();
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    let conditions = status["conditions"].as_array().unwrap();
    let initialized = conditions.iter().find(|c| c["type"] == "Initialized").unwrap();
    assert_eq!(initialized["message"], "containers with incomplete status: [y]");
}

#[test]
fn each_probe_has_its_own_grace() {
    for (probe, cause) in
        [("livenessProbe", probe::Cause::Liveness), ("startupProbe", probe::Cause::Startup)]
    {
        let mut spec =
            json!({ "terminationGracePeriodSeconds": 60, "containers": [{ "name": "a" }] });
        spec["containers"][0][probe] = json!({ "terminationGracePeriodSeconds": 3 });
        let mut world = World::new(pod(spec));
        world.settle();
        world.record("a").health.fail(cause, "why");
        assert_eq!(world.settle(), ["term a"]);
        assert_eq!(world.wakes_after(), 3, "{probe}");
    }
}

/// Written by a process that knew nothing of what has been added since.
#[test]
fn an_older_record_is_understood() {
    let mut world = World::new(one("Always"));
    world.settle();
    world.desire = Desire::Stop { grace_secs: 20 };
    world.settle();
    let mut record = serde_json::to_value(&world.observed).unwrap();
    record["stopping"].as_object_mut().unwrap().remove("leaving");
    let container = &mut record["containers"]["a"];
    container["killing"].as_object_mut().unwrap().remove("signalled");
    container["killing"].as_object_mut().unwrap().remove("pre_stop_over");
    container["health"].as_object_mut().unwrap().remove("post_start_pending");
    container["health"].as_object_mut().unwrap().remove("cause");
    let observed: Observed = serde_json::from_value(record).unwrap();
    assert!(!observed.containers["a"].killing.unwrap().signalled);
}
