//! The server under attack, seen from outside.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Stdio},
    sync::Arc,
    time::Duration,
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::serve;

pub(crate) const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub(crate) const PODS: &str = "/api/v1/namespaces/default/pods";
pub(crate) const JSON: &str = "application/json";

/// More than an answer to any attack has.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// To an answer of an attack: most of them are beside many others.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Target {
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) plain: SocketAddr,
    pub(crate) door: Door,
}

/// The secure port, and the certificates to come in by.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    certificates: PathBuf,
}

/// Handshakes at once. Of more from one address the oldest make way for the newest, and all of ours
/// come from one.
static HANDSHAKES: Semaphore = Semaphore::const_new(50);

pub(crate) struct Memory {
    pub(crate) now_mb: u64,
    pub(crate) peak_mb: u64,
}

/// What came back. A server that ends a connection instead of answering has code 0.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A refusal is a Status that says the same code, and is not as large as what it refuses.
    #[track_caller]
    pub(crate) fn is_refused(&self, code: u16) {
        let text = String::from_utf8_lossy(&self.body);
        let shown = &text[..text.len().min(300)];
        assert_eq!(self.code, code, "{shown}");
        let status = self.json();
        assert_eq!((&status["kind"], &status["code"]), (&json!("Status"), &json!(code)), "{shown}");
        assert!(self.body.len() < 128 << 10, "a refusal of {} bytes", self.body.len());
    }
}

/// One request as it stands on the wire, after which the connection ends.
pub(crate) fn request(method: &str, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    text.extend_from_slice(body);
    text
}

impl Door {
    fn tls(&self, user: Option<&str>, protocol: &str) -> TlsConnector {
        let read = |name: String| fs::read(self.certificates.join(name)).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(read("ca".to_owned()))).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match user {
            None => config.with_no_client_auth(),
            Some(user) => {
                let chain = vec![CertificateDer::from(read(format!("{user}.crt")))];
                let key = PrivateKeyDer::Pkcs8(read(format!("{user}.key")).into());
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        TlsConnector::from(Arc::new(config))
    }

    pub(crate) async fn open(
        &self,
        user: Option<&str>,
        protocol: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let _turn = HANDSHAKES.acquire().await.map_err(std::io::Error::other)?;
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(self.address.ip().into());
        self.tls(user, protocol).connect(name, stream).await
    }
}

impl Target {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let child =
            serve::command(folder.path()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let file = folder.path().join("addresses");
        let addresses = loop {
            match fs::read_to_string(&file) {
                Ok(text) => break text,
                Err(_not_yet) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let (plain, secure) = addresses.split_once(' ').unwrap();
        let (plain, address) = (plain.parse().unwrap(), secure.parse().unwrap());
        let door = Door { address, certificates: folder.path().to_owned() };
        let target = Self { child, folder, plain, door };
        // The listeners are there already; this waits until somebody accepts.
        assert_eq!(target.get("other", "/readyz").await.code, 200);
        target
    }

    fn status(&self, field: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    pub(crate) fn memory(&self) -> Memory {
        Memory { now_mb: self.status("VmRSS:") / 1024, peak_mb: self.status("VmHWM:") / 1024 }
    }

    pub(crate) fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// It answers, and nothing in it has panicked.
    pub(crate) async fn assert_well(&self) {
        assert_eq!(self.get("other", "/readyz").await.code, 200);
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap();
        assert!(!log.contains("panicked"), "{log}");
    }

    /// Sends octets on a connection of their own and reads what comes back until it ends. What the
    /// server does not want to read any more is not sent.
    pub(crate) async fn send(&self, user: &str, octets: &[u8]) -> Reply {
        let exchange = async {
            let Ok(stream) = self.door.open(Some(user), "http/1.1").await else {
                return Vec::new();
            };
            let (reader, mut writer) = tokio::io::split(stream);
            let mut answer = Vec::new();
            let mut reader = reader.take(MAX_ANSWER_BYTES);
            let writing = async {
                // A refusal ends the connection under our hands.
                let _refused = writer.write_all(octets).await;
                let _refused = writer.flush().await;
                std::future::pending::<()>().await
            };
            tokio::select! {
                _end = reader.read_to_end(&mut answer) => {}
                () = writing => {}
            }
            answer
        };
        parse(&tokio::time::timeout(PATIENCE, exchange).await.expect("no answer"))
    }

    pub(crate) async fn ask(
        &self,
        user: &str,
        method: &str,
        path: &str,
        content_type: &str,
        body: impl AsRef<[u8]>,
    ) -> Reply {
        self.send(user, &request(method, path, content_type, body.as_ref())).await
    }

    pub(crate) async fn get(&self, user: &str, path: &str) -> Reply {
        self.ask(user, "GET", path, JSON, "").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Reply {
        self.ask("hostile", "POST", path, JSON, body).await
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first answer on a connection. A body in chunks is put together.
pub(crate) fn parse(octets: &[u8]) -> Reply {
    let none = Reply { code: 0, body: Vec::new() };
    let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") else { return none };
    let head = String::from_utf8_lossy(&octets[..end]).to_lowercase();
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut rest = &octets[end + 4..];
    if !head.contains("transfer-encoding: chunked") {
        return Reply { code, body: rest.to_vec() };
    }
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).unwrap_or(0);
        rest = &rest[line + 2..];
        if size == 0 || rest.len() < size + 2 {
            break;
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
    Reply { code, body }
}
