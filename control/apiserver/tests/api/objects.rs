//! Create, read, update and delete over HTTP, with Kubernetes' errors.

use crate::common::{CONFIG_MAPS, PODS, SERVICES, Server, config_map, pod, version};
use hyper::Method;
use serde_json::{Value, json};

#[tokio::test]
async fn an_object_lives_and_dies() {
    let server = Server::start().await;
    let made = server.post(CONFIG_MAPS, &config_map("a", "1")).await.expect(201);
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(made["metadata"]["namespace"], "default");
    assert_eq!(made["metadata"]["uid"].as_str().unwrap().len(), 36);
    let one = format!("{CONFIG_MAPS}/a");
    assert_eq!(server.get(&one).await.expect(200), made);

    let mut changed = made.clone();
    changed["data"]["key"] = "2".into();
    let updated = server.put(&one, &changed).await.expect(200);
    assert_ne!(version(&updated), version(&made));
    let same = server.put(&one, &updated).await.expect(200);
    assert_eq!(version(&same), version(&updated), "a change that changes nothing");

    let stale = server.put(&one, &changed).await;
    assert_eq!(
        stale.message(),
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please \
         apply your changes to the latest version and try again"
    );
    stale.expect(409);

    let gone = server.delete(&one, &json!({})).await.expect(200);
    assert_eq!((&gone["status"], &gone["details"]["name"]), (&json!("Success"), &json!("a")));
    let missing = server.get(&one).await;
    assert_eq!(missing.message(), "configmaps \"a\" not found");
    missing.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_said_as_kubernetes_says_it() {
    let server = Server::start().await;
    server.post(CONFIG_MAPS, &config_map("a", "1")).await.expect(201);
    server
        .post(CONFIG_MAPS, &json!({"metadata": {"name": "frozen"}, "immutable": true}))
        .await
        .expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    let cases: Vec<(Method, &str, Value, u16, &str)> = vec![
        (Method::POST, CONFIG_MAPS, config_map("a", ""), 409, "configmaps \"a\" already exists"),
        (Method::POST, CONFIG_MAPS, config_map("A_b", ""), 422, "ConfigMap \"A_b\" is invalid: "),
        (
            Method::POST,
            "/api/v1/namespaces/nowhere/configmaps",
            config_map("a", ""),
            404,
            "namespaces \"nowhere\" not found",
        ),
        (
            Method::POST,
            CONFIG_MAPS,
            json!({"metadata": {"name": "b", "namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the \
             request (other != default)",
        ),
        (
            Method::POST,
            CONFIG_MAPS,
            json!({"metadata": {"name": "b", "resourceVersion": "1"}}),
            400,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            Method::POST,
            CONFIG_MAPS,
            json!({"kind": "Secret", "apiVersion": "v1"}),
            400,
            "Secret in version",
        ),
        (Method::POST, CONFIG_MAPS, json!([]), 400, ""),
        (
            Method::PUT,
            &one,
            config_map("b", ""),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            Method::PUT,
            "/api/v1/namespaces/default/configmaps/x",
            config_map("x", ""),
            404,
            "configmaps \"x\" not found",
        ),
        (
            Method::PUT,
            &one,
            json!({"metadata": {"name": "a", "uid": "other"}}),
            409,
            "Operation cannot be fulfilled on configmaps \"a\": Precondition failed: UID in \
             precondition: other, UID in object meta: ",
        ),
        (
            Method::DELETE,
            &one,
            json!({"preconditions": {"resourceVersion": "1"}}),
            409,
            "Operation cannot be fulfilled on configmaps \"a\": Precondition failed: \
             ResourceVersion in precondition: 1, ResourceVersion in object meta: ",
        ),
        (
            Method::DELETE,
            "/api/v1/namespaces/default",
            json!({}),
            403,
            "namespaces \"default\" is forbidden: this namespace may not be deleted",
        ),
        (Method::POST, &one, json!({}), 405, ""),
        (
            Method::GET,
            "/api/v1/namespaces/default/nonsense",
            json!({}),
            404,
            "the server could not find the requested resource",
        ),
        (Method::GET, "/api/v1/namespaces/default/nodes", json!({}), 404, ""),
        (Method::POST, "/api/v1/pods", pod("p"), 404, ""),
        (
            Method::POST,
            "/api/v1/namespaces/default/configmaps?dryRun=Some",
            config_map("z", ""),
            400,
            "",
        ),
        (
            Method::GET,
            "/api/v1/pods?labelSelector=a%20b",
            json!({}),
            400,
            "unable to parse requirement: ",
        ),
        (Method::GET, "/api/v1/pods?resourceVersion=x", json!({}), 400, "resourceVersion: "),
        (
            Method::GET,
            "/api/v1/pods?resourceVersion=999999",
            json!({}),
            504,
            "Too large resource version: 999999",
        ),
        (Method::GET, "/api/v1/pods?continue=x", json!({}), 400, "continue key is not valid: "),
    ];
    for (method, path, body, code, message) in cases {
        let what = format!("{method} {path} {body}");
        let answer = server.request(method, path, "application/json", body.to_string()).await;
        assert_eq!(answer.code, code, "{what}: {}", answer.body);
        assert!(answer.message().starts_with(message), "{what}: {}", answer.message());
        assert_eq!(answer.body["kind"], "Status", "{what}");
    }
    for other in [json!({"kind": "Secret"}), json!({"apiVersion": "v2"})] {
        let answer = server.patch(&one, &other).await;
        assert_eq!(answer.code, 400, "a patch makes no object of another kind: {}", answer.body);
    }
    let xml = server.request(Method::POST, CONFIG_MAPS, "text/xml", "<a/>").await;
    assert_eq!(xml.body["reason"], "UnsupportedMediaType");
    let large = format!("{{\"data\": \"{}\"}}", "x".repeat(4 << 20));
    let large = server.request(Method::POST, CONFIG_MAPS, "application/json", large).await;
    assert_eq!(large.code, 413);
    server.stop().await;
}

#[tokio::test]
async fn names_are_generated() {
    let server = Server::start().await;
    let body = json!({"metadata": {"generateName": "web-"}});
    let first = server.post(CONFIG_MAPS, &body).await.expect(201);
    let second = server.post(CONFIG_MAPS, &body).await.expect(201);
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    assert!(name(&first).starts_with("web-") && name(&first).len() == 9);
    assert_ne!(name(&first), name(&second));
    server.stop().await;
}

#[tokio::test]
async fn unknown_fields_are_refused_told_or_ignored() {
    let server = Server::start().await;
    let body = json!({"metadata": {"name": "a"}, "dat": {}});
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict&dryRun=All");
    let refused = server.post(&strict, &body).await;
    assert_eq!(
        refused.message(),
        "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: \
         unknown field \"dat\""
    );
    refused.expect(400);
    for (mode, warns) in [("Ignore", false), ("Warn", true)] {
        let path = format!("{CONFIG_MAPS}?fieldValidation={mode}&dryRun=All");
        let answer = server.post(&path, &body).await;
        assert_eq!(answer.headers.contains_key("warning"), warns, "{mode}");
        assert_eq!(answer.expect(201)["dat"], Value::Null);
    }
    server.get(&format!("{CONFIG_MAPS}/a")).await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn lists_have_pages_and_selectors() {
    let server = Server::start().await;
    for n in 0..7 {
        let mut object = config_map(&format!("c{n}"), "");
        object["metadata"]["labels"] = json!({"odd": (n % 2).to_string()});
        server.post(CONFIG_MAPS, &object).await.expect(201);
    }
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect()
    };
    let first = server.get(&format!("{CONFIG_MAPS}?limit=3")).await.expect(200);
    assert_eq!(names(&first), ["c0", "c1", "c2"]);
    assert_eq!(first["kind"], "ConfigMapList");
    assert_eq!(first["metadata"]["remainingItemCount"], 4);
    // What happens in between does not show on later pages.
    server.delete(&format!("{CONFIG_MAPS}/c4"), &json!({})).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server.get(&format!("{CONFIG_MAPS}?limit=3&continue={token}")).await.expect(200);
    assert_eq!(names(&second), ["c3", "c4", "c5"]);
    assert_eq!(version(&second), version(&first));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let third = server.get(&format!("{CONFIG_MAPS}?limit=3&continue={token}")).await.expect(200);
    assert_eq!(names(&third), ["c6"]);
    assert_eq!(third["metadata"]["continue"], Value::Null);

    let odd = server.get(&format!("{CONFIG_MAPS}?labelSelector=odd%3D1&limit=2")).await.expect(200);
    assert_eq!(names(&odd), ["c1", "c3"]);
    let token = odd["metadata"]["continue"].as_str().unwrap();
    let path = format!("{CONFIG_MAPS}?labelSelector=odd%3D1&limit=2&continue={token}");
    assert_eq!(names(&server.get(&path).await.expect(200)), ["c5"]);

    let path = "/api/v1/configmaps?fieldSelector=metadata.name%3Dc2,metadata.namespace%3Ddefault";
    assert_eq!(names(&server.get(path).await.expect(200)), ["c2"]);
    let now = server.get(&format!("{CONFIG_MAPS}?resourceVersion=0")).await.expect(200);
    assert_eq!(names(&now).len(), 6);
    let path =
        format!("{CONFIG_MAPS}?resourceVersion={}&resourceVersionMatch=Exact", version(&first));
    assert_eq!(names(&server.get(&path).await.expect(200)).len(), 7);

    let deleted = server
        .delete(&format!("{CONFIG_MAPS}?labelSelector=odd%3D0"), &json!({}))
        .await
        .expect(200);
    assert_eq!(names(&deleted), ["c0", "c2", "c6"]);
    assert_eq!(names(&server.get(CONFIG_MAPS).await.expect(200)), ["c1", "c3", "c5"]);
    server.stop().await;
}

#[tokio::test]
async fn a_pod_is_bound_reported_on_and_ends_in_grace() {
    let server = Server::start().await;
    let made = server.post(PODS, &pod("p")).await.expect(201);
    assert_eq!(made["status"]["phase"], "Pending");
    let one = format!("{PODS}/p");
    let binding = json!({"target": {"kind": "Node", "name": "n1"}});
    server.post(&format!("{one}/binding"), &binding).await.expect(201);
    let again = server.post(&format!("{one}/binding"), &binding).await;
    assert_eq!(
        again.message(),
        "Operation cannot be fulfilled on pods \"p\": pod p is already assigned to node \"n1\""
    );
    again.expect(409);

    // The status has a path of its own, and each path leaves the other's part alone.
    let patch = json!({"status": {"phase": "Running"}, "metadata": {"labels": {"a": "b"}}});
    let running = server.patch(&format!("{one}/status"), &patch).await.expect(200);
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["spec"]["nodeName"], "n1");
    let patch = json!({"status": {"phase": "Failed"}, "metadata": {"labels": {"c": "d"}}});
    let labelled = server.patch(&one, &patch).await.expect(200);
    assert_eq!(labelled["status"]["phase"], "Running");
    assert_eq!(labelled["metadata"]["labels"]["c"], "d");
    let moved = server.patch(&one, &json!({"spec": {"nodeName": "n2"}})).await;
    assert_eq!(moved.body["reason"], "Invalid");

    let going = server.delete(&one, &json!({"gracePeriodSeconds": 5})).await.expect(200);
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 5);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let still = server.get(&one).await.expect(200);
    assert_eq!(still["metadata"]["deletionTimestamp"], going["metadata"]["deletionTimestamp"]);
    server.delete(&one, &json!({"gracePeriodSeconds": 0})).await.expect(200);
    server.get(&one).await.expect(404);

    server.post(PODS, &pod("unassigned")).await.expect(201);
    server.delete(&format!("{PODS}/unassigned"), &json!({})).await.expect(200);
    server.get(&format!("{PODS}/unassigned")).await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn finalizers_hold_an_object_and_no_new_ones_are_taken() {
    let server = Server::start().await;
    let mut object = config_map("a", "1");
    object["metadata"]["finalizers"] = json!(["example.com/one"]);
    server.post(CONFIG_MAPS, &object).await.expect(201);
    let one = format!("{CONFIG_MAPS}/a");
    let going = server.delete(&one, &json!({})).await.expect(200);
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let more = json!({"metadata": {"finalizers": ["example.com/one", "example.com/two"]}});
    let refused = server.patch(&one, &more).await;
    assert!(refused.message().contains("no new finalizers can be added"), "{}", refused.message());
    refused.expect(422);
    server.patch(&one, &json!({"metadata": {"finalizers": null}})).await.expect(200);
    server.get(&one).await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn a_namespace_ends_by_its_finalizer() {
    let server = Server::start().await;
    let made =
        server.post("/api/v1/namespaces", &json!({"metadata": {"name": "x"}})).await.expect(201);
    assert_eq!(made["spec"]["finalizers"], json!(["kubernetes"]));
    let going = server.delete("/api/v1/namespaces/x", &json!({})).await.expect(200);
    assert_eq!(going["status"]["phase"], "Terminating");
    let late = server.post("/api/v1/namespaces/x/configmaps", &config_map("a", "")).await;
    assert_eq!(
        late.message(),
        "configmaps \"a\" is forbidden: unable to create new content in namespace x because it \
         is being terminated"
    );
    assert_eq!(late.body["details"]["causes"][0]["reason"], "NamespaceTerminating");
    late.expect(403);
    let mut finalized = server.get("/api/v1/namespaces/x").await.expect(200);
    finalized["spec"]["finalizers"] = json!([]);
    server.put("/api/v1/namespaces/x/finalize", &finalized).await.expect(200);
    server.get("/api/v1/namespaces/x").await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn generations_count_what_is_wanted() {
    let server = Server::start().await;
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let body = json!({"metadata": {"name": "r"}, "spec": {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "r"}},
        "template": {"metadata": {"labels": {"app": "r"}}, "spec": pod("r")["spec"]},
    }});
    let made = server.post(sets, &body).await.expect(201);
    assert_eq!(made["metadata"]["generation"], 1);
    let one = format!("{sets}/r");
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(server.patch(&one, &labelled).await.expect(200)["metadata"]["generation"], 1);
    let status = json!({"status": {"replicas": 1}});
    let path = format!("{one}/status");
    assert_eq!(server.patch(&path, &status).await.expect(200)["metadata"]["generation"], 1);

    let scale = format!("{one}/scale");
    let now = server.get(&scale).await.expect(200);
    assert_eq!((&now["kind"], &now["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    assert_eq!(now["status"], json!({"replicas": 1, "selector": "app=r"}));
    let scaled = server.patch(&scale, &json!({"spec": {"replicas": 3}})).await.expect(200);
    assert_eq!(scaled["spec"]["replicas"], 3);
    let set = server.get(&one).await.expect(200);
    assert_eq!((&set["spec"]["replicas"], &set["metadata"]["generation"]), (&json!(3), &json!(2)));
    server.patch(&scale, &json!({"spec": {"replicas": -1}})).await.expect(422);
    server.stop().await;
}

#[tokio::test]
async fn services_are_given_addresses_once_also_over_a_restart() {
    let server = Server::start().await;
    let body = |name: &str, spec: Value| json!({"metadata": {"name": name}, "spec": spec});
    let spec = json!({"type": "NodePort", "ipFamilyPolicy": "RequireDualStack",
        "ports": [{"port": 80}]});
    let made = server.post(SERVICES, &body("a", spec.clone())).await.expect(201);
    let ips = made["spec"]["clusterIPs"].as_array().unwrap().clone();
    assert_eq!(ips.len(), 2);
    let node_port = made["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..=32767).contains(&node_port));

    let server = Server::start_in(server.stop().await, |_| {}).await;
    let taken = json!({"clusterIP": ips[0], "ports": [{"port": 80}]});
    let refused = server.post(SERVICES, &body("b", taken.clone())).await;
    assert!(
        refused.message().ends_with("provided IP is already allocated"),
        "{}",
        refused.message()
    );
    refused.expect(422);
    let port = json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": node_port}]});
    let refused = server.post(SERVICES, &body("b", port)).await;
    assert_eq!(
        refused.message(),
        format!(
            "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: {node_port}: \
             provided port is already allocated"
        )
    );
    // A dry run takes nothing, and many at once get different ones.
    server.post(&format!("{SERVICES}?dryRun=All"), &body("b", spec)).await.expect(201);
    let many = (0..20).map(|n| {
        let (server, body) = (&server, body(&format!("s{n}"), json!({"ports": [{"port": 80}]})));
        async move { server.post(SERVICES, &body).await.expect(201) }
    });
    let many = futures::future::join_all(many).await;
    let mut given: Vec<_> = many.iter().map(|s| s["spec"]["clusterIP"].to_string()).collect();
    given.sort();
    given.dedup();
    assert_eq!(given.len(), 20);

    let again = server
        .put(
            &format!("{SERVICES}/a"),
            &body("a", json!({"type": "NodePort", "ports": [{"port": 80}]})),
        )
        .await
        .expect(200);
    assert_eq!(again["spec"]["clusterIPs"], json!(ips));
    assert_eq!(again["spec"]["ports"][0]["nodePort"], node_port);
    server.delete(&format!("{SERVICES}/a"), &json!({})).await.expect(200);
    server.post(SERVICES, &body("b", taken)).await.expect(201);
    server.stop().await;
}
