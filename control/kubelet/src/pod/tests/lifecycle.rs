//! Containers that come before, beside and after others, and what they find when they begin. They
//! run the node's own shell, mounted from the node.

use super::*;

/// A container that runs a script, in a pod with [`volumes`].
pub(super) fn script(name: &str, script: &str) -> Value {
    json!({
        "name": name,
        "image": "echo",
        "command": ["/usr/bin/sh", "-c", script],
        "volumeMounts": [
            { "name": "usr", "mountPath": "/usr", "readOnly": true },
            { "name": "lib", "mountPath": "/lib", "readOnly": true },
            { "name": "lib64", "mountPath": "/lib64", "readOnly": true },
            { "name": "work", "mountPath": "/work" },
        ],
    })
}

/// The node's programs, and a folder of the test's.
pub(super) fn volumes(work: &Path) -> Value {
    let path = |name: &str, path: &str| json!({ "name": name, "hostPath": { "path": path } });
    let work = json!({ "path": work, "type": "DirectoryOrCreate" });
    json!([
        path("usr", "/usr"),
        path("lib", "/usr/lib"),
        path("lib64", "/usr/lib64"),
        { "name": "work", "hostPath": work },
    ])
}

fn exec(script: &str) -> Value {
    json!({ "exec": { "command": ["/usr/bin/sh", "-c", script] } })
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Says when it is asked to end, and ends.
fn lasting(name: &str) -> Value {
    let text = format!(
        "trap 'echo {name}-ends >> /work/log; exit 0' TERM; echo {name} >> /work/log; \
         while :; do sleep 0.02; done"
    );
    script(name, &text)
}

#[tokio::test]
async fn containers_come_and_go_in_their_order() {
    let mut node = Node::new("order");
    let work = node.dir.path().join("work");
    let mut sidecar = lasting("side");
    sidecar["restartPolicy"] = "Always".into();
    sidecar["startupProbe"] = exec("grep -q side /work/log");
    sidecar["startupProbe"]["periodSeconds"] = 1.into();
    let mut main = lasting("main");
    main["lifecycle"] = json!({
        "postStart": exec("while ! grep -q main /work/log; do sleep 0.02; done; echo begun >> /work/log"),
        "preStop": exec("echo stops >> /work/log"),
    });
    // The first attempt fails.
    let tries = "echo try >> /work/log; [ $(grep -c try /work/log) -gt 1 ]";
    let pod = pod(
        "u-order",
        json!({
            "volumes": volumes(&work),
            "initContainers": [script("first", tries), sidecar, script("last", "echo last >> /work/log")],
            "containers": [main],
        }),
    );
    let running = node.start(&pod);
    let ready = |s: &Value| {
        let conditions = s["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    let status = node.status("ready", ready).await;
    assert_eq!(lines(&work.join("log")), ["try", "try", "side", "last", "main", "begun"]);
    let of = |name: &str| {
        let statuses = status["initContainerStatuses"].as_array().unwrap();
        statuses.iter().find(|one| one["name"] == name).unwrap().clone()
    };
    assert_eq!(of("first")["restartCount"], 1);
    assert_eq!(of("first")["state"]["terminated"]["reason"], "Completed");
    assert!(of("side")["state"]["running"].is_object() && of("side")["ready"] == true);
    running.sender.send(Assignment::Gone).unwrap();
    running.finished().await;
    let end = lines(&work.join("log")).split_off(6);
    assert_eq!(end, ["stops", "main-ends", "side-ends"]);
}

#[tokio::test]
async fn a_failing_post_start_hook_ends_the_container() {
    let mut node = Node::new("poststart");
    let work = node.dir.path().join("work");
    let mut main = lasting("main");
    main["lifecycle"] = json!({ "postStart": exec("echo no room >&2; exit 3") });
    let pod = pod("u-poststart", json!({ "volumes": volumes(&work), "containers": [main] }));
    let _running = node.start(&pod);
    node.status("restarted", |s| {
        s["containerStatuses"].is_array() && container(s)["restartCount"] == 1
    })
    .await;
    let events = node.api.events.lock().unwrap();
    let failed = events.iter().find(|e| e.reason == "FailedPostStartHook").expect("an event");
    assert!(failed.message.contains("exit code 3: no room"), "{}", failed.message);
    assert!(events.iter().any(|e| e.reason == "Killing" && e.message == "FailedPostStartHook"));
}

#[tokio::test]
async fn a_container_finds_what_its_pod_promises() {
    let mut node = Node::new("finds");
    let work = node.dir.path().join("work");
    let settings = json!({ "data": { "a": "1", "b": "2" } });
    let maps = [("settings".to_owned(), serde_json::from_value(settings).unwrap())];
    *node.api.config_maps.lock().unwrap() = maps.into();
    let mut main = script(
        "main",
        "set -e; cd /work; echo $WEB_SERVICE_HOST $WEB_PORT > service; cat /map/letter > map; \
         stat -Lc %a /map/letter > mode; cat /info/labels > labels; cat /info/cpu > cpu; \
         cat /one > one; if echo x > /map/letter; then exit 1; fi; \
         if echo x > /fixed; then exit 1; fi; echo $POD $LIMIT > down; id -u > user; \
         echo y > /empty/y; stat -c %g /empty/y > group; echo done > /dev/termination-log",
    );
    main["env"] = json!([
        { "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        { "name": "LIMIT", "valueFrom": { "resourceFieldRef": { "resource": "limits.memory",
            "divisor": "1Mi" } } },
    ]);
    main["resources"] = json!({ "limits": { "memory": "64Mi", "cpu": "1500m" } });
    main["securityContext"] = json!({ "readOnlyRootFilesystem": true, "runAsUser": 1234 });
    main["volumeMounts"].as_array_mut().unwrap().extend([
        json!({ "name": "map", "mountPath": "/map" }),
        json!({ "name": "info", "mountPath": "/info" }),
        json!({ "name": "all", "mountPath": "/one", "subPath": "b" }),
        json!({ "name": "empty", "mountPath": "/empty" }),
    ]);
    let mut volumes = volumes(&work);
    volumes.as_array_mut().unwrap().extend([
        json!({ "name": "map", "configMap": { "name": "settings",
                "items": [{ "key": "a", "path": "letter", "mode": 0o444 }] } }),
        json!({ "name": "all", "configMap": { "name": "settings" } }),
        json!({ "name": "info", "projected": { "sources": [{ "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "cpu", "resourceFieldRef": { "containerName": "main",
                "resource": "limits.cpu", "divisor": "1m" } },
        ] } }] } }),
        json!({ "name": "empty", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } }),
    ]);
    let mut pod = pod(
        "u-finds",
        json!({ "restartPolicy": "Never", "securityContext": { "fsGroup": 4321 },
                "volumes": volumes, "containers": [main] }),
    );
    pod.metadata.labels = Some([("app".to_owned(), "x".to_owned())].into());
    std::fs::create_dir_all(&work).unwrap();
    std::os::unix::fs::chown(&work, Some(1234), None).unwrap();
    let _running = node.start(&pod);
    let status =
        node.status("ended", |s| s["phase"] == "Succeeded" || s["phase"] == "Failed").await;
    let log = node.log(&pod, "main", 0);
    assert_eq!(status["phase"], "Succeeded", "{log}");
    let message = &container(&status)["state"]["terminated"]["message"];
    assert_eq!(message, "done\n");
    for (file, expected) in [
        ("service", "10.96.0.9 tcp://10.96.0.9:80"),
        ("map", "1"),
        ("mode", "444"),
        ("labels", "app=\"x\""),
        ("cpu", "1500"),
        ("one", "2"),
        ("down", "web-u-finds 64"),
        ("user", "1234"),
        ("group", "4321"),
    ] {
        let found = std::fs::read_to_string(work.join(file)).unwrap_or_default();
        assert_eq!(found.trim(), expected, "{file}: {log}");
    }
}
