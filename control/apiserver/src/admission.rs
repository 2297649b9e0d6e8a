//! What the server adds to objects, or refuses in them, by what it knows beyond the object itself:
//! the admission plugins of Kubernetes that are always on.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    api::Call,
    auth::node::restricted_labels,
    clock,
    kinds::{self, Kind},
    object,
    status_error::StatusError,
};

const PREEMPT: &str = "PreemptLowerPriority";
/// The taints of nodes that are not ready, which pods tolerate for a while.
const NODE_TAINTS: [&str; 2] = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/// For a new object, after its defaults.
pub(crate) async fn create(call: &Call, object: &mut Value) -> Result<(), StatusError> {
    if is_pod(call.kind) {
        priority(call, object).await?;
        tolerations(object, call.api.eviction_secs);
    }
    if is_priority_class(call.kind) {
        one_default(call, object).await?;
    }
    if is_node(call.kind) {
        taint_times(object, &Value::Null, &clock::now());
    }
    restrict_node(call, object, &Value::Null)
}

/// What a node may not say of itself (the plugin NodeRestriction); of whatever part of it.
pub(crate) fn restrict_node(call: &Call, new: &Value, old: &Value) -> Result<(), StatusError> {
    if !is_node(call.kind) || call.identity.node().is_none() {
        return Ok(());
    }
    let (new_labels, old_labels) = (restricted_labels(new), restricted_labels(old));
    let keys: BTreeSet<&str> =
        new_labels.keys().chain(old_labels.keys()).map(String::as_str).collect();
    let changed = keys.into_iter().filter(|key| new_labels.get(*key) != old_labels.get(*key));
    let changed: Vec<_> = changed.collect();
    if changed.is_empty() {
        return Ok(());
    }
    let why = format!("is not allowed to modify labels: {}", changed.join(", "));
    Err(StatusError::forbidden(call.kind, object::name(new), &why))
}

/// For a change, after the defaults.
pub(crate) async fn update(call: &Call, new: &mut Value, old: &Value) -> Result<(), StatusError> {
    if is_pod(call.kind) {
        for field in ["priority", "preemptionPolicy"] {
            if new["spec"][field].is_null() && !old["spec"][field].is_null() {
                new["spec"][field] = old["spec"][field].clone();
            }
        }
        tolerations(new, call.api.eviction_secs);
    }
    if is_priority_class(call.kind) && old["globalDefault"] != true {
        one_default(call, new).await?;
    }
    if is_node(call.kind) {
        taint_times(new, old, &clock::now());
    }
    Ok(())
}

fn is_node(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "nodes"
}

fn is_pod(kind: &Kind) -> bool {
    kind.group.is_empty() && kind.plural == "pods"
}

fn is_priority_class(kind: &Kind) -> bool {
    kind.group == "scheduling.k8s.io" && kind.plural == "priorityclasses"
}

async fn classes(call: &Call) -> Result<Vec<Value>, StatusError> {
    match kinds::find("scheduling.k8s.io", "v1", "priorityclasses") {
        Some(kind) => call.registry().all(kind, "").await,
        None => Ok(Vec::new()),
    }
}

/// Resolves the class of a pod; one that names none has the default class.
async fn priority(call: &Call, pod: &mut Value) -> Result<(), StatusError> {
    let name = pod["spec"]["priorityClassName"].as_str().unwrap_or_default();
    let classes = classes(call).await?;
    let class = if name.is_empty() {
        let defaults = classes.iter().filter(|class| class["globalDefault"] == true);
        // Should there be two, the lower is the more careful choice.
        defaults.min_by_key(|class| class["value"].as_i64())
    } else {
        let Some(class) = classes.iter().find(|class| object::name(class) == name) else {
            let why = format!("no PriorityClass with name {name} was found");
            return Err(StatusError::forbidden(call.kind, object::name(pod), &why));
        };
        Some(class)
    };
    let value = class.map_or(0, |class| class["value"].as_i64().unwrap_or_default());
    let policy = class.and_then(|class| class["preemptionPolicy"].as_str()).unwrap_or(PREEMPT);
    refuse_other(call.kind, pod, value, policy)?;
    let spec = &mut pod["spec"];
    if let Some(class) = class {
        spec["priorityClassName"] = object::name(class).into();
    }
    spec["priority"] = value.into();
    spec["preemptionPolicy"] = policy.into();
    Ok(())
}

/// What follows from the class may be said, but not otherwise.
fn refuse_other(kind: &Kind, pod: &Value, value: i64, policy: &str) -> Result<(), StatusError> {
    let spec = &pod["spec"];
    let forbidden = |why: &str| Err(StatusError::forbidden(kind, object::name(pod), why));
    if let Some(given) = spec["priority"].as_i64()
        && given != value
    {
        return forbidden(&format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority \
             admission controller computed {value} from the given PriorityClass name"
        ));
    }
    match spec["preemptionPolicy"].as_str() {
        Some(given) if given != policy => forbidden(&format!(
            "the string value of PreemptionPolicy ({given}) must not be provided in pod spec; \
             priority admission controller computed {policy} from the given PriorityClass name"
        )),
        _ => Ok(()),
    }
}

