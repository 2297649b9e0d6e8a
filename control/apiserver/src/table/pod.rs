//! Pod, with the status in one word as `printPod` of Kubernetes finds it.

use serde_json::Value;

use super::age::{human_duration, unix_secs};
use super::{AGE, Column, Columns, NAME, age, list, name, text_or_none};

pub(crate) const POD: Columns = Columns {
    columns: &[
        NAME,
        Column::new("Ready", "string", "How many of its containers are ready."),
        Column::new("Status", "string", "Its phase, or the reason why it is not well."),
        Column::new("Restarts", "string", "How often its containers were restarted."),
        AGE,
        Column::wide("IP", "string", "Its address."),
        Column::wide("Node", "string", "The node it runs on."),
        Column::wide("Nominated Node", "string", "The node that is made free for it."),
        Column::wide("Readiness Gates", "string", "The conditions it waits for besides its own."),
    ],
    cells: |pod, now| {
        let summary = Summary::of(pod);
        let status = &pod["status"];
        let ip = status["podIPs"][0]["ip"].as_str().or_else(|| status["podIP"].as_str());
        vec![
            name(pod),
            format!("{}/{}", summary.ready, summary.containers).into(),
            summary.reason.as_str().into(),
            summary.restarts_text(now).into(),
            age(pod, now),
            ip.filter(|ip| !ip.is_empty()).unwrap_or("<none>").into(),
            text_or_none(&pod["spec"]["nodeName"]).into(),
            text_or_none(&status["nominatedNodeName"]).into(),
            readiness_gates(pod).into(),
        ]
    },
};

#[derive(Default)]
struct Summary {
    reason: String,
    ready: usize,
    containers: usize,
    restarts: i64,
    /// When a container was last restarted.
    last_restart_secs: Option<i64>,
}

impl Summary {
    fn of(pod: &Value) -> Self {
        let (spec, status) = (&pod["spec"], &pod["status"]);
        let sidecars = list(&spec["initContainers"]).filter(|one| is_sidecar(one)).count();
        let mut summary = Self {
            containers: list(&spec["containers"]).len() + sidecars,
            reason: first_text(&[&status["reason"], &status["phase"]]).to_owned(),
            ..Self::default()
        };
        if list(&status["conditions"])
            .any(|one| one["type"] == "PodScheduled" && one["reason"] == "SchedulingGated")
        {
            summary.reason = "SchedulingGated".to_owned();
        }
        let initializing = summary.init_containers(pod);
        let initialized = list(&status["conditions"])
            .any(|one| one["type"] == "Initialized" && one["status"] == "True");
        if !initializing || initialized {
            summary.main_containers(pod);
        }
        if pod["metadata"]["deletionTimestamp"].is_string() {
            let finished = matches!(status["phase"].as_str(), Some("Succeeded" | "Failed"));
            if status["reason"] == "NodeLost" {
                summary.reason = "Unknown".to_owned();
            } else if !finished {
                summary.reason = "Terminating".to_owned();
            }
        }
        summary
    }

    /// Counts the init containers and says whether one of them holds the pod up.
    fn init_containers(&mut self, pod: &Value) -> bool {
        let specs = &pod["spec"]["initContainers"];
        let mut sidecar_restarts = 0;
        let mut sidecar_last = None;
        for (index, one) in list(&pod["status"]["initContainerStatuses"]).enumerate() {
            self.restarts += one["restartCount"].as_i64().unwrap_or_default();
            let last = last_restart(one);
            self.last_restart_secs = self.last_restart_secs.max(last);
            let sidecar = list(specs).any(|spec| spec["name"] == one["name"] && is_sidecar(spec));
            if sidecar {
                sidecar_restarts += one["restartCount"].as_i64().unwrap_or_default();
                sidecar_last = sidecar_last.max(last);
            }
            let state = &one["state"];
            if state["terminated"]["exitCode"] == 0 {
                continue;
            }
            if sidecar && one["started"] == true {
                self.ready += usize::from(one["ready"] == true);
                continue;
            }
            let reason = if state["terminated"].is_object() {
                terminated_reason(&state["terminated"])
            } else {
                match state["waiting"]["reason"].as_str() {
                    Some(reason) if !reason.is_empty() && reason != "PodInitializing" => {
                        reason.to_owned()
                    }
                    _ => format!("{index}/{}", list(specs).len()),
                }
            };
            self.reason = format!("Init:{reason}");
            return true;
        }
        // Once they are done, the restarts of init containers are history.
        self.restarts = sidecar_restarts;
        self.last_restart_secs = sidecar_last;
        false
    }

