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
                let of_pod = self.pod.spec.as_ref().unwrap();
                let all = of_pod.init_containers.iter().flatten().chain(&of_pod.containers);
                let health = initially(all.into_iter().find(|c| c.name == container).unwrap());
                let record = self.observed.containers.entry(container.clone()).or_default();
                if let ContainerState::Exited(exit) = &record.state {
                    record.last = Some(exit.clone());
                    record.restarts += 1;
                }
                record.health = health;
                record.state = ContainerState::Running { id: container, started_at: self.now };
            }
            Action::Terminate { container, deadline, .. } => {
                self.log.push(format!("term {container}"));
                let record = self.observed.containers.get_mut(&container).unwrap();
                record.killing = Some(Killing { deadline, forced: false });
            }
            Action::Kill { container } => {
                self.log.push(format!("kill {container}"));
                let record = self.observed.containers.get_mut(&container).unwrap();
                record.killing = Some(Killing { deadline: self.now, forced: true });
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
