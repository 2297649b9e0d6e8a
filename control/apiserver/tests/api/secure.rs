//! Who may do what: certificates on the secure port, root on the plain one, and the kubelet's logs
//! behind both.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, client::conn::http1, header, service::service_fn};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{
    ca::Ca,
    common::{PODS, Server, config_map, pod},
};

/// A client of the secure port with a certificate of its own.
struct Client {
    address: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

impl Client {
    async fn request(&self, method: Method, path: &str, body: &Value) -> (u16, Value) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let content_type = match method {
            Method::PATCH => "application/merge-patch+json",
            _ => "application/json",
        };
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "localhost")
            .header(header::CONTENT_TYPE, content_type)
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).into());
        (code, body)
    }

    async fn code(&self, method: Method, path: &str, body: &Value) -> u16 {
        self.request(method, path, body).await.0
    }
}

/// A server with both ports, both families on the secure one being a matter of the listener.
async fn start(ca: &Ca, listen: &str) -> (Server, SocketAddr) {
    let listener = std::net::TcpListener::bind(listen).unwrap();
    let address = listener.local_addr().unwrap();
    let tls = ca.server();
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let server = Server::start_in(folder, |config| {
        config.secure = Some((listener, tls));
        config.advertised = vec![address];
    });
    (server.await, address)
}