/// A pod that does not say how long it stays on a node that fails is given the server's time.
fn tolerations(pod: &mut Value, eviction_secs: u32) {
    let spec = &mut pod["spec"];
    if !spec.is_object() {
        return;
    }
    let known = spec["tolerations"].as_array().cloned().unwrap_or_default();
    let says = |taint: &str| {
        known.iter().any(|one| {
            let text = |field: &str| one[field].as_str().unwrap_or_default();
            (text("key") == taint || text("key").is_empty())
                && matches!(text("effect"), "" | "NoExecute")
        })
    };
    let added = NODE_TAINTS.iter().filter(|taint| !says(taint)).map(|taint| {
        json!({
            "key": taint,
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": eviction_secs,
        })
    });
    let all: Vec<Value> = known.iter().cloned().chain(added).collect();
    if all.len() > known.len() {
        spec["tolerations"] = all.into();
    }
}

/// Since when a taint drives pods away: how long they tolerate it counts from then, also for who is
/// started only later. `kubectl taint` does not say it.
fn taint_times(node: &mut Value, old: &Value, now: &str) {
    let known = old["spec"]["taints"].as_array();
    let taints = node.get_mut("spec").and_then(|spec| spec.get_mut("taints"));
    for taint in taints.and_then(Value::as_array_mut).into_iter().flatten() {
        if taint["effect"] != "NoExecute" || !taint["timeAdded"].is_null() {
            continue;
        }
        let same = |one: &&Value| {
            ["key", "value", "effect"].iter().all(|field| one[field] == taint[field])
        };
        let before = known.and_then(|known| known.iter().find(same)).map(|one| &one["timeAdded"]);
        taint["timeAdded"] = before.filter(|time| !time.is_null()).map_or(now.into(), Value::clone);
    }
}

async fn one_default(call: &Call, class: &Value) -> Result<(), StatusError> {
    if class["globalDefault"] != true {
        return Ok(());
    }
    let name = object::name(class);
    let classes = classes(call).await?;
    let is_other = |one: &&Value| one["globalDefault"] == true && object::name(one) != name;
    match classes.iter().find(is_other) {
        None => Ok(()),
        Some(other) => {
            let why = format!(
                "PriorityClass {} is already marked as default. Only one default can exist",
                object::name(other)
            );
            Err(StatusError::forbidden(call.kind, name, &why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taint_knows_since_when_it_is_there() {
        let with = |taints: Value| json!({"spec": {"taints": taints}});
        let taint = |key: &str, effect: &str| json!({"key": key, "effect": effect});
        let mut first = with(json!([taint("a", "NoExecute"), taint("a", "NoSchedule")]));
        taint_times(&mut first, &Value::Null, "t1");
        assert_eq!(first["spec"]["taints"][0]["timeAdded"], "t1");
        assert!(first["spec"]["taints"][1]["timeAdded"].is_null());
        let mut second = with(json!([taint("b", "NoExecute"), taint("a", "NoExecute")]));
        taint_times(&mut second, &first, "t2");
        assert_eq!(second["spec"]["taints"][0]["timeAdded"], "t2");
        assert_eq!(second["spec"]["taints"][1]["timeAdded"], "t1");
        let mut none = json!({"metadata": {}});
        taint_times(&mut none, &first, "t3");
        assert_eq!(none, json!({"metadata": {}}));
    }

    #[test]
    fn a_pod_tolerates_what_it_does_not_speak_of() {
        let with = |tolerations: Value| {
            let mut pod = json!({"spec": {"tolerations": tolerations}});
            super::tolerations(&mut pod, 7);
            let all = pod["spec"]["tolerations"].as_array().unwrap().clone();
            all.iter().map(|one| (one["key"].clone(), one["tolerationSeconds"].clone())).collect()
        };
        let pairs = |all: &[(&str, Value)]| -> Vec<(Value, Value)> {
            all.iter().map(|(key, secs)| (json!(key), secs.clone())).collect()
        };
        let [not_ready, unreachable] = NODE_TAINTS;
        let check = |given: Value, expected: &[(&str, Value)]| {
            let found: Vec<(Value, Value)> = with(given);
            assert_eq!(found, pairs(expected));
        };
        check(Value::Null, &[(not_ready, json!(7)), (unreachable, json!(7))]);
        check(
            json!([{"key": unreachable, "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 3}]),
            &[(unreachable, json!(3)), (not_ready, json!(7))],
        );
        let everything: Vec<(Value, Value)> = with(json!([{"operator": "Exists"}]));
        assert_eq!(everything.len(), 1);
    }
}
