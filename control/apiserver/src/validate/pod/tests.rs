use serde_json::json;

use super::*;
use crate::kinds;

fn pod_of(spec: Value) -> Value {
    let kind = kinds::find("", "v1", "pods").unwrap();
    let mut pod = json!({"metadata": {"name": "a", "namespace": "b"}, "spec": spec});
    kind.default(&mut pod);
    pod
}

fn problems(spec: Value) -> Vec<String> {
    let kind = kinds::find("", "v1", "pods").unwrap();
    kind.validate_create(&pod_of(spec)).iter().map(ToString::to_string).collect()
}

fn with(field: &str, value: Value) -> Value {
    let mut spec = json!({"containers": [{"name": "a", "image": "a"}]});
    spec["containers"][0][field] = value;
    spec
}

fn with_dns(policy: &str, config: Value) -> Value {
    json!({"containers": [{"name": "a", "image": "a"}], "dnsPolicy": policy, "dnsConfig": config})
}

#[test]
fn name_servers_and_search_paths_are_bounded() {
    let found = |config| problems(with_dns("ClusterFirst", config));
    let good = json!({"nameservers": ["192.0.2.1", "2001:db8::1"], "searches": [".", "a.example."],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]});
    assert_eq!(found(good), Vec::<String>::new());
    let servers = json!({"nameservers": ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]});
    assert!(found(servers)[0].ends_with("must not have more than 3 nameservers"));
    let searches: Vec<String> = (0..33).map(|number| format!("s{number}.example")).collect();
    let searches = json!({"searches": searches});
    assert!(found(searches)[0].ends_with("must not have more than 32 search paths"));
    let long: Vec<String> =
        (10..30).map(|number| format!("{}.{number}", "a.".repeat(60))).collect();
    let long: Vec<String> = long.into_iter().map(|one| one.replace("..", ".")).collect();
    assert!(found(json!({"searches": long}))[0].contains("2048 characters"));
    assert!(!found(json!({"searches": ["a_b"]})).is_empty());
}

#[test]
fn a_good_one_is_taken() {
    let spec = json!({
        "containers": [{
            "name": "a", "image": "a:1",
            "ports": [{"name": "http", "containerPort": 80}],
            "env": [{"name": "A", "value": "b"},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
                {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k"}}}],
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "resources": {"requests": {"cpu": "10m"}, "limits": {"cpu": "1", "memory": "1Gi"}},
            "readinessProbe": {"httpGet": {"port": "http"}},
            "livenessProbe": {"exec": {"command": ["true"]}},
        }],
        "initContainers": [{"name": "i", "image": "a"}],
        "volumes": [{"name": "v", "configMap": {"name": "c"}}],
        "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b"}],
        "nodeSelector": {"a": "b"},
    });
    assert_eq!(problems(spec), Vec::<String>::new());
}

