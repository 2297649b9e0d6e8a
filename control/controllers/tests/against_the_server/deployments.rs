//! Deployments, as people use them and as they are disturbed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to panic")]

use std::{collections::BTreeSet, time::Duration};

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, running_on},
    kubectl::Kubectl,
};

async fn cluster() -> (Cluster, Kubectl) {
    let cluster = Cluster::start().await;
    for name in ["n1", "n2"] {
        cluster.add_node(name).await;
    }
    let kubectl = Kubectl::new(&cluster);
    (cluster, kubectl)
}

const PATIENCE: &str = "--timeout=120s";

fn rolled_out(kubectl: &Kubectl, name: &str) {
    let out = kubectl.run(&["rollout", "status", &format!("deploy/{name}"), PATIENCE]);
    let expected = format!("deployment \"{name}\" successfully rolled out\n");
    assert!(out.ends_with(&expected), "{out}");
}

fn field(kubectl: &Kubectl, object: &str, path: &str) -> String {
    kubectl.run(&["get", object, "-o", &format!("jsonpath={{{path}}}")])
}

/// The image that the pods of `app=web` have, each once.
fn images(kubectl: &Kubectl) -> String {
    let path = "jsonpath={.items[*].spec.containers[*].image}";
    let out = kubectl.run(&["get", "pods", "-l", "app=web", "-o", path]);
    out.split(' ').collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_rolls_out_back_and_forth() {
    let (cluster, kubectl) = cluster().await;
    let create = ["create", "deployment", "web", "--image=echo:1", "--replicas=3", "--port=8080"];
    assert_eq!(kubectl.run(&create), "deployment.apps/web created\n");
    rolled_out(&kubectl, "web");
    let out = kubectl.run(&["wait", "--for=condition=Available", "deploy/web", PATIENCE]);
    assert_eq!(out, "deployment.apps/web condition met\n");
    let out = kubectl.run(&["get", "deploy", "-o", "wide", "--no-headers"]);
    let words: Vec<&str> = out.split_whitespace().collect();
    assert_eq!(words[..4], ["web", "3/3", "3", "3"]);
    assert_eq!(words[5..], ["echo", "echo:1", "app=web"]);

    kubectl.run(&["scale", "deploy", "web", "--replicas=5"]);
    rolled_out(&kubectl, "web");
    kubectl.run(&["scale", "deploy/web", "--current-replicas=5", "--replicas=4"]);
    rolled_out(&kubectl, "web");

    let because = |cause: &str| {
        let cause = format!("kubernetes.io/change-cause={cause}");
        kubectl.run(&["annotate", "--overwrite", "deploy", "web", &cause]);
    };
    kubectl.run(&["set", "image", "deploy/web", "echo=echo:2"]);
    because("second");
    rolled_out(&kubectl, "web");
    assert_eq!(images(&kubectl), "echo:2");
    kubectl.run(&["set", "env", "deploy/web", "COLOUR=blue"]);
    because("blue");
    rolled_out(&kubectl, "web");
    let out = kubectl.run(&["rollout", "history", "deploy/web"]);
    let lines: Vec<Vec<&str>> =
        out.lines().skip(2).map(|l| l.split_whitespace().collect()).collect();
    assert_eq!(lines[..3], [vec!["1", "<none>"], vec!["2", "second"], vec!["3", "blue"]], "{out}");
    let out = kubectl.run(&["rollout", "history", "deploy/web", "--revision=3"]);
    assert!(out.contains("COLOUR:") && out.contains("blue"), "{out}");

    kubectl.run(&["rollout", "undo", "deploy/web"]);
    rolled_out(&kubectl, "web");
    assert_eq!(field(&kubectl, "deploy/web", ".spec.template.spec.containers[0].env"), "");
    assert_eq!(images(&kubectl), "echo:2");
    kubectl.run(&["rollout", "undo", "deploy/web", "--to-revision=1"]);
    rolled_out(&kubectl, "web");
    assert_eq!(images(&kubectl), "echo:1");
    let revision = ".metadata.annotations.deployment\\.kubernetes\\.io/revision";
    assert_eq!(field(&kubectl, "deploy/web", revision), "5");
    // Three templates have been wanted, some of them twice.
    assert_eq!(kubectl.run(&["get", "rs", "-o", "name"]).lines().count(), 3);
    let out = kubectl.fails(&["rollout", "undo", "deploy/web", "--to-revision=9"]);
    assert!(out.contains("unable to find specified revision 9"), "{out}");

    let before = cluster.until::<Pod>("four pods", |pods| pods.len() == 4).await;
    kubectl.run(&["rollout", "restart", "deploy/web"]);
    rolled_out(&kubectl, "web");
    let names = |pods: &[Pod]| pods.iter().map(ResourceExt::name_any).collect::<BTreeSet<_>>();
    let after = cluster.until::<Pod>("four pods", |pods| pods.len() == 4).await;
    assert!(names(&before).is_disjoint(&names(&after)));

    kubectl.run(&["rollout", "pause", "deploy/web"]);
    kubectl.run(&["set", "image", "deploy/web", "echo=echo:3"]);
    kubectl.run(&["set", "resources", "deploy/web", "--limits=cpu=100m,memory=32Mi"]);
    kubectl.run(&["scale", "deploy/web", "--replicas=2"]);
    cluster.until::<Pod>("two pods", |pods| pods.len() == 2).await;
    assert_eq!(images(&kubectl), "echo:1");
    let reason = ".status.conditions[?(@.type==\"Progressing\")].reason";
    let until_paused = format!("--for=jsonpath={{{reason}}}=DeploymentPaused");
    kubectl.run(&["wait", &until_paused, "deploy/web", PATIENCE]);
    let out = kubectl.fails(&["rollout", "undo", "deploy/web"]);
    assert!(out.contains("you cannot rollback a paused deployment"), "{out}");
    kubectl.run(&["rollout", "resume", "deploy/web"]);
    rolled_out(&kubectl, "web");
    assert_eq!(images(&kubectl), "echo:3");
    assert_eq!(field(&kubectl, "deploy/web", reason), "NewReplicaSetAvailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_shows_serves_edits_and_deletes() {
    let (cluster, kubectl) = cluster().await;
    let manifest = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'echo:1', ports: [{containerPort: 8080}]}]}
