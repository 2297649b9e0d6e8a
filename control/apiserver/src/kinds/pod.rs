//! Pod.

use serde_json::{Value, json};

use super::strategy::keep_all_but_status;
use super::{ALL_VERBS, Kind, Strategy, pod_defaults};
use crate::validate::quantity::Quantity;
use crate::{object, table, validate};

pub(super) static POD: Kind = Kind {
    group: "",
    version: "v1",
    api_version: "v1",
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    namespaced: true,
    categories: &["all"],
    subresources: &["binding", "eviction", "exec", "log", "portforward", "status"],
    verbs: ALL_VERBS,
    field_selectors: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ],
    definition: "io.k8s.api.core.v1.Pod",
    strategy: Strategy {
        default: |pod: &mut Value| {
            if let Some(spec) = pod.get_mut("spec") {
                pod_defaults::default_pod_spec(spec);
            }
        },
        prepare_create,
        prepare_status_update,
        validate: validate::pod,
        validate_update: validate::pod_update,
        ..Strategy::WITH_STATUS
    },
    columns: table::POD,
};

fn prepare_create(pod: &mut Value) {
    let class = qos_class(&pod["spec"]);
    pod["status"] = json!({ "phase": "Pending", "qosClass": class });
    if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
        pod["status"]["conditions"] = json!([{
            "type": "PodScheduled",
            "status": "False",
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
}

/// The class follows from the spec and outlives every status a kubelet writes.
fn prepare_status_update(new: &mut Value, old: &Value) {
    keep_all_but_status(new, old);
    // A node could put its pods behind any service.
    match &old["metadata"]["labels"] {
        Value::Null => object::unset(new, "labels"),
        labels => object::set(new, "labels", labels.clone()),
    }
    if let Some(status) = new.get_mut("status").and_then(Value::as_object_mut) {
        let class = match &old["status"]["qosClass"] {
            Value::String(class) => class.clone(),
            _ => qos_class(&old["spec"]).to_owned(),
        };
        status.insert("qosClass".to_owned(), class.into());
    }
}

/// `Guaranteed` where every container limits both cpu and memory to what it requests, `BestEffort`
/// where none asks for anything, `Burstable` else.
pub(crate) fn qos_class(spec: &Value) -> &'static str {
    let containers = ["containers", "initContainers"]
        .iter()
        .filter_map(|field| spec[field].as_array())
        .flatten()
        .collect::<Vec<_>>();
    let amount = |container: &Value, list: &str, resource: &str| {
        let text = container["resources"][list][resource].as_str()?;
        Quantity::parse(text).filter(|quantity| !quantity.is_zero())
    };
    let asks = |container: &Value| {
        ["requests", "limits"].iter().any(|list| {
            ["cpu", "memory"].iter().any(|resource| amount(container, list, resource).is_some())
        })
    };
    let guaranteed = |container: &Value| {
        ["cpu", "memory"].iter().all(|resource| {
            let limit = amount(container, "limits", resource);
            let request = amount(container, "requests", resource);
            limit.is_some() && (request.is_none() || request == limit)
        })
    };
    if !containers.iter().any(|container| asks(container)) {
        "BestEffort"
    } else if containers.iter().all(|container| guaranteed(container)) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_follows_from_the_resources() {
        let spec = |resources: Value| json!({"containers": [{"resources": resources}]});
        let both = json!({"cpu": "1", "memory": "1Gi"});
        assert_eq!(qos_class(&spec(json!({}))), "BestEffort");
        assert_eq!(qos_class(&spec(json!({"requests": {"cpu": "0"}}))), "BestEffort");
        assert_eq!(qos_class(&spec(json!({"requests": {"cpu": "1m"}}))), "Burstable");
        assert_eq!(qos_class(&spec(json!({"limits": both}))), "Guaranteed");
        let same = json!({"limits": both, "requests": {"cpu": "1000m", "memory": "1024Mi"}});
        assert_eq!(qos_class(&spec(same)), "Guaranteed");
        let less = json!({"limits": both, "requests": {"cpu": "1", "memory": "1Mi"}});
        assert_eq!(qos_class(&spec(less)), "Burstable");
    }

    #[test]
    fn a_status_changes_no_label() {
        let old = json!({"metadata": {"name": "p", "labels": {"app": "a"}}, "spec": {}});
        let mut new = json!({"metadata": {"name": "p", "labels": {"app": "b"},
                                          "annotations": {"x": "y"}},
                             "spec": {}, "status": {"phase": "Running"}});
        POD.prepare_status_update(&mut new, &old);
        assert_eq!(new["metadata"]["labels"], json!({"app": "a"}));
        assert_eq!(new["metadata"]["annotations"], json!({"x": "y"}));
        assert_eq!(new["status"]["phase"], "Running");
    }

    #[test]
    fn a_new_pod_is_pending() {
        let mut pod = json!({"spec": {"containers": []}, "status": {"phase": "Running"}});
        POD.prepare_create(&mut pod);
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    }
}