#[test]
fn wrong_ones_are_refused_in_the_words_of_kubernetes() {
    for (spec, expected) in [
        (json!({}), "spec.containers: Required value"),
        (
            with("ports", json!([{"containerPort": 70000}])),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 \
             and 65535, inclusive",
        ),
        (
            with(
                "ports",
                json!([{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]),
            ),
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
        ),
        (with("image", json!("")), "spec.containers[0].image: Required value"),
        (with("env", json!([{"value": "a"}])), "spec.containers[0].env[0].name: Required value"),
        (
            with("volumeMounts", json!([{"name": "v", "mountPath": "/v"}])),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            with("imagePullPolicy", json!("Sometimes")),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported \
             values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            with("resources", json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}})),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or \
             equal to cpu limit of 1",
        ),
        (
            with("readinessProbe", json!({})),
            "spec.containers[0].readinessProbe: Required value: must specify a handler type",
        ),
        (
            json!({"containers": [{"name": "a", "image": "a"}, {"name": "a", "image": "a"}]}),
            "spec.containers[1].name: Duplicate value: \"a\"",
        ),
        (
            json!({"containers": [{"name": "a", "image": "a"}], "restartPolicy": "Sometimes"}),
            "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
             \"OnFailure\", \"Never\"",
        ),
        (
            json!({"containers": [{"name": "a", "image": "a"}],
                "volumes": [{"name": "v", "configMap": {}}]}),
            "spec.volumes[0].configMap.name: Required value",
        ),
        (
            with_dns("Sometimes", json!(null)),
            "spec.dnsPolicy: Unsupported value: \"Sometimes\": supported values: \
             \"ClusterFirst\", \"ClusterFirstWithHostNet\", \"Default\", \"None\"",
        ),
        (
            with_dns("None", json!(null)),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            with_dns("None", json!({"searches": ["a.example"]})),
            "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver \
             when `dnsPolicy` is None",
        ),
        (
            with_dns("Default", json!({"nameservers": ["ns.example"]})),
            "spec.dnsConfig.nameservers[0]: Invalid value: \"ns.example\": must be a valid IP \
             address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            with_dns("Default", json!({"options": [{"value": "1"}]})),
            "spec.dnsConfig.options[0]: Required value: must not be empty",
        ),
    ] {
        assert_eq!(problems(spec), [expected]);
    }
}

