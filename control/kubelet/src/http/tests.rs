use std::net::SocketAddr;

use kube::{Client, Config};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::*;
use crate::{Capacity, KubeletConfig, events, kube_api::KubeApi};

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A certificate authority and what it signs.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    roots: Arc<RootCertStore>,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let mut roots = RootCertStore::empty();
        roots.add(params.self_signed(&key).unwrap().der().clone()).unwrap();
        Self { issuer: Issuer::new(params, key), roots: Arc::new(roots) }
    }

    fn sign(&self, user: &str, groups: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
        params.distinguished_name.push(DnType::CommonName, user);
        for group in groups {
            params.distinguished_name.push(DnType::OrganizationName, *group);
        }
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let (chain, key) = self.sign("system:node:n1", &["system:nodes"]);
        let roots = Arc::clone(&self.roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
            .allow_unauthenticated()
            .build()
            .unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .unwrap();
        Arc::new(config)
    }

    fn client(&self, identity: Option<Identity>) -> TlsConnector {
        let config = rustls::ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(Arc::clone(&self.roots));
        TlsConnector::from(Arc::new(match identity {
            Some((chain, key)) => config.with_client_auth_cert(chain, key).unwrap(),
            None => config.with_no_client_auth(),
        }))
    }
}

/// The status and what follows the head.
async fn ask(address: SocketAddr, client: &TlsConnector, path: &str) -> (String, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::IpAddress(address.ip().into());
    let mut stream = client.connect(name, stream).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: n1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let text = String::from_utf8_lossy(&answer);
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    (text.split(' ').nth(1).unwrap().to_owned(), body.unwrap_or_default())
}

/// A kubelet that serves, and the folder in which its network daemon's socket would be.
struct Served {
    address: SocketAddr,
    ca: Ca,
    dir: tempfile::TempDir,
    _stop_on_drop: tokio_util::sync::DropGuard,
}

async fn served() -> Served {
    let dir = tempfile::tempdir().unwrap();
    let (sink, _queue) = events::channel();
    let client = Client::try_from(Config::new("http://127.0.0.1:1".parse().unwrap())).unwrap();
    let api = Arc::new(KubeApi { client, events: sink });
    let mut config = KubeletConfig::new("n1", dir.path().join("state"), dir.path().join("images"));
    config.network_socket = Some(dir.path().join("admin.sock"));
    let sampler = Arc::new(Sampler::new(
        crate::runtime::cgroup::Hierarchies::detect().unwrap(),
        config.cgroup_parent.clone(),
    ));
    let node = Arc::new(NodeContext::new(config, Capacity::detect().unwrap(), api).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let stop_on_drop = stop.clone().drop_guard();
    let ca = Ca::new();
    let server = Server { node, pods: PodTable::default(), sampler };
    tokio::spawn(serve(listener, Some(ca.server()), server, stop));
    Served { address, ca, dir, _stop_on_drop: stop_on_drop }
}

#[tokio::test]
async fn only_those_who_may_learn_of_pods() {
    let Served { address, ca, .. } = &served().await;
    for (who, identity, expected) in [
        ("nobody", None, "401"),
        ("another node", Some(ca.sign("system:node:n2", &["system:nodes"])), "401"),
        ("the API server", Some(ca.sign("server", &[])), "200"),
    ] {
        let client = ca.client(identity);
        assert_eq!(ask(*address, &client, "/pods").await.0, expected, "{who}");
        assert_eq!(ask(*address, &client, "/healthz").await.0, "200", "{who}");
    }
    let stranger = ca.client(None);
    for path in ["/stats/summary", "/metrics", "/containerLogs/default/web/echo", "/"] {
        assert_eq!(ask(*address, &stranger, path).await.0, "401", "{path}");
    }
}

#[tokio::test]
async fn the_network_daemon_is_asked_through_the_kubelet() {
    let Served { address, ca, dir, .. } = &served().await;
    let api_server = ca.client(Some(ca.sign("server", &[])));
    let node = ca.client(Some(ca.sign("system:node:n2", &["system:nodes"])));
    let stranger = ca.client(None);
    let (status, why) = ask(*address, &api_server, "/network/v1/status").await;
    assert!(status == "503" && why.contains("admin.sock"), "{status} {why}");

    let daemon = axum::Router::new().fallback(|uri: http::Uri| async move {
        (http::StatusCode::IM_A_TEAPOT, format!("asked for {uri}"))
    });
    let listener = tokio::net::UnixListener::bind(dir.path().join("admin.sock")).unwrap();
    tokio::spawn(async move { axum::serve(listener, daemon).await });
    let withdrawn = "/network/v1/services/withdrawn?address=fd00::1&wait=2000";
    let heard = |path: &str| ("418".to_owned(), format!("asked for {path}"));
    for path in ["/v1/status", "/v1/bgp/routes", "/metrics", "/v1/services?x=y"] {
        let asked = format!("/network{path}");
        assert_eq!(ask(*address, &api_server, &asked).await, heard(path));
        assert_eq!(ask(*address, &node, &asked).await.0, "401", "{path}");
        assert_eq!(ask(*address, &stranger, &asked).await.0, "401", "{path}");
    }
    let path = withdrawn.strip_prefix("/network").unwrap();
    assert_eq!(ask(*address, &api_server, withdrawn).await, heard(path));
    assert_eq!(ask(*address, &node, withdrawn).await, heard(path));
    assert_eq!(ask(*address, &stranger, withdrawn).await.0, "401");
    for path in ["/network/v1/secrets", "/network/v1/../metrics", "/network/", "/network"] {
        assert_eq!(ask(*address, &api_server, path).await.0, "404", "{path}");
    }
}
