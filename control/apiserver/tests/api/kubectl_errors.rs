//! Wrong manifests and wrong requests through kubectl: the words must be those of Kubernetes.

use crate::{common::Server, kubectl::Kubectl};

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: web
    image: echo:1
    ports: [{name: http, containerPort: 8080}]
    env: [{name: COLOUR, value: blue}]
    resources: {limits: {memory: 64Mi}}
";

const REPLICA_SET: &str = "
apiVersion: apps/v1
kind: ReplicaSet
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: echo}]}
";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}]
";

const PEER: &str = "
apiVersion: viaduct.dev/v1alpha1
kind: BGPPeer
metadata: {name: border}
spec: {address: 192.0.2.1, asn: 64999}
";

/// A manifest, what of it is replaced by what, and how the whole answer of kubectl ends.
const CASES: &[(&str, &str, &str, &str)] = &[
    (
        POD,
        "  containers:",
        "  foo: 1\n  containers:",
        "Error from server (BadRequest): error when creating \"STDIN\": Pod in version \"v1\" cannot \
         be handled as a Pod: strict decoding error: unknown field \"spec.foo\"",
    ),
    (
        REPLICA_SET,
        "image: echo",
        "imag: echo",
        "strict decoding error: unknown field \"spec.template.spec.containers[0].imag\"",
    ),
    (
        REPLICA_SET,
        "replicas: 2",
        "replicas: two",
        "ReplicaSet in version \"v1\" cannot be handled as a ReplicaSet: json: cannot unmarshal \
         string into Go struct field ReplicaSetSpec.spec.replicas of type int32",
    ),
    (
        REPLICA_SET,
        "matchLabels: {app: web}",
        "matchLabels: {app: other}",
        "The ReplicaSet \"web\" is invalid: spec.template.metadata.labels: Invalid value: \
         {\"app\":\"web\"}: `selector` does not match template `labels`",
    ),
    (
        REPLICA_SET,
        "selector: {matchLabels: {app: web}}",
        "minReadySeconds: 0",
        "The ReplicaSet \"web\" is invalid: spec.selector: Required value",
    ),
    (
        POD,
        "containerPort: 8080",
        "containerPort: 70000",
        "The Pod \"web\" is invalid: spec.containers[0].ports[0].containerPort: Invalid value: \
         70000: must be between 1 and 65535, inclusive",
    ),
    (
        POD,
        "{name: http, containerPort: 8080}",
        "{name: http, containerPort: 8080}, {name: http, containerPort: 81}",
        "The Pod \"web\" is invalid: spec.containers[0].ports[1].name: Duplicate value: \"http\"",
    ),
    (
        POD,
        "name: web, labels",
        "name: Web_1, labels",
        "The Pod \"Web_1\" is invalid: metadata.name: Invalid value: \"Web_1\": a lowercase RFC \
         1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must \
         start and end with an alphanumeric character (e.g. 'example.com', regex used for \
         validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
    ),
    (
        POD,
        "labels: {app: web}",
        "labels: {app: -}",
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or \
         '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or \
         'my_value',  or '12345', regex used for validation is \
         '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
    ),
    (
        POD,
        "64Mi",
        "64Mx",
        "quantities must match the regular expression \
         '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
    ),
    (
        POD,
        "    image: echo:1\n",
        "",
        "The Pod \"web\" is invalid: spec.containers[0].image: Required value",
    ),
    (
        SERVICE,
        "port: 53",
        "port: 0, targetPort: 53",
        "The Service \"web\" is invalid: spec.ports[1].port: Invalid value: 0: must be between 1 \
         and 65535, inclusive",
    ),
    (
        SERVICE,
        "name: dns",
        "name: http",
        "The Service \"web\" is invalid: spec.ports[1].name: Duplicate value: \"http\"",
    ),
    (
        SERVICE,
        "name: web}",
        "name: 1web}",
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an \
         alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or \
         'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
    ),
    (
        PEER,
        "asn: 64999",
        "asn: 0",
        "The BGPPeer \"border\" is invalid: spec.asn: Invalid value: 0: spec.asn in body should be \
         greater than or equal to 1",
    ),
    (
        PEER,
        "asn: 64999",
        "asn: many",
        "The BGPPeer \"border\" is invalid: spec.asn: Invalid value: \"string\": spec.asn in body \
         must be of type integer: \"string\"",
    ),
    (
        PEER,
        "address: 192.0.2.1, ",
        "",
        "The BGPPeer \"border\" is invalid: spec.address: Required value: or interface, or \
         addressRange",
    ),
    (
        PEER,
        "asn: 64999",
        "asn: 64999, as: 1",
        "BGPPeer in version \"v1alpha1\" cannot be handled as a BGPPeer: strict decoding error: \
         unknown field \"spec.as\"",
    ),
    (
        POD,
        "apiVersion: v1",
        "apiVersion: v2",
        "error: resource mapping not found for name: \"web\" namespace: \"\" from \"STDIN\": no \
         matches for kind \"Pod\" in version \"v2\"\nensure CRDs are installed first",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn wrong_manifests_are_refused_in_the_words_of_kubernetes() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    for (manifest, right, wrong, expected) in CASES {
        let changed = manifest.replacen(right, wrong, 1);
        assert_ne!(changed, *manifest, "{right}");
        let out = kubectl.fails(&["create", "-f", "-"], &changed);
        assert!(out.trim_end().ends_with(expected), "{wrong}: {out}");
    }
    for manifest in [POD, REPLICA_SET, SERVICE, PEER] {
        kubectl.run(&["create", "-f", "-"], manifest);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_changes_are_refused_in_the_words_of_kubernetes() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    for manifest in [POD, REPLICA_SET, SERVICE, PEER] {
        kubectl.run(&["create", "-f", "-"], manifest);
    }
    let stale = "{\"metadata\":{\"resourceVersion\":\"1\"}}";
    for (arguments, expected) in [
        (
            &[
                "patch",
                "rs",
                "web",
                "-p",
                "{\"spec\":{\"selector\":{\"matchLabels\":{\"app\":\"x\"}}}}",
            ][..],
            "field is immutable",
        ),
        (
            &["patch", "rs", "web", "-p", stale],
            "Error from server (Conflict): Operation cannot be \
          fulfilled on replicasets.apps \"web\": the object has been modified; please apply your \
          changes to the latest version and try again",
        ),
        (
            &["patch", "svc", "web", "-p", "{\"spec\":{\"clusterIP\":\"10.96.9.9\"}}"],
            "The Service \"web\" is invalid: spec.clusterIPs[0]: Invalid value: [\"10.96.9.9\"]: \
             may not change once set",
        ),
        (
            &["patch", "pod", "web", "-p", "{\"spec\":{\"hostNetwork\":true}}"],
            "pod updates may not change fields other than",
        ),
        (
            &["patch", "bgppeer", "border", "--type=strategic", "-p", "{}"],
            "is not supported by viaduct.dev/v1alpha1, Kind=BGPPeer",
        ),
        (
            &["patch", "rs", "web", "--type=json", "-p", "[{\"op\":\"remove\",\"path\":\"/x\"}]"],
            "The request is invalid",
        ),
        (&["get", "pods", "none"], "Error from server (NotFound): pods \"none\" not found"),
        (
            &["get", "rs", "none"],
            "Error from server (NotFound): replicasets.apps \"none\" not found",
        ),
        (&["get", "things"], "error: the server doesn't have a resource type \"things\""),
        (
            &["get", "pods", "--field-selector=spec.foo=1"],
            "Error from server (BadRequest): Unable to find \"/v1, Resource=pods\" that match label \
             selector \"\", field selector \"spec.foo=1\": field label not supported: spec.foo",
        ),
        (&["delete", "svc", "none"], "Error from server (NotFound): services \"none\" not found"),
        (&["explain", "pod.spec.foo"], "error: field \"foo\" does not exist"),
    ] {
        let out = kubectl.fails(arguments, "");
        assert!(out.contains(expected), "{arguments:?}: {out}");
    }
    let out = kubectl.fails(&["-n", "none", "create", "-f", "-"], POD);
    assert!(out.contains("namespaces \"none\" not found"), "{out}");
    let out = kubectl.fails(&["create", "-f", "-"], POD);
    let exists = "Error from server (AlreadyExists): error when creating \"STDIN\": pods \"web\" \
                  already exists";
    assert!(out.contains(exists), "{out}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_says_how_strict_the_server_is() {
    let server = Server::start().await;
    let kubectl = Kubectl::new(&server);
    let unknown = POD.replacen("  containers:", "  foo: 1\n  containers:", 1);
    let out = kubectl.run(&["create", "--validate=warn", "-f", "-"], &unknown);
    assert!(out.contains("Warning: unknown field \"spec.foo\""), "{out}");
    let silent = unknown.replace("name: web, labels", "name: silent, labels");
    let out = kubectl.run(&["create", "--validate=ignore", "-f", "-"], &silent);
    assert_eq!(out, "pod/silent created\n");
    let out = kubectl.run(&["get", "pod", "silent", "-o", "jsonpath={.spec.foo}"], "");
    assert_eq!(out, "", "what is unknown is not kept");
    let out = kubectl.fails(&["apply", "--server-side", "-f", "-"], &unknown);
    assert!(out.contains("unknown field \"spec.foo\""), "{out}");
    server.stop().await;
}