#[test]
fn only_a_few_fields_of_a_running_pod_change() {
    let kind = kinds::find("", "v1", "pods").unwrap();
    let old = pod_of(json!({"containers": [{"name": "a", "image": "a:1"}]}));
    let change = |pointer: &str, value: Value| {
        let mut new = old.clone();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        new.pointer_mut(parent).unwrap()[field] = value;
        kind.validate_update(&new, &old).iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(change("/spec/containers/0/image", json!("a:2")), Vec::<String>::new());
    assert_eq!(change("/spec/tolerations", json!([{"operator": "Exists"}])), Vec::<String>::new());
    assert_eq!(change("/spec/activeDeadlineSeconds", json!(5)), Vec::<String>::new());
    let found = change("/spec/hostNetwork", json!(true));
    assert!(
        found[0].starts_with(
            "spec: Forbidden: pod updates may not change fields other than \
             `spec.containers[*].image`,`spec.initContainers[*].image`,"
        ),
        "{found:?}"
    );
    assert!(!change("/spec/containers/0/env", json!([{"name": "A"}])).is_empty());
}

#[test]
fn where_a_pod_may_go_is_checked() {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let spec = |field: &str, value: Value| {
        let mut spec = json!({"containers": [{"name": "a", "image": "a"}]});
        spec[field] = value;
        spec
    };
    let node = |term: Value| {
        let terms = json!({"nodeSelectorTerms": [term]});
        spec("affinity", json!({"nodeAffinity": {REQUIRED: terms}}))
    };
    let near = |term: Value| spec("affinity", json!({"podAffinity": {REQUIRED: [term]}}));
    let spread = |changes: Value| {
        let mut one = json!({"maxSkew": 1, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}});
        for (key, value) in changes.as_object().unwrap() {
            one[key] = value.clone();
        }
        spec("topologySpreadConstraints", json!([one]))
    };
    let good = [
        node(json!({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}],
            "matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]})),
        near(json!({"topologyKey": "zone", "labelSelector": {}, "matchLabelKeys": ["hash"]})),
        spread(json!({"minDomains": 2, "nodeTaintsPolicy": "Honor", "matchLabelKeys": ["hash"]})),
        spec("schedulingGates", json!([{"name": "example.com/wait"}])),
        spec("preemptionPolicy", json!("Never")),
    ];
    for spec in good {
        assert_eq!(problems(spec), Vec::<String>::new());
    }
    let affinity = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution";
    let pods = "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]";
    let constraints = "spec.topologySpreadConstraints[0]";
    for (spec, expected) in [
        (
            spec("affinity", json!({"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": []}}})),
            format!(
                "{affinity}.nodeSelectorTerms: Required value: must have at least one node \
                 selector term"
            ),
        ),
        (
            node(json!({"matchExpressions": [{"key": "a", "operator": "Lt"}]})),
            format!(
                "{affinity}.nodeSelectorTerms[0].matchExpressions[0].values: Required value: must \
                 be specified single value when `operator` is 'Lt' or 'Gt'"
            ),
        ),
        (
            node(json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})),
            format!(
                "{affinity}.nodeSelectorTerms[0].matchExpressions[0].operator: Invalid value: \
                 \"Near\": not a valid selector operator"
            ),
        ),
        (
            node(json!({"matchFields": [{"key": "spec.x", "operator": "In", "values": ["a"]}]})),
            format!(
                "{affinity}.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"spec.x\": \
                 not a valid field selector key"
            ),
        ),
        (
            spec(
                "affinity",
                json!({"podAntiAffinity": {PREFERRED: [{"weight": 101,
                    "podAffinityTerm": {"topologyKey": "a"}}]}}),
            ),
            format!(
                "spec.affinity.podAntiAffinity.{PREFERRED}[0].weight: Invalid value: 101: must be \
                 in the range 1-100"
            ),
        ),
        (
            near(json!({"topologyKey": ""})),
            format!("{pods}.topologyKey: Required value: can not be empty"),
        ),
        (
            near(json!({"topologyKey": "a", "matchLabelKeys": ["b"]})),
            format!(
                "{pods}.matchLabelKeys: Forbidden: must not be specified when labelSelector is \
                 not set"
            ),
        ),
        (
            spread(json!({"maxSkew": 0})),
            format!("{constraints}.maxSkew: Invalid value: 0: must be greater than zero"),
        ),
        (
            spread(json!({"whenUnsatisfiable": "Maybe"})),
            format!(
                "{constraints}.whenUnsatisfiable: Unsupported value: \"Maybe\": supported \
                 values: \"DoNotSchedule\", \"ScheduleAnyway\""
            ),
        ),
        (
            spread(json!({"minDomains": 1, "whenUnsatisfiable": "ScheduleAnyway"})),
            format!(
                "{constraints}.minDomains: Invalid value: 1: can only use minDomains if \
                 whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
            ),
        ),
        (
            spread(json!({"nodeTaintsPolicy": "Some"})),
            format!(
                "{constraints}.nodeTaintsPolicy: Unsupported value: \"Some\": supported values: \
                 \"Honor\", \"Ignore\""
            ),
        ),
        (
            spec("preemptionPolicy", json!("Always")),
            "spec.preemptionPolicy: Unsupported value: \"Always\": supported values: \
             \"PreemptLowerPriority\", \"Never\""
                .to_owned(),
        ),
    ] {
        assert_eq!(problems(spec.clone())[0], expected, "{spec}");
    }
    let one = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
    assert_eq!(
        problems(spec("topologySpreadConstraints", json!([one, one]))),
        ["spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \
          \"{zone, DoNotSchedule}\""]
    );
}

#[test]
fn gates_are_opened_and_never_closed() {
    let kind = kinds::find("", "v1", "pods").unwrap();
    let gated = |gates: Value| {
        pod_of(json!({"containers": [{"name": "a", "image": "a"}], "schedulingGates": gates}))
    };
    let change = |new: Value, old: Value| -> Vec<String> {
        let errors = kind.validate_update(&gated(new), &gated(old));
        errors.iter().map(ToString::to_string).collect()
    };
    let (a, b) = (json!({"name": "a"}), json!({"name": "b"}));
    assert_eq!(change(json!([a]), json!([a, b])), Vec::<String>::new());
    assert_eq!(change(json!([]), json!([a])), Vec::<String>::new());
    assert_eq!(
        change(json!([a, b]), json!([a])),
        ["spec.schedulingGates: Forbidden: only deletion is allowed, but found new scheduling \
          gate 'b'"]
    );
}
