//! Evictions against disruption budgets. Nobody reckons the budgets here: their status is written
//! by the tests.

use hyper::{Method, header};
use serde_json::{Value, json};

use crate::{
    common::{PODS, Server, pod},
    kubectl::Kubectl,
};

const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const VIOLATION: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

async fn budget(server: &Server, name: &str, spec: Value, status: Value) {
    let mut budget = json!({"metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"set": "web"}}}});
    for (field, value) in spec.as_object().unwrap() {
        budget["spec"][field] = value.clone();
    }
    server.post(BUDGETS, &budget).await.expect(201);
    let path = format!("{BUDGETS}/{name}/status");
    server.patch(&path, &json!({"status": status})).await.expect(200);
}

fn status(allowed: i64, healthy: i64) -> Value {
    json!({"observedGeneration": 1, "disruptionsAllowed": allowed, "currentHealthy": healthy,
        "desiredHealthy": 3 - allowed, "expectedPods": 3})
}

/// On a node, so that it does not go at once.
async fn run_pod(server: &Server, name: &str, ready: &str) {
    let mut object = pod(name);
    object["metadata"]["labels"] = json!({"set": "web"});
    object["spec"]["nodeName"] = "n1".into();
    server.post(PODS, &object).await.expect(201);
    let status = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]});
    server.patch(&format!("{PODS}/{name}/status"), &json!({"status": status})).await.expect(200);
}

async fn evict(server: &Server, name: &str, options: Value) -> crate::common::Answer {
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": name, "namespace": "default"}, "deleteOptions": options});
    server.post(&format!("{PODS}/{name}/eviction"), &eviction).await
}

#[tokio::test]
async fn of_many_at_once_as_many_go_as_the_budget_allows() {
    let server = Server::start().await;
    budget(&server, "web", json!({"minAvailable": 1}), status(2, 12)).await;
    for number in 0..12 {
        run_pod(&server, &format!("p{number}"), "True").await;
    }
    let names: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
    let all = names.iter().map(|name| evict(&server, name, json!({})));
    let answers = futures::future::join_all(all).await;
    let taken: Vec<&String> =
        names.iter().zip(&answers).filter(|(_, a)| a.code == 201).map(|(n, _)| n).collect();
    assert_eq!(taken.len(), 2);
    for answer in answers.iter().filter(|answer| answer.code != 201) {
        assert_eq!((answer.code, answer.message()), (429, VIOLATION));
        let cause = &answer.body["details"]["causes"][0];
        assert_eq!(cause["reason"], "DisruptionBudget");
        assert_eq!(
            cause["message"],
            "The disruption budget web needs 1 healthy pods and has 12 currently"
        );
    }
    let budget = server.get(&format!("{BUDGETS}/web")).await.expect(200);
    assert_eq!(budget["status"]["disruptionsAllowed"], 0);
    let disrupted = budget["status"]["disruptedPods"].as_object().unwrap();
    assert!(taken.iter().all(|name| disrupted.contains_key(*name)) && disrupted.len() == 2);
    let gone = server.get(&format!("{PODS}/{}", taken[0])).await.expect(200);
    assert!(gone["metadata"]["deletionTimestamp"].is_string());
    let conditions = gone["status"]["conditions"].as_array().unwrap();
    let target = conditions.iter().find(|one| one["type"] == "DisruptionTarget").unwrap();
    assert_eq!(target["reason"], "EvictionByEvictionAPI");
    assert_eq!(target["message"], "Eviction API: evicting");
    // Who goes already may be evicted again.
    evict(&server, taken[0], json!({})).await.expect(201);
    server.stop().await;
}

