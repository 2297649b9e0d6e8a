//! Watches over HTTP, and by the client library that everything else uses.

use crate::common::{CONFIG_MAPS, Server, config_map, version};
use serde_json::{Value, json};

async fn label(server: &Server, name: &str, labels: Value) {
    let patch = json!({"metadata": {"labels": labels}});
    server.patch(&format!("{CONFIG_MAPS}/{name}"), &patch).await.expect(200);
}

#[tokio::test]
async fn events_come_in_order_from_any_revision() {
    let server = Server::start().await;
    let first = server.post(CONFIG_MAPS, &config_map("a", "1")).await.expect(201);
    server.patch(&format!("{CONFIG_MAPS}/a"), &json!({"data": {"key": "2"}})).await.expect(200);
    let mut live = server.watch(&format!("{CONFIG_MAPS}?watch=true")).await;
    assert_eq!(live.brief().await, "ADDED a");
    let from = format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", version(&first));
    let mut resumed = server.watch(&from).await;
    assert_eq!(resumed.brief().await, "MODIFIED a");
    server.delete(&format!("{CONFIG_MAPS}/a"), &json!({})).await.expect(200);
    server.post("/api/v1/namespaces", &json!({"metadata": {"name": "x"}})).await.expect(201);
    server.post("/api/v1/namespaces/x/configmaps", &config_map("o", "")).await.expect(201);
    server.post(CONFIG_MAPS, &config_map("b", "1")).await.expect(201);
    for watch in [&mut live, &mut resumed] {
        let deleted = watch.next().await.unwrap();
        assert_eq!(deleted["type"], "DELETED");
        assert_eq!(deleted["object"]["data"]["key"], "2");
        let number = |text: &str| text.parse::<u64>().unwrap();
        assert!(number(version(&deleted["object"])) > number(version(&first)) + 1);
        assert_eq!(watch.brief().await, "ADDED b");
    }

    // Over a restart, a watch goes on where it was.
    let server = Server::start_in(server.stop().await, |_| {}).await;
    assert_eq!(live.next().await, None);
    let mut resumed = server.watch(&from).await;
    for expected in ["MODIFIED a", "DELETED a", "ADDED b"] {
        assert_eq!(resumed.brief().await, expected);
    }
    server.stop().await;
}

