use serde_json::json;

use crate::kinds::{self, Kind};

use super::*;

fn kind() -> &'static Kind {
    kinds::find("apps", "v1", "deployments").unwrap()
}

fn deployment(changes: Value) -> Value {
    let mut spec = json!({
        "selector": {"matchLabels": {"app": "a"}},
        "template": {"metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [{"name": "a", "image": "a"}]}},
    });
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    let mut object = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
    kind().default(&mut object);
    object
}

fn problems(changes: Value) -> Vec<String> {
    kind().validate_create(&deployment(changes)).iter().map(ToString::to_string).collect()
}

#[test]
fn good_ones_are_taken() {
    for changes in [
        json!({}),
        json!({"strategy": {"type": "Recreate"}}),
        json!({"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": "100%"}}}),
        json!({"strategy": {"rollingUpdate": {"maxSurge": "150%", "maxUnavailable": 0}}}),
        json!({"replicas": 0, "revisionHistoryLimit": 0, "minReadySeconds": 5}),
    ] {
        assert_eq!(problems(changes.clone()), Vec::<String>::new(), "{changes}");
    }
}

#[test]
fn every_wrong_field_is_named_as_in_kubernetes() {
    let percent = "a valid percent string must be a numeric string followed by an ending '%' \
                   (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
    let rolling = |surge: Value, unavailable: Value| json!({"strategy": {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}});
    let unavailable = "spec.strategy.rollingUpdate.maxUnavailable: Invalid value";
    for (changes, expected) in [
        (
            json!({"replicas": -1}),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0".to_owned(),
        ),
        (json!({"selector": null}), "spec.selector: Required value".to_owned()),
        (
            json!({"selector": {}}),
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment".to_owned(),
        ),
        (
            json!({"selector": {"matchLabels": {"app": "b"}}}),
            "spec.template.metadata.labels: Invalid value: {\"app\":\"a\"}: `selector` does not \
             match template `labels`"
                .to_owned(),
        ),
        (
            json!({"strategy": {"type": "Recreate", "rollingUpdate": {}}}),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is \
             'Recreate'"
                .to_owned(),
        ),
        (
            json!({"strategy": {"type": "Blue"}}),
            "spec.strategy: Unsupported value: {\"type\":\"Blue\"}: supported values: \
             \"Recreate\", \"RollingUpdate\""
                .to_owned(),
        ),
        (
            rolling(json!(0), json!(0)),
            format!("{unavailable}: 0: may not be 0 when `maxSurge` is 0"),
        ),
        (
            rolling(json!("0%"), json!(0)),
            format!("{unavailable}: 0: may not be 0 when `maxSurge` is 0"),
        ),
        (
            rolling(json!(1), json!("101%")),
            format!("{unavailable}: \"101%\": must not be greater than 100%"),
        ),
        (
            rolling(json!(1), json!("99999999999999999999%")),
            format!("{unavailable}: \"99999999999999999999%\": must not be greater than 100%"),
        ),
        (rolling(json!(1), json!("1")), format!("{unavailable}: \"1\": {percent}")),
        (
            rolling(json!(-1), json!(1)),
            "spec.strategy.rollingUpdate.maxSurge: Invalid value: -1: must be greater than or \
             equal to 0"
                .to_owned(),
        ),
        (
            json!({"minReadySeconds": -1}),
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0"
                .to_owned(),
        ),
        (
            json!({"revisionHistoryLimit": -1}),
            "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0"
                .to_owned(),
        ),
        (
            json!({"progressDeadlineSeconds": 10, "minReadySeconds": 10}),
            "spec.progressDeadlineSeconds: Invalid value: 10: must be greater than minReadySeconds"
                .to_owned(),
        ),
    ] {
        assert_eq!(problems(changes.clone()), [expected], "{changes}");
    }
}

#[test]
fn nothing_at_all_names_what_is_missing() {
    let mut object = json!({"metadata": {"name": "a", "namespace": "b"}});
    kind().default(&mut object);
    let found: Vec<_> = kind().validate_create(&object).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["spec.selector: Required value", "spec.template.spec.containers: Required value"]
    );
}

#[test]
fn the_selector_never_changes() {
    let (old, mut new) = (deployment(json!({})), deployment(json!({})));
    new["spec"]["selector"]["matchLabels"]["tier"] = "x".into();
    new["spec"]["template"]["metadata"]["labels"]["tier"] = "x".into();
    let found = kind().validate_update(&new, &old);
    let expected = "spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"a\",\"tier\":\"x\"}}: \
                    field is immutable";
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), [expected]);
}

#[test]
fn a_status_adds_up() {
    let status = |status: Value| json!({"metadata": {"name": "a"}, "status": status});
    let old = status(json!({"collisionCount": 2}));
    let new = status(json!({"replicas": 1, "updatedReplicas": 2, "readyReplicas": 0,
        "availableReplicas": 1, "unavailableReplicas": -1, "collisionCount": 1}));
    let found: Vec<_> =
        kind().validate_status_update(&new, &old).iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        [
            "status.unavailableReplicas: Invalid value: -1: must be greater than or equal to 0",
            "status.updatedReplicas: Invalid value: 2: cannot be greater than status.replicas",
            "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
            "status.collisionCount: Invalid value: 1: cannot be decremented",
        ]
    );
}