#[tokio::test]
async fn without_a_certificate_there_is_health_and_version_only() {
    let ca = Ca::new();
    for listen in ["127.0.0.1:0", "[::1]:0"] {
        let (server, address) = start(&ca, listen).await;
        let nobody = Client { address, tls: ca.client(None) };
        for (path, expected) in [
            ("/healthz", 200),
            ("/livez", 200),
            ("/readyz", 200),
            ("/version", 200),
            ("/api", 401),
            ("/apis", 401),
            ("/openapi/v3", 401),
            ("/metrics", 401),
            ("/api/v1/pods", 401),
            ("/api/v1/namespaces/default/secrets/x", 401),
            ("/nonsense", 401),
        ] {
            let (code, body) = nobody.request(Method::GET, path, &Value::Null).await;
            assert_eq!(code, expected, "{path}: {body}");
        }
        let (code, body) = nobody.request(Method::POST, PODS, &pod("p")).await;
        assert_eq!((code, &body["reason"]), (401, &json!("Unauthorized")));
        server.stop().await;
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let ca = Ca::new();
    let (server, address) = start(&ca, "127.0.0.1:0").await;
    let foreign = Ca::new().sign("me", &["system:masters"]);
    let stream = TcpStream::connect(address).await.unwrap();
    let connector = TlsConnector::from(ca.client(Some(foreign)));
    let name = ServerName::IpAddress(address.ip().into());
    // In TLS 1.3 the client learns of it with what it reads first.
    if let Ok(stream) = connector.connect(name, stream).await {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("/healthz").body(Full::new(Bytes::new())).unwrap();
        assert!(sender.send_request(request).await.is_err());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_node_is_let_to_what_is_its_own() {
    let ca = Ca::new();
    let (server, address) = start(&ca, "127.0.0.1:0").await;
    let client = |user: &str, groups: &[&str]| Client {
        address,
        tls: ca.client(Some(ca.sign(user, groups))),
    };
    let node = client("system:node:n1", &["system:nodes"]);
    let node_object = |name: &str| json!({"metadata": {"name": name}});
    let nodes = "/api/v1/nodes";
    assert_eq!(node.code(Method::POST, nodes, &node_object("n2")).await, 403);
    assert_eq!(node.code(Method::POST, nodes, &node_object("n1")).await, 201);
    server.post(nodes, &node_object("n2")).await.expect(201);
    let status = json!({"status": {"addresses": []}});
    assert_eq!(node.code(Method::PATCH, "/api/v1/nodes/n1/status", &status).await, 200);
    let (code, body) = node.request(Method::PATCH, "/api/v1/nodes/n2/status", &status).await;
    assert_eq!(code, 403);
    assert_eq!(
        body["message"],
        "nodes \"n2\" is forbidden: User \"system:node:n1\" cannot patch resource \
         \"nodes/status\" in API group \"\" at the cluster scope"
    );

    let lease = |name: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": name}});
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    assert_eq!(node.code(Method::POST, leases, &lease("n1")).await, 201);
    assert_eq!(node.code(Method::POST, leases, &lease("n2")).await, 403);
    assert_eq!(node.code(Method::PATCH, &format!("{leases}/n1"), &lease("n1")).await, 200);

    for (name, on) in [("mine", "n1"), ("other", "n2")] {
        let mut pod = pod(name);
        pod["spec"]["volumes"] =
            json!([{"name": "v", "secret": {"secretName": format!("secret-{name}")}}]);
        server.post(PODS, &pod).await.expect(201);
        let binding = json!({"target": {"name": on}});
        server.post(&format!("{PODS}/{name}/binding"), &binding).await.expect(201);
        let secret = json!({"metadata": {"name": format!("secret-{name}")}});
        server.post("/api/v1/namespaces/default/secrets", &secret).await.expect(201);
    }
    let running = json!({"status": {"phase": "Running"}});
    let secrets = "/api/v1/namespaces/default/secrets";
    for (name, expected) in [("mine", 200), ("other", 403)] {
        let path = format!("{PODS}/{name}/status");
        assert_eq!(node.code(Method::PATCH, &path, &running).await, expected, "{name}");
        let path = format!("{secrets}/secret-{name}");
        assert_eq!(node.code(Method::GET, &path, &Value::Null).await, expected, "{name}");
        let path = format!("{secrets}?fieldSelector=metadata.name%3Dsecret-{name}");
        assert_eq!(node.code(Method::GET, &path, &Value::Null).await, expected, "{name}");
    }
    assert_eq!(node.code(Method::GET, secrets, &Value::Null).await, 403);
    assert_eq!(node.code(Method::PATCH, &format!("{PODS}/mine"), &running).await, 403);
    let now = json!({"gracePeriodSeconds": 0});
    assert_eq!(node.code(Method::DELETE, &format!("{PODS}/other"), &now).await, 403);
    assert_eq!(node.code(Method::DELETE, &format!("{PODS}/mine"), &now).await, 200);
    assert_eq!(node.code(Method::GET, "/api/v1/pods?limit=1", &Value::Null).await, 200);
    assert_eq!(node.code(Method::GET, "/metrics", &Value::Null).await, 403);

    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let question = json!({"spec": {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}});
    for (who, expected) in [(&node, false), (&client("me", &["system:masters"]), true)] {
        let (code, answer) = who.request(Method::POST, path, &question).await;
        assert_eq!((code, &answer["status"]["allowed"]), (201, &json!(expected)));
    }
    let controllers = client("viaduct:controller", &["viaduct:controllers"]);
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(controllers.code(Method::POST, maps, &config_map("c", "")).await, 201);
    let somebody = client("somebody", &["a group"]);
    assert_eq!(somebody.code(Method::GET, maps, &Value::Null).await, 403);

    // What every cluster has.
    let service = server.get("/api/v1/namespaces/default/services/kubernetes").await.expect(200);
    assert_eq!(service["spec"]["clusterIPs"], json!(["10.96.0.1", "fd00:96::1"]));
    server.stop().await;
}

#[tokio::test]
async fn a_node_reads_the_secrets_that_its_bgp_peers_name() {
    let ca = Ca::new();
    let (server, address) = start(&ca, "127.0.0.1:0").await;
    let node = |name: &str| Client {
        address,
        tls: ca.client(Some(ca.sign(&format!("system:node:{name}"), &["system:nodes"]))),
    };
    const RACK: &str = "node-restriction.kubernetes.io/rack";
    for (name, rack) in [("n1", "a"), ("n2", "b")] {
        let node = json!({"metadata": {"name": name, "labels": {RACK: rack}}});
        server.post("/api/v1/nodes", &node).await.expect(201);
    }
    let secrets = |namespace: &str| format!("/api/v1/namespaces/{namespace}/secrets");
    for namespace in ["kube-system", "default"] {
        for name in ["password", "key", "other"] {
            let secret = json!({"metadata": {"name": name}, "stringData": {"password": "x"}});
            server.post(&secrets(namespace), &secret).await.expect(201);
        }
    }
    let peers = "/apis/viaduct.dev/v1alpha1/bgppeers";
    let peer = |name: &str, spec: Value| {
        let mut peer = json!({"apiVersion": "viaduct.dev/v1alpha1", "kind": "BGPPeer",
            "metadata": {"name": name}, "spec": {"address": "192.0.2.1", "asn": 64999}});
        peer["spec"].as_object_mut().unwrap().append(&mut spec.as_object().unwrap().clone());
        peer
    };
    let (n1, n2) = (node("n1"), node("n2"));
    let all = async |client: &Client| {
        let mut read = Vec::new();
        for namespace in ["kube-system", "default"] {
            for name in ["password", "key", "other", "none"] {
                let path = format!("{}/{name}", secrets(namespace));
                let code = client.code(Method::GET, &path, &Value::Null).await;
                let query = format!("{}?fieldSelector=metadata.name%3D{name}", secrets(namespace));
                let listed = client.code(Method::GET, &query, &Value::Null).await;
                assert_eq!(code == 403, listed == 403, "{path}");
                if code != 403 {
                    read.push(format!("{namespace}/{name} {code}"));
                }
            }
            let list = client.code(Method::GET, &secrets(namespace), &Value::Null).await;
            assert_eq!(list, 403, "all of {namespace}");
        }
        read
    };
    let none: [&str; 0] = [];
    assert_eq!(all(&n1).await, none);
    let password = json!({"passwordSecretRef": {"name": "password"}});
    server.post(peers, &peer("everywhere", password)).await.expect(201);
    let keys = json!({"nodeSelector": {RACK: "a"}, "tcpAo": [
        {"sendId": 1, "keySecretRef": {"name": "key"}},
        {"sendId": 2, "keySecretRef": {"name": "none"}},
    ]});
    server.post(peers, &peer("rack-a", keys)).await.expect(201);
    // One that is not there is said to be missing, not forbidden.
    assert_eq!(
        all(&n1).await,
        ["kube-system/password 200", "kube-system/key 200", "kube-system/none 404"]
    );
    assert_eq!(all(&n2).await, ["kube-system/password 200"]);
    // Nor does it make itself a node of others.
    let labels = json!({"metadata": {"labels": {RACK: "a"}}});
    for path in ["/api/v1/nodes/n2", "/api/v1/nodes/n2/status"] {
        assert_eq!(n2.code(Method::PATCH, path, &labels).await, 403, "{path}");
    }
    let gone = json!({"metadata": {"labels": {RACK: null}}});
    assert_eq!(n2.code(Method::PATCH, "/api/v1/nodes/n2", &gone).await, 403);
    let of_its_own = json!({"metadata": {"labels": {"rack": "a", RACK: "b"}}});
    assert_eq!(n2.code(Method::PATCH, "/api/v1/nodes/n2", &of_its_own).await, 200);
    let by_any_label = json!({"nodeSelector": {"rack": "a"},
        "passwordSecretRef": {"name": "other"}});
    server.post(peers, &peer("by-any-label", by_any_label)).await.expect(201);
    assert_eq!(all(&n2).await, ["kube-system/password 200"]);
    let n3 = json!({"metadata": {"name": "n3", "labels": {RACK: "a"}}});
    assert_eq!(node("n3").code(Method::POST, "/api/v1/nodes", &n3).await, 403);
    let path = format!("{}/password", secrets("kube-system"));
    for verb in [Method::PUT, Method::PATCH, Method::DELETE] {
        assert_eq!(n1.code(verb.clone(), &path, &json!({})).await, 403, "{verb}");
    }
    server.delete(&format!("{peers}/everywhere"), &json!({})).await.expect(200);
    assert_eq!(all(&n2).await, none);
    server.stop().await;
}

#[tokio::test]
async fn the_plain_port_is_for_root_alone() {
    use std::{os::unix::process::CommandExt, process::Command};
    assert!(nix::unistd::geteuid().is_root(), "this test needs root to become somebody else");
    let server = Server::start().await;
    let url = format!("/dev/tcp/{}/{}", server.address.ip(), server.address.port());
    // Bash speaks enough HTTP; it needs no program that may be missing.
    let script = format!(
        "exec 3<>{url}; printf 'GET /api/v1/pods HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3; \
         exec 3<>{url}; printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3"
    );
    for (uid, expected) in [(0, ["200", "200"]), (65534, ["403", "200"])] {
        let mut command = Command::new("bash");
        command.args(["-c", &script]).uid(uid).current_dir("/");
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let codes: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
        assert_eq!(codes, expected, "uid {uid}: {text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_client_library_comes_in_by_certificate() {
    use futures::StreamExt;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::{
        Api, Client, Config,
        api::PostParams,
        config::AuthInfo,
        runtime::{WatchStreamExt, watcher},
    };
    let ca = Ca::new();
    let (server, address) = start(&ca, "[::1]:0").await;
    let (chain, key) = ca.sign("viaduct:controller", &["viaduct:controllers"]);
    let mut config = Config::new(format!("https://{address}").parse().unwrap());
    config.root_cert = Some(vec![ca.certificate.to_vec()]);
    let base64 = |pem: String| {
        use base64::Engine;
        Some(base64::engine::general_purpose::STANDARD.encode(pem))
    };
    config.auth_info = AuthInfo {
        client_certificate_data: base64(pem("CERTIFICATE", &chain[0])),
        client_key_data: base64(pem("PRIVATE KEY", key.secret_der())).map(Into::into),
        ..AuthInfo::default()
    };
    let client = Client::try_from(config).unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    // Many watches at once are many streams of one connection.
    let mut watches: Vec<_> = (0..20)
        .map(|_| {
            let settings = watcher::Config::default();
            Box::pin(watcher(maps.clone(), settings).touched_objects())
        })
        .collect();
    let object: ConfigMap = serde_json::from_value(json!({"metadata": {"name": "c"}})).unwrap();
    maps.create(&PostParams::default(), &object).await.unwrap();
    for watch in &mut watches {
        let seen = watch.next().await.unwrap().unwrap();
        assert_eq!(seen.metadata.name.as_deref(), Some("c"));
    }
    server.stop().await;
}

fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
}

/// A kubelet that answers every log with the path it was asked for.
async fn kubelet(ca: &Ca) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TlsAcceptor::from(ca.server());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = acceptor.accept(stream).await.unwrap();
            let service = service_fn(|request: Request<hyper::body::Incoming>| async move {
                let path = request.uri().to_string();
                let gone = path.contains("previous");
                let mut response = hyper::Response::new(Full::new(Bytes::from(path)));
                if gone {
                    *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
                }
                Ok::<_, std::convert::Infallible>(response)
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    });
    address
}

#[tokio::test]
async fn logs_come_from_the_kubelet_of_the_node() {
    let ca = Ca::new();
    let kubelet = kubelet(&ca).await;
    let tls = ca.client(Some(ca.sign("apiserver", &["system:masters"])));
    let server = Server::start_in(Arc::new(tempfile::tempdir().unwrap()), |config| {
        config.kubelet_tls = Some(tls);
    })
    .await;
    server.post(PODS, &pod("p")).await.expect(201);
    let log = format!("{PODS}/p/log");
    let early = server.get(&log).await;
    assert_eq!(early.message(), "pod p does not have a host assigned");
    early.expect(400);
    server.post("/api/v1/nodes", &json!({"metadata": {"name": "n1"}})).await.expect(201);
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": kubelet.ip()}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": kubelet.port()}},
    }});
    server.patch("/api/v1/nodes/n1/status", &status).await.expect(200);
    server.post(&format!("{PODS}/p/binding"), &json!({"target": {"name": "n1"}})).await.expect(201);

    let text = server.get(&format!("{log}?follow=true&tailLines=5&evil=1")).await.expect(200);
    assert_eq!(text, "/containerLogs/default/p/c?follow=true&tailLines=5");
    let missing = server.get(&format!("{log}?previous=true")).await;
    assert_eq!(missing.body["reason"], "BadRequest");
    server.get(&format!("{log}?container=x")).await.expect(400);
    server.stop().await;
}