#[tokio::test]
async fn selectors_turn_changes_into_comings_and_goings() {
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &config_map("a", "1")).await.expect(201);
    server.post(CONFIG_MAPS, &config_map("a-2", "1")).await.expect(201);
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=on%3Dyes")).await;
    let mut named =
        server.watch(&format!("{CONFIG_MAPS}?watch=1&fieldSelector=metadata.name%3Da")).await;
    assert_eq!(named.brief().await, "ADDED a");
    label(&server, "a", json!({"on": "yes"})).await;
    assert_eq!(watch.brief().await, "ADDED a");
    label(&server, "a-2", json!({"on": "no"})).await;
    label(&server, "a", json!({"other": "x"})).await;
    assert_eq!(watch.brief().await, "MODIFIED a");
    label(&server, "a", json!({"on": "no"})).await;
    let gone = watch.next().await.unwrap();
    assert_eq!(
        (&gone["type"], &gone["object"]["metadata"]["labels"]["on"]),
        (&json!("DELETED"), &json!("yes"))
    );
    label(&server, "a-2", json!({"on": "yes"})).await;
    assert_eq!(watch.brief().await, "ADDED a-2");
    server.delete(&format!("{CONFIG_MAPS}/a-2"), &json!({})).await.expect(200);
    assert_eq!(watch.brief().await, "DELETED a-2");
    for _ in 0..3 {
        assert_eq!(named.brief().await, "MODIFIED a");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_streamed_list_ends_with_its_bookmark() {
    let server = Server::start().await;
    for name in ["a", "b"] {
        server.post(CONFIG_MAPS, &config_map(name, "1")).await.expect(201);
    }
    let path = format!(
        "{CONFIG_MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan\
         &allowWatchBookmarks=true&timeoutSeconds=1"
    );
    let mut watch = server.watch(&path).await;
    assert_eq!(watch.brief().await, "ADDED a");
    assert_eq!(watch.brief().await, "ADDED b");
    let end = watch.next().await.unwrap();
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    // At the end of its time it says how far it has come.
    let last = watch.next().await.unwrap();
    assert_eq!((&last["type"], &last["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
    assert_eq!(watch.next().await, None);

    let path = format!("{CONFIG_MAPS}?watch=1&sendInitialEvents=true");
    assert_eq!(server.get(&path).await.code, 400);
    server.stop().await;
}

#[tokio::test]
async fn tables_are_watched_as_tables() {
    use http_body_util::{BodyExt, Full};
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &config_map("a", "1")).await.expect(201);
    server.post(CONFIG_MAPS, &config_map("b", "1")).await.expect(201);
    let request = hyper::Request::get(format!("{CONFIG_MAPS}?watch=1&timeoutSeconds=1"))
        .header("host", "localhost")
        .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        .body(Full::new(bytes::Bytes::new()))
        .unwrap();
    let body = server.send(request).await.into_body().collect().await.unwrap().to_bytes();
    let events: Vec<Value> =
        serde_json::Deserializer::from_slice(&body).into_iter().collect::<Result<_, _>>().unwrap();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0]["object"]["kind"], "Table");
    assert!(!events[0]["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert!(events[1]["object"]["columnDefinitions"].as_array().unwrap().is_empty());
    assert_eq!(events[1]["object"]["rows"][0]["object"]["metadata"]["name"], "b");
    server.stop().await;
}

#[tokio::test]
async fn the_client_library_lists_watches_and_writes() {
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{
        Api, Client, Config,
        api::{DeleteParams, Patch, PatchParams, PostParams},
        runtime::{WatchStreamExt, watcher},
    };
    let server = Server::start().await;
    let config = Config::new(format!("http://{}", server.address).parse().unwrap());
    let client = Client::try_from(config).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    for settings in [watcher::Config::default(), watcher::Config::default().streaming_lists()] {
        let name = "kube";
        let object: ConfigMap =
            serde_json::from_value(json!({"metadata": {"name": name}, "data": {"a": "1"}}))
                .unwrap();
        let made = maps.create(&PostParams::default(), &object).await.unwrap();
        let mut seen = Box::pin(watcher(maps.clone(), settings).touched_objects());
        let first = seen.next().await.unwrap().unwrap();
        assert_eq!(first.metadata.uid, made.metadata.uid);
        let patch = json!({"data": {"a": "2"}});
        maps.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
        let second = seen.next().await.unwrap().unwrap();
        assert_eq!(second.data.unwrap()["a"], "2");
        maps.delete(name, &DeleteParams::default()).await.unwrap();
        let last = seen.next().await.unwrap().unwrap();
        assert_eq!(last.metadata.uid, made.metadata.uid);
        let missing = maps.get_opt(name).await.unwrap();
        assert!(missing.is_none());
    }
    server.stop().await;
}

#[tokio::test]
async fn who_is_too_far_behind_must_list_anew() {
    use control_store::{EmbeddedStore, Options};
    use std::sync::Arc;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let options = Options { history_events: 10, ..Options::default() };
    let store = EmbeddedStore::open(folder.path().join("small"), options).unwrap();
    let server = Server::start_in(folder, |config| config.store = Arc::new(store)).await;
    for n in 0..3 {
        server.post(CONFIG_MAPS, &config_map(&format!("c{n}"), "")).await.expect(201);
    }
    let page = server.get(&format!("{CONFIG_MAPS}?limit=1")).await.expect(200);
    let token = page["metadata"]["continue"].as_str().unwrap();
    for n in 0..20 {
        let patch = json!({"data": {"key": n.to_string()}});
        server.patch(&format!("{CONFIG_MAPS}/c0"), &patch).await.expect(200);
    }
    // From a time that is forgotten, and from one that this store has not seen.
    for revision in ["1", "999999"] {
        let path = format!("{CONFIG_MAPS}?watch=1&resourceVersion={revision}");
        let mut watch = server.watch(&path).await;
        let error = watch.next().await.unwrap();
        assert_eq!(error["type"], "ERROR");
        assert_eq!(
            (&error["object"]["code"], &error["object"]["reason"]),
            (&json!(410), &json!("Expired")),
            "{revision}"
        );
        assert_eq!(watch.next().await, None);
    }
    let late = server.get(&format!("{CONFIG_MAPS}?limit=1&continue={token}")).await;
    assert!(late.message().starts_with("The provided continue parameter is too old"));
    late.expect(410);
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_costs_no_memory_and_is_told() {
    use control_store::{EmbeddedStore, Options};
    use std::sync::Arc;
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let options = Options { history_events: 40, ..Options::default() };
    let store = EmbeddedStore::open(folder.path().join("small"), options).unwrap();
    let server = Server::start_in(folder, |config| config.store = Arc::new(store)).await;
    let mut watch = server.watch(&format!("{CONFIG_MAPS}?watch=1")).await;
    // More than the sockets between us can hold.
    let large = "x".repeat(400_000);
    for n in 0..60 {
        let object = config_map(&format!("c{n}"), &large);
        server.post(CONFIG_MAPS, &object).await.expect(201);
    }
    let mut seen = 0;
    let last = loop {
        match watch.next().await {
            Some(event) if event["type"] == "ADDED" => seen += 1,
            other => break other.unwrap(),
        }
    };
    assert!(seen < 60);
    assert_eq!((&last["type"], &last["object"]["code"]), (&json!("ERROR"), &json!(410)));
    server.stop().await;
}
