//! What kubectl shows and changes, verb by verb.

use serde_json::json;

use crate::{common::Server, kubectl::Kubectl};

const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  nodeName: n1
  containers:
  - {name: a, image: 'echo:1', resources: {limits: {cpu: 0.5, memory: 1024Mi}}}
  - {name: b, image: 'echo:1'}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- {addresses: [10.244.0.1], conditions: {ready: true}}
- {addresses: [10.244.0.2], conditions: {ready: true}}
---
apiVersion: viaduct.dev/v1alpha1
kind: BGPPeer
metadata: {name: border}
spec: {address: 'fd00::1', asn: 64999, nodeSelector: {rack: a}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {node-role.kubernetes.io/worker: ''}}
status:
  addresses: [{type: InternalIP, address: 172.18.0.2}]
  conditions:
  - {type: Ready, status: 'True', reason: KubeletReady, message: ok}
  nodeInfo: {kubeletVersion: v0.1, osImage: Debian, kernelVersion: '6.18',
    containerRuntimeVersion: 'runc://1.1', architecture: amd64, bootID: '', machineID: '',
    kubeProxyVersion: '', operatingSystem: linux, systemUUID: ''}
  capacity: {cpu: '2', memory: 4Gi, pods: '110'}
  allocatable: {cpu: '2', memory: 4Gi, pods: '110'}
---
apiVersion: v1
kind: Event
metadata: {name: web.1}
involvedObject: {apiVersion: v1, kind: Pod, name: web, namespace: default}
reason: Scheduled
type: Normal
message: assigned to n1
count: 2
source: {component: scheduler}
firstTimestamp: '2020-01-01T00:00:00Z'
lastTimestamp: '2020-01-01T00:00:00Z'
";

