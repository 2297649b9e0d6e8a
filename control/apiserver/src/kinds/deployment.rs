//! Deployment.

use serde_json::{Value, json};

use super::strategy::{carry_over, default_field, keep_all_but_status};
use super::{ALL_VERBS, Kind, Strategy, pod_defaults};
use crate::{table, validate};

pub(super) static DEPLOYMENT: Kind = Kind {
    group: "apps",
    version: "v1",
    api_version: "apps/v1",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    namespaced: true,
    categories: &["all"],
    subresources: &["scale", "status"],
    verbs: ALL_VERBS,
    field_selectors: &[],
    definition: "io.k8s.api.apps.v1.Deployment",
    strategy: Strategy {
        default,
        prepare_create: |deployment| deployment["status"] = json!({}),
        prepare_status_update,
        validate: validate::deployment,
        validate_update: validate::deployment_update,
        validate_status: validate::deployment_status,
        ..Strategy::WITH_STATUS
    },
    columns: table::DEPLOYMENT,
};

/// How many old ReplicaSets are kept to go back to.
const REVISION_HISTORY_LIMIT: u32 = 10;
const PROGRESS_DEADLINE_SECS: u32 = 600;

fn default(deployment: &mut Value) {
    default_field(deployment, "spec", json!({}));
    let Some(spec) = deployment.get_mut("spec").filter(|spec| spec.is_object()) else { return };
    default_field(spec, "replicas", 1);
    default_field(spec, "revisionHistoryLimit", REVISION_HISTORY_LIMIT);
    default_field(spec, "progressDeadlineSeconds", PROGRESS_DEADLINE_SECS);
    default_field(spec, "strategy", json!({}));
    if let Some(strategy) = spec.get_mut("strategy").filter(|strategy| strategy.is_object()) {
        default_strategy(strategy);
    }
    default_field(spec, "template", json!({}));
    if let Some(template) = spec.get_mut("template") {
        default_field(template, "spec", json!({}));
    }
    pod_defaults::default_template(spec);
}

fn default_strategy(strategy: &mut Value) {
    if strategy["type"].as_str().unwrap_or_default().is_empty() {
        strategy["type"] = "RollingUpdate".into();
    }
    if strategy["type"] == "RollingUpdate" {
        default_field(strategy, "rollingUpdate", json!({}));
        if let Some(rolling) = strategy.get_mut("rollingUpdate") {
            default_field(rolling, "maxUnavailable", "25%");
            default_field(rolling, "maxSurge", "25%");
        }
    }
}

/// The controller notes the revision in an annotation together with the status; the labels are not
/// its own.
fn prepare_status_update(new: &mut Value, old: &Value) {
    keep_all_but_status(new, old);
    if let Some(metadata) = new.get_mut("metadata").and_then(Value::as_object_mut) {
        carry_over(metadata, &old["metadata"], "labels");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_filled_in() {
        let mut deployment = json!({"spec": {"template": {"spec": {"containers": []}}}});
        DEPLOYMENT.default(&mut deployment);
        let spec = &deployment["spec"];
        assert_eq!(spec["replicas"], 1);
        assert_eq!(
            (&spec["revisionHistoryLimit"], &spec["progressDeadlineSeconds"]),
            (&json!(10), &json!(600))
        );
        let rolling = json!({"maxUnavailable": "25%", "maxSurge": "25%"});
        assert_eq!(spec["strategy"], json!({"type": "RollingUpdate", "rollingUpdate": rolling}));
        assert_eq!(spec["template"]["spec"]["restartPolicy"], "Always");

        let mut again = deployment.clone();
        DEPLOYMENT.default(&mut again);
        assert_eq!(again, deployment, "defaulting twice changes nothing");
    }

    #[test]
    fn what_is_said_stays() {
        let spec =
            json!({"replicas": 0, "revisionHistoryLimit": 0, "strategy": {"type": "Recreate"}});
        let mut deployment = json!({ "spec": spec });
        DEPLOYMENT.default(&mut deployment);
        let spec = &deployment["spec"];
        assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(0), &json!(0)));
        assert_eq!(spec["strategy"], json!({"type": "Recreate"}));
        let mut one = json!({"spec": {"strategy": {"rollingUpdate": {"maxSurge": 3}}}});
        DEPLOYMENT.default(&mut one);
        let rolling = json!({"maxUnavailable": "25%", "maxSurge": 3});
        assert_eq!(one["spec"]["strategy"]["rollingUpdate"], rolling);
    }

    #[test]
    fn a_status_changes_no_label_but_notes_the_revision() {
        let old = json!({"metadata": {"name": "d", "labels": {"a": "b"}}, "spec": {"replicas": 1}});
        let mut new = json!({"metadata": {"name": "d", "labels": {"a": "c"},
            "annotations": {"deployment.kubernetes.io/revision": "1"}},
            "spec": {"replicas": 2}, "status": {"replicas": 1}});
        DEPLOYMENT.prepare_status_update(&mut new, &old);
        assert_eq!(new["metadata"]["labels"], json!({"a": "b"}));
        assert_eq!(new["metadata"]["annotations"]["deployment.kubernetes.io/revision"], "1");
        assert_eq!((&new["spec"]["replicas"], &new["status"]["replicas"]), (&json!(1), &json!(1)));
    }
}
