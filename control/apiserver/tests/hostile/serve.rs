//! The server that is attacked: this very program, started again.

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::Arc,
};

use control_apiserver::ServerConfig;
use control_store::{EmbeddedStore, Options};
use tokio_util::sync::CancellationToken;

use crate::ca::Ca;

const COMMAND: &str = "serve-in";
/// Who has a certificate; all of them may do everything.
pub(crate) const USERS: [&str; 3] = ["hostile", "neighbour", "other"];

/// The folder, where this program was started to be the server.
pub(crate) fn asked_for() -> Option<PathBuf> {
    let mut arguments = std::env::args_os().skip(1);
    (arguments.next()? == COMMAND).then(|| arguments.next().map(PathBuf::from))?
}

pub(crate) fn command(folder: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.arg(COMMAND).arg(folder);
    command
}

/// Serves until it is killed. Certificates and addresses are left in the folder.
pub(crate) fn serve(folder: &Path) {
    let ca = Ca::new();
    fs::write(folder.join("ca"), &ca.certificate).unwrap();
    for user in USERS {
        let (chain, key) = ca.sign(user, &["system:masters"]);
        fs::write(folder.join(format!("{user}.crt")), &chain[0]).unwrap();
        fs::write(folder.join(format!("{user}.key")), key.secret_der()).unwrap();
    }
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    let secure = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = format!("{} {}", plain.local_addr().unwrap(), secure.local_addr().unwrap());
    let config = ServerConfig {
        store: Arc::new(EmbeddedStore::open(folder.join("store"), Options::default()).unwrap()),
        plain_sockets: "/proc/self/net".into(),
        plain: Some(plain),
        secure: Some((secure, ca.server())),
        service_cidrs: vec!["10.96.0.0/16".parse().unwrap()],
        node_port_range: ServerConfig::NODE_PORTS,
        speakers: Vec::new(),
        kubelet_tls: None,
        advertised: Vec::new(),
        eviction_secs: ServerConfig::EVICTION_SECS,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    fs::write(folder.join("addresses.new"), addresses).unwrap();
    fs::rename(folder.join("addresses.new"), folder.join("addresses")).unwrap();
    runtime.block_on(control_apiserver::serve(config, CancellationToken::new())).unwrap();
}
