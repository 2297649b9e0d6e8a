//! Deployments through kubectl, as far as the server alone goes: no controller runs here.

use serde_json::json;

use crate::{common::Server, kubectl::Kubectl};

const MANIFEST: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {tier: front}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  strategy:
    type: RollingUpdate
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: echo:1
        ports: [{containerPort: 8080}]
      - {name: side, image: 'side:1'}
";

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

async fn filled() -> (Server, Kubectl) {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    let out = kubectl.run(&["apply", "-f", "-"], MANIFEST);
    assert_eq!(out, "deployment.apps/web created\n");
    (server, kubectl)
}

fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_and_descriptions() {
    let (server, kubectl) = filled().await;
    let status = json!({"metadata": {"annotations": {"deployment.kubernetes.io/revision": "1"}},
        "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2,
        "readyReplicas": 1, "availableReplicas": 1, "unavailableReplicas": 1, "conditions": [
        {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"}]}});
    server.patch(&format!("{DEPLOYMENTS}/web/status"), &status).await.expect(200);
    let out = kubectl.run(&["get", "deploy"], "");
    assert_eq!(rows(&out)[0], ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]);
    assert_eq!(rows(&out)[1][..4], ["web", "1/2", "2", "1"]);
    let out = kubectl.run(&["get", "deployments.apps", "-o", "wide"], "");
    assert_eq!(rows(&out)[0][5..], ["CONTAINERS", "IMAGES", "SELECTOR"]);
    assert_eq!(rows(&out)[1][5..], ["web,side", "echo:1,side:1", "app=web"]);
    let out = kubectl.run(&["get", "all"], "");
    assert!(out.contains("deployment.apps/web   1/2"), "{out}");
    let out = kubectl.run(&["describe", "deploy", "web"], "");
    for expected in [
        "Replicas:               2 desired | 2 updated | 2 total | 1 available | 1 unavailable",
        "StrategyType:           RollingUpdate",
        "RollingUpdateStrategy:  0 max unavailable, 1 max surge",
        "Available   True    MinimumReplicasAvailable",
    ] {
        assert!(out.contains(expected), "{out}");
    }
    for (field, expected) in [
        ("deployment.spec.strategy", "rollingUpdate"),
        ("deployment.spec.strategy.rollingUpdate.maxSurge", "FIELD: maxSurge <IntOrString>"),
        ("deploy.spec.template.spec.containers", "imagePullPolicy"),
    ] {
        let out = kubectl.run(&["explain", field], "");
        assert!(out.contains(expected), "{field}: {out}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_diff_and_every_patch() {
    let (server, kubectl) = filled().await;
    let field = |path: &str| {
        kubectl.run(&["get", "deploy", "web", "-o", &format!("jsonpath={{{path}}}")], "")
    };
    assert_eq!(kubectl.run(&["apply", "-f", "-"], MANIFEST), "deployment.apps/web unchanged\n");
    assert_eq!(kubectl.run(&["diff", "-f", "-"], MANIFEST), "");
    let newer = MANIFEST.replace("echo:1", "echo:2");
    let (same, diff) = kubectl.try_run(&["diff", "-f", "-"], &newer);
    assert!(!same && diff.contains("-      - image: echo:1"), "{diff}");
    assert!(diff.contains("-  generation: 1") && diff.contains("+  generation: 2"), "{diff}");
    kubectl.run(&["apply", "-f", "-", "--dry-run=server"], &newer);
    assert_eq!(field(".spec.template.spec.containers[*].image"), "echo:1 side:1");
    // One strategy takes the place of the other, with what belongs to it.
    let recreate = newer.replace(
        "type: RollingUpdate\n    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}",
        "type: Recreate",
    );
    kubectl.run(&["apply", "-f", "-"], &recreate);
    assert_eq!(field(".spec.strategy"), "{\"type\":\"Recreate\"}");
    kubectl.run(&["apply", "-f", "-"], &newer);
    let rolling = "{\"rollingUpdate\":{\"maxSurge\":1,\"maxUnavailable\":0},\"type\":\
                   \"RollingUpdate\"}";
    assert_eq!(field(".spec.strategy"), rolling);
    kubectl.run(&["apply", "--server-side", "--force-conflicts", "-f", "-"], &recreate);
    assert_eq!(field(".spec.strategy"), "{\"type\":\"Recreate\"}");

    let image =
        r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:2"}]}}}}"#;
    kubectl.run(&["patch", "deploy", "web", "-p", image], "");
    assert_eq!(field(".spec.template.spec.containers[*].image"), "echo:2 side:2");
    kubectl
        .run(&["patch", "deploy", "web", "--type=merge", "-p", r#"{"spec":{"paused":true}}"#], "");
    assert_eq!(field(".spec.paused"), "true");
    let json = r#"[{"op":"replace","path":"/spec/revisionHistoryLimit","value":3}]"#;
    kubectl.run(&["patch", "deploy", "web", "--type=json", "-p", json], "");
    assert_eq!(field(".spec.revisionHistoryLimit"), "3");
    let edit = kubectl
        .command(&["edit", "deploy", "web"])
        .env("EDITOR", "sed -i 's/minReadySeconds: .*//; s/image: echo:2/image: echo:3/'")
        .output()
        .unwrap();
    assert!(edit.status.success(), "{}", String::from_utf8_lossy(&edit.stderr));
    assert_eq!(field(".spec.template.spec.containers[0].image"), "echo:3");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_set_by_a_verb_of_its_own() {
    let (server, kubectl) = filled().await;
    let containers = |path: &str| {
        let path = format!("jsonpath={{.spec.template.spec.containers{path}}}");
        kubectl.run(&["get", "deploy", "web", "-o", &path], "")
    };
    kubectl.run(&["set", "image", "deploy/web", "web=echo:9"], "");
    assert_eq!(containers("[*].image"), "echo:9 side:1");
    kubectl.run(&["set", "env", "deploy/web", "-c", "web", "COLOUR=blue"], "");
    assert_eq!(containers("[0].env"), "[{\"name\":\"COLOUR\",\"value\":\"blue\"}]");
    kubectl.run(&["set", "env", "deploy/web", "-c", "web", "COLOUR-"], "");
    assert_eq!(containers("[0].env"), "");
    let limits = "--limits=cpu=200m,memory=64Mi";
    kubectl.run(&["set", "resources", "deploy/web", "-c=side", limits], "");
    assert_eq!(containers("[1].resources.limits"), "{\"cpu\":\"200m\",\"memory\":\"64Mi\"}");

    let generation =
        || kubectl.run(&["get", "deploy", "web", "-o", "jsonpath={.metadata.generation}"], "");
    let before: u32 = generation().parse().unwrap();
    kubectl.run(&["label", "deploy", "web", "a=b"], "");
    assert_eq!(generation(), before.to_string());
    // Annotations go on to the ReplicaSets.
    kubectl.run(&["annotate", "deploy", "web", "kubernetes.io/change-cause=first"], "");
    assert_eq!(generation(), (before + 1).to_string());

    kubectl.run(&["scale", "deploy", "web", "--current-replicas=2", "--replicas=5"], "");
    let out =
        kubectl.fails(&["scale", "deploy", "web", "--current-replicas=2", "--replicas=6"], "");
    assert!(out.contains("Expected replicas to be 2, was 5"), "{out}");
    let scale = format!("{DEPLOYMENTS}/web/scale");
    let wrong = server.patch(&scale, &json!({"spec": {"replicas": -1}})).await;
    assert_eq!(
        wrong.message(),
        "Scale.autoscaling \"web\" is invalid: spec.replicas: Invalid value: -1: must be greater \
         than or equal to 0"
    );
    let mut now = server.get(&scale).await.expect(200);
    assert_eq!(now["status"]["selector"], "app=web");
    now["spec"]["replicas"] = 7.into();
    let dry = server.put(&format!("{scale}?dryRun=All"), &now).await.expect(200);
    assert_eq!(dry["spec"]["replicas"], 7);
    server.put(&scale, &now).await.expect(200);
    // It names the resourceVersion that the first one was of.
    server.put(&scale, &now).await.expect(409);
    let out = kubectl.run(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"], "");
    assert_eq!(out, "7");

    let scale = ["get", "deploy", "web", "--subresource=scale", "-o", "jsonpath={.spec.replicas}"];
    assert_eq!(kubectl.run(&scale, ""), "7");
    kubectl.run(&["get", "deploy", "web", "--subresource=scale"], "");
    kubectl.run(&["rollout", "pause", "deploy/web"], "");
    let out = kubectl.fails(&["rollout", "pause", "deploy/web"], "");
    assert!(out.contains("is already paused"), "{out}");
    kubectl.run(&["rollout", "resume", "deploy/web"], "");
    kubectl.run(&["expose", "deploy", "web", "--port=80", "--target-port=8080"], "");
    let out = kubectl.run(&["get", "svc", "web", "-o", "jsonpath={.spec.selector}"], "");
    assert_eq!(out, "{\"app\":\"web\"}");
    let out = kubectl.run(&["delete", "deploy", "web"], "");
    assert_eq!(out, "deployment.apps \"web\" deleted\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_create_deployment_is_read_as_protobuf() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    kubectl.run(
        &[
            "create",
            "deployment",
            "web",
            "--image=echo:1",
            "--replicas=3",
            "--port=8080",
            "--",
            "/echo",
            "-v",
        ],
        "",
    );
    let made = server.get(&format!("{DEPLOYMENTS}/web")).await.expect(200);
    assert_eq!(made["spec"]["replicas"], 3);
    assert_eq!(made["spec"]["selector"], json!({"matchLabels": {"app": "web"}}));
    assert_eq!(made["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    let container = &made["spec"]["template"]["spec"]["containers"][0];
    assert_eq!((&container["name"], &container["image"]), (&json!("echo"), &json!("echo:1")));
    assert_eq!(container["command"], json!(["/echo", "-v"]));
    assert_eq!(container["ports"], json!([{"containerPort": 8080, "protocol": "TCP"}]));
    kubectl.run(&["create", "deployment", "none", "--image=echo:1", "--replicas=0"], "");
    let none = server.get(&format!("{DEPLOYMENTS}/none")).await.expect(200);
    assert_eq!(none["spec"]["replicas"], 0);
    kubectl.run(&["create", "deployment", "two", "--image=a:1", "--image=b:1"], "");
    let out = kubectl.run(&["get", "deploy", "two", "-o", "wide", "--no-headers"], "");
    assert!(out.contains("a,b") && out.contains("a:1,b:1"), "{out}");
    let out = kubectl.run(&["run", "alone", "--image=echo:1", "--port=80", "--env=A=b"], "");
    assert_eq!(out, "pod/alone created\n");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_ones_get_the_errors_of_kubernetes() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    for (right, wrong, expected) in [
        (
            "maxUnavailable: 0",
            "maxUnavailable: 150%",
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: \"150%\": must not be \
             greater than 100%",
        ),
        (
            "maxSurge: 1, maxUnavailable: 0",
            "maxSurge: 0, maxUnavailable: 0",
            "The Deployment \"web\" is invalid: spec.strategy.rollingUpdate.maxUnavailable: \
             Invalid value: 0: may not be 0 when `maxSurge` is 0",
        ),
        (
            "type: RollingUpdate",
            "type: Recreate",
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is \
             'Recreate'",
        ),
        ("matchLabels: {app: web}", "matchLabels: {app: x}", "`selector` does not match template"),
        ("replicas: 2", "replica: 2", "strict decoding error: unknown field \"spec.replica\""),
        (
            "replicas: 2",
            "replicas: two",
            "Deployment in version \"v1\" cannot be handled as a Deployment: json: cannot unmarshal \
             string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
    ] {
        let manifest = MANIFEST.replacen(right, wrong, 1);
        assert_ne!(manifest, MANIFEST, "{wrong}");
        let out = kubectl.fails(&["create", "-f", "-"], &manifest);
        assert!(out.contains(expected), "{wrong}: {out}");
    }
    let out = kubectl.fails(&["get", "deploy", "--field-selector=spec.replicas=1"], "");
    assert!(out.contains("field label not supported: spec.replicas"), "{out}");
    let out = kubectl.fails(&["get", "deploy", "none"], "");
    assert_eq!(out, "Error from server (NotFound): deployments.apps \"none\" not found\n");
    server.stop().await;
}