";
    kubectl.feed(&["apply", "-f", "-"], manifest);
    rolled_out(&kubectl, "web");
    let edit = kubectl
        .command(&["edit", "deploy", "web"])
        .env("EDITOR", "sed -i 's/image: echo:1/image: echo:2/'")
        .output();
    let edit = tokio::task::block_in_place(|| edit.unwrap());
    assert!(edit.status.success(), "{}", String::from_utf8_lossy(&edit.stderr));
    rolled_out(&kubectl, "web");
    assert_eq!(images(&kubectl), "echo:2");
    let out = kubectl.feed(&["apply", "-f", "-"], &manifest.replace("echo:1", "echo:3"));
    assert_eq!(out, "deployment.apps/web configured\n");
    rolled_out(&kubectl, "web");
    assert_eq!(images(&kubectl), "echo:3");
    kubectl.run(&["patch", "deploy", "web", "-p", r#"{"spec":{"replicas":3}}"#]);
    rolled_out(&kubectl, "web");
    // What leads to no other pods makes no other set.
    kubectl.run(&["label", "deploy", "web", "tier=front"]);
    kubectl.run(&["annotate", "deploy", "web", "note=hello"]);
    rolled_out(&kubectl, "web");
    assert_eq!(kubectl.run(&["get", "rs", "-o", "name"]).lines().count(), 3);

    kubectl.run(&["expose", "deploy", "web", "--port=80", "--target-port=8080"]);
    kubectl.run(&["run", "alone", "--image=echo:1", "--labels=app=alone"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/alone", PATIENCE]);
    let out = kubectl.run(&["get", "all"]);
    for expected in ["pod/alone", "service/web", "deployment.apps/web", "replicaset.apps/web-"] {
        assert!(out.contains(expected), "{out}");
    }
    let newest = field(&kubectl, "rs", ".items[?(@.spec.replicas==3)].metadata.name");
    let described = |expected: &str| {
        let out = kubectl.run(&["describe", "deploy", "web"]);
        if out.contains(expected) { Ok(()) } else { Err(out) }
    };
    for expected in [
        "3 desired | 3 updated | 3 total | 3 available | 0 unavailable".to_owned(),
        "Progressing    True    NewReplicaSetAvailable".to_owned(),
        format!("NewReplicaSet:   {newest} (3/3 replicas created)"),
        format!("Scaled up replica set {newest} from 2 to 3"),
        format!("Scaled up replica set {newest} from 0 to 1"),
        "ScalingReplicaSet".to_owned(),
        "deployment-controller".to_owned(),
    ] {
        // Events are told a moment later.
        let mut tries = 0;
        while let Err(out) = described(&expected) {
            tries += 1;
            assert!(tries < 100, "{expected}: {out}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    let waiting = kubectl.command(&["wait", "--for=delete", "deploy/web", PATIENCE]).spawn();
    kubectl.run(&["delete", "deploy", "web"]);
    let output = tokio::task::block_in_place(|| waiting.unwrap().wait_with_output().unwrap());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    cluster.until::<ReplicaSet>("no sets", |sets| sets.is_empty()).await;
    cluster.until::<Pod>("only the other pod", |pods| pods.len() == 1).await;

    // Orphans are taken up by the next one, which makes no set and no pod.
    kubectl.feed(&["apply", "-f", "-"], manifest);
    rolled_out(&kubectl, "web");
    let before = kubectl.run(&["get", "pods,rs", "-l", "app=web", "-o", "name"]);
    kubectl.run(&["delete", "deploy", "web", "--cascade=orphan"]);
    kubectl.feed(&["apply", "-f", "-"], manifest);
    rolled_out(&kubectl, "web");
    assert_eq!(kubectl.run(&["get", "pods,rs", "-l", "app=web", "-o", "name"]), before);
    kubectl.run(&["delete", "deploy", "web", "--cascade=foreground", "--wait"]);
    cluster.until::<Pod>("only the other pod", |pods| pods.len() == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_on_says_so() {
    let (cluster, kubectl) = cluster().await;
    cluster.create::<Deployment>(deployment("web", 4, json!({"progressDeadlineSeconds": 2}))).await;
    rolled_out(&kubectl, "web");
    kubectl.run(&["set", "image", "deploy/web", "c=broken:1"]);
    let out = kubectl.fails(&["rollout", "status", "deploy/web", PATIENCE]);
    assert!(out.contains("deployment \"web\" exceeded its progress deadline"), "{out}");
    let out = kubectl.run(&["describe", "deploy", "web"]);
    assert!(out.contains("Progressing    False   ProgressDeadlineExceeded"), "{out}");
    assert!(out.contains("Available      True    MinimumReplicasAvailable"), "{out}");
    let out = kubectl.run(&["get", "deploy", "web", "--no-headers"]);
    assert_eq!(out.split_whitespace().nth(1), Some("3/4"));
    kubectl.run(&["rollout", "undo", "deploy/web"]);
    rolled_out(&kubectl, "web");
    cluster.until::<Pod>("four that run", |pods| pods.len() == 4).await;

    // All old pods are gone before the first new one is made.
    let recreate = json!({"spec": {"strategy": {"type": "Recreate", "rollingUpdate": null},
        "progressDeadlineSeconds": 600}});
    let merge = recreate.to_string();
    kubectl.run(&["patch", "deploy", "web", "--type=merge", "-p", &merge]);
    kubectl.run(&["set", "image", "deploy/web", "c=echo:5"]);
    let image = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.clone().unwrap();
    let all = cluster
        .until::<Pod>("four new ones", |pods| {
            let kinds: BTreeSet<String> = pods.iter().map(image).collect();
            assert!(kinds.len() < 2, "old and new at once: {kinds:?}");
            running_on(pods).values().sum::<usize>() == 4 && kinds.contains("echo:5")
        })
        .await;
    assert_eq!(all.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_that_the_api_refuses_are_told_of_up_to_the_deployment() {
    let (cluster, kubectl) = cluster().await;
    let mut wrong = deployment("web", 2, json!({}));
    // A template may have it, a pod may not.
    wrong["spec"]["template"]["metadata"]["finalizers"] = json!(["not a name"]);
    cluster.create::<Deployment>(wrong).await;
    let failure = |deployment: &Deployment| {
        let conditions = deployment.status.clone().and_then(|status| status.conditions);
        let mut conditions = conditions.into_iter().flatten();
        let found = conditions.find(|one| one.type_.as_deref() == Some("ReplicaFailure"));
        found.and_then(|one| one.message)
    };
    let told = cluster.until::<Deployment>("told", |all| failure(&all[0]).is_some()).await;
    let message = failure(&told[0]).unwrap();
    assert!(message.contains("is invalid: metadata.finalizers[0]: Invalid value"), "{message}");
    let out = kubectl.run(&["describe", "deploy", "web"]);
    assert!(out.contains("ReplicaFailure") && out.contains("FailedCreate"), "{out}");
    let mut out = String::new();
    for _ in 0..100 {
        out = kubectl.run(&["describe", "rs"]);
        if out.contains("Error creating: Pod \"web-") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(out.contains("Error creating: Pod \"web-"), "{out}");
    let right = r#"{"spec":{"template":{"metadata":{"finalizers":null}}}}"#;
    kubectl.run(&["patch", "deploy", "web", "--type=merge", "-p", right]);
    rolled_out(&kubectl, "web");
    let healed = |all: &[Deployment]| failure(&all[0]).is_none();
    cluster.until::<Deployment>("no failure", healed).await;
}

fn deployment(name: &str, replicas: u32, changes: Value) -> Value {
    let mut spec = json!({
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1,
                "containers": [{"name": "c", "image": "echo:1"}]},
        },
    });
    for (field, value) in changes.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({"metadata": {"name": name}, "spec": spec})
}

fn complete(deployment: &Deployment, replicas: i32) -> bool {
    let status = deployment.status.clone().unwrap_or_default();
    status.observed_generation == deployment.metadata.generation
        && [status.replicas, status.updated_replicas, status.available_replicas]
            == [Some(replicas); 3]
}

/// Sets are told by their templates: one each, however often the controller was killed and however
/// often somebody else was faster.
#[tokio::test(flavor = "multi_thread")]
async fn killed_controllers_and_other_writers_leave_no_spare_set() {
    let (cluster, _) = cluster().await;
    let rolling = json!({"strategy": {"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}});
    cluster.create::<Deployment>(deployment("web", 8, rolling)).await;
    let deployments = cluster.api::<Deployment>();
    let sets = cluster.api::<ReplicaSet>();
    let params = PatchParams::default();
    cluster.until::<Deployment>("the first", |all| complete(&all[0], 8)).await;
    for round in 2..6 {
        let image = json!({"spec": {"template": {"spec": {"containers":
            [{"name": "c", "image": format!("echo:{round}")}]}}}});
        deployments.patch("web", &params, &Patch::Strategic(image)).await.unwrap();
        for number in 0..12 {
            let note = json!({"metadata": {"annotations": {"note": number.to_string()}}});
            for set in sets.list(&Default::default()).await.unwrap() {
                let _gone = sets.patch(&set.name_any(), &params, &Patch::Merge(&note)).await;
            }
            deployments.patch("web", &params, &Patch::Merge(&note)).await.unwrap();
            if number % 3 == 0 {
                cluster.restart_controllers();
            }
        }
        let mut fewest = usize::MAX;
        cluster
            .until::<Pod>("the newest alone", |pods| {
                let running = running_on(pods).values().sum::<usize>();
                fewest = fewest.min(running);
                let newest = format!("echo:{round}");
                pods.len() == 8
                    && running == 8
                    && pods.iter().all(|pod| {
                        pod.spec.as_ref().unwrap().containers[0].image.as_ref() == Some(&newest)
                    })
            })
            .await;
        assert!(fewest >= 7, "only {fewest} pods ran");
        cluster.until::<Deployment>("complete", |all| complete(&all[0], 8)).await;
        let all = sets.list(&Default::default()).await.unwrap().items;
        assert_eq!(all.len(), round, "one set for each template");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_one_keeps_its_bounds_all_the_way() {
    let (cluster, kubectl) = cluster().await;
    let rolling = json!({"strategy": {"rollingUpdate": {"maxSurge": "10%", "maxUnavailable": 0}}});
    cluster.create::<Deployment>(deployment("web", 60, rolling)).await;
    cluster.until::<Deployment>("the first", |all| complete(&all[0], 60)).await;
    kubectl.run(&["set", "image", "deploy/web", "c=echo:2"]);
    let begun = std::time::Instant::now();
    cluster
        .until::<Pod>("sixty new ones", |pods| {
            let active =
                pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).count();
            let ready = running_on(pods).values().sum::<usize>();
            assert!(active <= 66, "{active} pods at once");
            assert!(ready >= 60, "only {ready} are ready");
            let is_new = |pod: &Pod| {
                pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("echo:2")
            };
            pods.len() == 60 && pods.iter().all(is_new)
        })
        .await;
    println!("60 pods, 6 at a time: {:?}", begun.elapsed());
    rolled_out(&kubectl, "web");
}