    fn main_containers(&mut self, pod: &Value) {
        let mut has_running = false;
        let statuses = list(&pod["status"]["containerStatuses"]);
        for one in statuses.rev() {
            self.restarts += one["restartCount"].as_i64().unwrap_or_default();
            self.last_restart_secs = self.last_restart_secs.max(last_restart(one));
            let state = &one["state"];
            match state["waiting"]["reason"].as_str() {
                Some(reason) if !reason.is_empty() => reason.clone_into(&mut self.reason),
                _ if state["terminated"].is_object() => {
                    self.reason = terminated_reason(&state["terminated"]);
                }
                _ if one["ready"] == true && state["running"].is_object() => {
                    has_running = true;
                    self.ready += 1;
                }
                _ => {}
            }
        }
        // A pod of which one part is done and another runs is not completed.
        if self.reason == "Completed" && has_running {
            let ready = list(&pod["status"]["conditions"])
                .any(|one| one["type"] == "Ready" && one["status"] == "True");
            self.reason = if ready { "Running" } else { "NotReady" }.to_owned();
        }
    }

    /// `3 (5m ago)`.
    fn restarts_text(&self, now_secs: i64) -> String {
        match self.last_restart_secs {
            Some(then) if self.restarts > 0 => {
                format!("{} ({} ago)", self.restarts, human_duration(now_secs - then))
            }
            _ => self.restarts.to_string(),
        }
    }
}

fn terminated_reason(terminated: &Value) -> String {
    match terminated["reason"].as_str() {
        Some(reason) if !reason.is_empty() => reason.to_owned(),
        _ => match terminated["signal"].as_i64().unwrap_or_default() {
            0 => format!("ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or_default()),
            signal => format!("Signal:{signal}"),
        },
    }
}

/// An init container that keeps running beside the others.
fn is_sidecar(container: &Value) -> bool {
    container["restartPolicy"] == "Always"
}

fn last_restart(status: &Value) -> Option<i64> {
    unix_secs(status["lastState"]["terminated"]["finishedAt"].as_str()?)
}

fn first_text<'a>(values: &[&'a Value]) -> &'a str {
    values
        .iter()
        .find_map(|value| value.as_str().filter(|text| !text.is_empty()))
        .unwrap_or_default()
}

fn readiness_gates(pod: &Value) -> String {
    let gates = list(&pod["spec"]["readinessGates"]);
    let total = gates.len();
    if total == 0 {
        return "<none>".to_owned();
    }
    let met = gates
        .filter(|gate| {
            list(&pod["status"]["conditions"])
                .any(|one| one["type"] == gate["conditionType"] && one["status"] == "True")
        })
        .count();
    format!("{met}/{total}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cells(pod: Value) -> Vec<String> {
        let now = unix_secs("2026-01-01T00:10:00Z").unwrap();
        (POD.cells)(&pod, now)
            .iter()
            .map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned))
            .collect()
    }

    fn pod(status: Value) -> Value {
        json!({
            "metadata": {"name": "web", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n1", "containers": [{"name": "a"}, {"name": "b"}]},
            "status": status,
        })
    }

    #[test]
    fn a_running_pod() {
        let running = json!({"ready": true, "restartCount": 0, "state": {"running": {}}});
        let again = json!({"ready": true, "restartCount": 2, "state": {"running": {}},
            "lastState": {"terminated": {"finishedAt": "2026-01-01T00:05:00Z"}}});
        let status = json!({"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "containerStatuses": [running, again]});
        assert_eq!(
            cells(pod(status)),
            ["web", "2/2", "Running", "2 (5m ago)", "10m", "10.0.0.1", "n1", "<none>", "<none>"]
        );
    }

    #[test]
    fn the_status_is_the_reason_why_it_is_not_well() {
        let waiting = |reason: &str| json!({"state": {"waiting": {"reason": reason}}});
        let ended = |ended: Value| json!({"state": {"terminated": ended}});
        for (status, expected) in [
            (json!({"phase": "Pending"}), "Pending"),
            (json!({"phase": "Failed", "reason": "Evicted"}), "Evicted"),
            (
                json!({"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff")]}),
                "CrashLoopBackOff",
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended(json!({"exitCode": 3}))]}),
                "ExitCode:3",
            ),
            (
                json!({"phase": "Failed", "containerStatuses": [ended(json!({"signal": 9}))]}),
                "Signal:9",
            ),
            (
                json!({"phase": "Pending", "initContainerStatuses": [waiting("PodInitializing")]}),
                "Init:0/0",
            ),
            (
                json!({"phase": "Pending",
                    "initContainerStatuses": [ended(json!({"exitCode": 1, "reason": "Error"}))]}),
                "Init:Error",
            ),
            (
                json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}],
                    "containerStatuses": [
                        ended(json!({"exitCode": 0, "reason": "Completed"})),
                        {"ready": true, "state": {"running": {}}}]}),
                "NotReady",
            ),
        ] {
            assert_eq!(cells(pod(status.clone()))[2], expected, "{status}");
        }
    }

    #[test]
    fn a_pod_on_its_way_out_is_terminating() {
        let mut going = pod(json!({"phase": "Running"}));
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:09:00Z".into();
        assert_eq!(cells(going.clone())[2], "Terminating");
        going["status"] = json!({"phase": "Succeeded"});
        assert_eq!(cells(going)[2], "Succeeded");
    }
}