/// The lines of a table, each cut into its words.
fn rows(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

async fn filled() -> (Server, Kubectl) {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    kubectl.run(&["create", "-f", "-"], MANIFEST);
    (server, kubectl)
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_show_what_those_of_kubernetes_show() {
    let (server, kubectl) = filled().await;
    let status = json!({"status": {
        "phase": "Running",
        "podIPs": [{"ip": "10.244.0.1"}, {"ip": "fd00::1"}],
        "containerStatuses": [
            {"name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                "state": {"running": {}}},
            {"name": "b", "image": "", "imageID": "", "ready": false, "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
        ],
    }});
    server.patch("/api/v1/namespaces/default/pods/web/status", &status).await.expect(200);

    let out = kubectl.run(&["get", "pods", "-o", "wide"], "");
    let head = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES";
    let table = rows(&out);
    assert_eq!(table[0].join(" "), head);
    assert_eq!(table[1][..4], ["web", "1/2", "CrashLoopBackOff", "3"]);
    assert_eq!(table[1][5..], ["10.244.0.1", "n1", "<none>", "<none>"]);
    let out = kubectl.run(&["get", "svc", "web", "-o", "wide"], "");
    let table = rows(&out);
    assert_eq!(table[0].join(" "), "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE SELECTOR");
    assert_eq!(table[1][..2], ["web", "LoadBalancer"]);
    assert_eq!(table[1][3], "<pending>");
    assert!(table[1][4].starts_with("80:3") && table[1][4].ends_with("/TCP"), "{out}");
    let out = kubectl.run(&["get", "nodes"], "");
    assert_eq!(rows(&out)[0].join(" "), "NAME STATUS ROLES AGE VERSION");
    assert_eq!(rows(&out)[1][..3], ["n1", "Ready", "worker"]);
    let out = kubectl.run(&["get", "endpointslices"], "");
    assert_eq!(rows(&out)[1][..4], ["web-1", "IPv4", "8080", "10.244.0.1,10.244.0.2"]);
    let out = kubectl.run(&["get", "bgppeers"], "");
    assert_eq!(rows(&out)[1][..4], ["border", "fd00::1", "64999", "rack=a"]);
    let out = kubectl.run(&["get", "events"], "");
    assert_eq!(rows(&out)[1][1..4], ["Normal", "Scheduled", "pod/web"]);
    let out = kubectl.run(&["events", "--for", "pod/web"], "");
    assert!(out.contains("assigned to n1"), "{out}");
    let out = kubectl.run(&["get", "pods", "--show-labels", "-L", "app"], "");
    assert!(out.contains("APP") && out.contains("app=web"), "{out}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_shown_in_every_form() {
    let (server, kubectl) = filled().await;
    let get = |form: &str| kubectl.run(&["get", "pod", "web", "-o", form], "");
    assert!(get("yaml").contains("terminationMessagePath: /dev/termination-log"));
    let limits = get("jsonpath={.spec.containers[0].resources.limits}");
    assert_eq!(limits, "{\"cpu\":\"500m\",\"memory\":\"1Gi\"}");
    assert!(get("json").contains("\"qosClass\": \"Burstable\""));
    assert_eq!(get("name"), "pod/web\n");
    assert_eq!(rows(&get("custom-columns=N:.metadata.name"))[1], ["web"]);
    // Events are found by the uid of what they are about.
    let uid = get("jsonpath={.metadata.uid}");
    let about = json!({"involvedObject": {"uid": uid}}).to_string();
    kubectl.run(&["patch", "event", "web.1", "-p", &about], "");
    for (arguments, expected) in [
        (["describe", "pod", "web"], "assigned to n1"),
        (["describe", "node", "n1"], "default                     web"),
        (["describe", "svc", "web"], "10.244.0.1:8080,10.244.0.2:8080"),
        (["describe", "bgppeer", "border"], "Asn:                       64999"),
        (["explain", "bgppeer.spec.import", "--recursive"], "rules"),
        (["explain", "pod.spec.containers", "--recursive"], "imagePullPolicy"),
    ] {
        let out = kubectl.run(&arguments, "");
        assert!(out.contains(expected), "{arguments:?}: {out}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_patch_and_edit_changes_an_object() {
    let (server, kubectl) = filled().await;
    kubectl.run(
        &[
            "patch",
            "pod",
            "web",
            "-p",
            "{\"spec\":{\"containers\":[{\"name\":\"b\",\"image\":\"echo:2\"}]}}",
        ],
        "",
    );
    kubectl.run(
        &["patch", "pod", "web", "--type=merge", "-p", "{\"metadata\":{\"labels\":{\"m\":\"1\"}}}"],
        "",
    );
    kubectl.run(
        &[
            "patch",
            "pod",
            "web",
            "--type=json",
            "-p",
            "[{\"op\":\"add\",\"path\":\"/metadata/labels/j\",\"value\":\"1\"}]",
        ],
        "",
    );
    kubectl.run(&["label", "pod", "web", "l=1"], "");
    kubectl.run(&["annotate", "pod", "web", "a=1"], "");
    let edit = kubectl
        .command(&["edit", "pod", "web"])
        .env("EDITOR", "sed -i 's/image: echo:1/image: echo:3/'")
        .output()
        .unwrap();
    assert!(edit.status.success(), "{}", String::from_utf8_lossy(&edit.stderr));
    let form = "jsonpath={.spec.containers[*].image} {.metadata.labels} {.metadata.annotations}";
    let out = kubectl.run(&["get", "pod", "web", "-o", form], "");
    let expected =
        "echo:3 echo:2 {\"app\":\"web\",\"j\":\"1\",\"l\":\"1\",\"m\":\"1\"} {\"a\":\"1\"}";
    assert_eq!(out, expected);
    let out = kubectl.run(&["get", "pods", "-l", "m in (1,2),!x", "-o", "name"], "");
    assert_eq!(out, "pod/web\n");
    let out = kubectl.run(&["get", "pods", "--field-selector=spec.nodeName=n1", "-o", "name"], "");
    assert_eq!(out, "pod/web\n");
    kubectl.run(&["cordon", "n1"], "");
    kubectl.run(&["taint", "node", "n1", "a=b:NoSchedule"], "");
    let out = kubectl.run(&["get", "node", "n1"], "");
    assert_eq!(rows(&out)[1][1], "Ready,SchedulingDisabled");

    let yaml = kubectl.run(&["get", "bgppeer", "border", "-o", "yaml"], "");
    kubectl.run(&["replace", "-f", "-"], &yaml.replace("64999", "65000"));
    let out = kubectl.fails(&["replace", "-f", "-"], &yaml.replace("64999", "65001"));
    assert!(out.contains("the object has been modified"), "{out}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_merges_lists_by_their_keys() {
    let (server, kubectl) = filled().await;
    let service = "
apiVersion: v1
kind: Service
metadata: {name: dns}
spec:
  selector: {app: dns}
  ports: [{name: tcp, port: 53}, {name: metrics, port: 9153}]
";
    kubectl.run(&["apply", "-f", "-"], service);
    let out = kubectl.run(&["apply", "-f", "-"], service);
    assert_eq!(out, "service/dns unchanged\n");
    // Somebody else adds a port, which the next apply must leave alone.
    kubectl.run(
        &["patch", "svc", "dns", "-p", "{\"spec\":{\"ports\":[{\"name\":\"other\",\"port\":99}]}}"],
        "",
    );
    let without = service.replace(", {name: metrics, port: 9153}", "");
    let (_, diff) = kubectl.try_run(&["diff", "-f", "-"], &without);
    assert!(diff.contains("-  - name: metrics"), "{diff}");
    kubectl.run(&["apply", "-f", "-"], &without);
    let form = "jsonpath={.spec.ports[*].name}";
    let out = kubectl.run(&["get", "svc", "dns", "-o", form], "");
    let mut names: Vec<&str> = out.split(' ').collect();
    names.sort_unstable();
    assert_eq!(names, ["other", "tcp"]);

    let both = service.replace("name: metrics, port: 9153", "name: udp, port: 53, protocol: UDP");
    kubectl.run(&["apply", "--server-side", "-f", "-"], &both);
    let out = kubectl.run(&["get", "svc", "dns", "-o", form], "");
    assert_eq!(out.split(' ').count(), 3, "{out}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubectl_sends_as_protobuf_is_read() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    for arguments in [
        &["create", "namespace", "team"][..],
        &["create", "configmap", "settings", "--from-literal=colour=blue"],
        &["create", "secret", "generic", "token", "--from-literal=key=value"],
        &["create", "serviceaccount", "robot"],
        &["create", "service", "nodeport", "web", "--tcp=80:8080", "--node-port=30080"],
    ] {
        let out = kubectl.run(arguments, "");
        assert!(out.trim_end().ends_with(" created"), "{arguments:?}: {out}");
    }
    let form = "jsonpath={.data.colour}";
    assert_eq!(kubectl.run(&["get", "cm", "settings", "-o", form], ""), "blue");
    let form = "jsonpath={.data.key} {.type}";
    assert_eq!(kubectl.run(&["get", "secret", "token", "-o", form], ""), "dmFsdWU= Opaque");
    let form = "jsonpath={.spec.ports} {.spec.selector}";
    assert_eq!(
        kubectl.run(&["get", "svc", "web", "-o", form], ""),
        "[{\"name\":\"80-8080\",\"nodePort\":30080,\"port\":80,\"protocol\":\"TCP\",\
         \"targetPort\":8080}] {\"app\":\"web\"}"
    );
    assert_eq!(kubectl.run(&["auth", "can-i", "create", "pods"], ""), "yes\n");
    server.stop().await;
}