#[tokio::test]
async fn who_serves_nobody_is_not_asked_for() {
    let server = Server::start().await;
    budget(&server, "web", json!({"minAvailable": 3}), status(0, 2)).await;
    run_pod(&server, "unready", "False").await;
    run_pod(&server, "done", "False").await;
    let ended = json!({"status": {"phase": "Succeeded"}});
    server.patch(&format!("{PODS}/done/status"), &ended).await.expect(200);
    let mut pending = pod("pending");
    pending["metadata"]["labels"] = json!({"set": "web"});
    server.post(PODS, &pending).await.expect(201);
    evict(&server, "done", json!({})).await.expect(201);
    evict(&server, "pending", json!({})).await.expect(201);
    server.get(&format!("{PODS}/pending")).await.expect(404);
    // One that is not ready counts while there are too few, unless the budget says otherwise.
    assert_eq!(evict(&server, "unready", json!({})).await.code, 429);
    let always = json!({"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}});
    server.patch(&format!("{BUDGETS}/web"), &always).await.expect(200);
    evict(&server, "unready", json!({})).await.expect(201);
    server.stop().await;
}

#[tokio::test]
async fn a_budget_that_was_changed_is_waited_for_and_two_are_too_many() {
    let server = Server::start().await;
    run_pod(&server, "a", "True").await;
    budget(&server, "web", json!({"minAvailable": 1}), status(2, 3)).await;
    let changed = json!({"spec": {"minAvailable": 3}});
    server.patch(&format!("{BUDGETS}/web"), &changed).await.expect(200);
    let answer = evict(&server, "a", json!({})).await;
    assert_eq!((answer.code, answer.message()), (429, VIOLATION));
    assert_eq!(answer.headers[header::RETRY_AFTER], "10");
    assert_eq!(
        answer.body["details"]["causes"][0]["message"],
        "The disruption budget web is still being processed by the server."
    );
    budget(&server, "other", json!({"minAvailable": 1}), status(2, 3)).await;
    let answer = evict(&server, "a", json!({})).await;
    assert_eq!(
        answer.message(),
        "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
         support."
    );
    answer.expect(500);
    server.stop().await;
}

#[tokio::test]
async fn a_question_changes_nothing_and_preconditions_hold() {
    let server = Server::start().await;
    budget(&server, "web", json!({"minAvailable": 1}), status(1, 3)).await;
    run_pod(&server, "a", "True").await;
    evict(&server, "a", json!({"dryRun": ["All"]})).await.expect(201);
    let other = json!({"preconditions": {"uid": "another"}});
    evict(&server, "a", other).await.expect(409);
    let stale = json!({"preconditions": {"resourceVersion": "1"}});
    evict(&server, "a", stale).await.expect(409);
    let misnamed = json!({"metadata": {"name": "b"}});
    server.post(&format!("{PODS}/a/eviction"), &misnamed).await.expect(400);
    evict(&server, "nobody", json!({})).await.expect(404);
    let untouched = server.get(&format!("{BUDGETS}/web")).await.expect(200);
    assert_eq!(untouched["status"]["disruptionsAllowed"], 1);
    let pod = server.get(&format!("{PODS}/a")).await.expect(200);
    assert!(pod["metadata"]["deletionTimestamp"].is_null());
    let current = pod["metadata"]["resourceVersion"].clone();
    let options = json!({"preconditions": {"resourceVersion": current}, "gracePeriodSeconds": 0});
    evict(&server, "a", options).await.expect(201);
    server.get(&format!("{PODS}/a")).await.expect(404);
    let answer = server.request(Method::GET, &format!("{PODS}/a/eviction"), "", "").await;
    answer.expect(405);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_makes_and_shows_budgets() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    let made =
        kubectl.run(&["create", "pdb", "web", "--selector=app=web", "--min-available=2"], "");
    assert_eq!(made, "poddisruptionbudget.policy/web created\n");
    kubectl.run(&["create", "pdb", "db", "--selector=app=db", "--max-unavailable=30%"], "");
    let shown = kubectl.run(&["get", "pdb"], "");
    let mut lines = shown.lines();
    assert_eq!(
        lines.next().unwrap().split_whitespace().collect::<Vec<_>>().join(" "),
        "NAME MIN AVAILABLE MAX UNAVAILABLE ALLOWED DISRUPTIONS AGE"
    );
    let cells = |line: Option<&str>| -> Vec<String> {
        line.unwrap().split_whitespace().take(4).map(str::to_owned).collect()
    };
    assert_eq!(cells(lines.next()), ["db", "N/A", "30%", "0"]);
    assert_eq!(cells(lines.next()), ["web", "2", "N/A", "0"]);
    let described = kubectl.run(&["describe", "pdb", "web"], "");
    assert!(described.contains("Min available:  2"), "{described}");
    let refused = kubectl.fails(
        &["apply", "-f", "-"],
        "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: x}\n\
         spec: {minAvailable: 1, maxUnavailable: 1}\n",
    );
    assert!(refused.contains("minAvailable and maxUnavailable cannot be both set"), "{refused}");
    server.stop().await;
}
