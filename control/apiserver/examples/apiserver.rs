//! The API server by itself, on a store that is thrown away: for a look with kubectl.
//!
//! `cargo run -p control-apiserver --example apiserver 127.0.0.1:8080`, then
//! `KUBECACHEDIR=$(mktemp -d) kubectl --server=http://127.0.0.1:8080 api-resources`.

use std::{error::Error, sync::Arc};

use control_apiserver::{ServerConfig, serve};
use control_store::{EmbeddedStore, Options};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let folder = tempfile::tempdir()?;
    let listener = std::net::TcpListener::bind(address)?;
    println!("serving on {}", listener.local_addr()?);
    let config = ServerConfig {
        store: Arc::new(EmbeddedStore::open(folder.path().join("store"), Options::default())?),
        plain_sockets: "/proc/self/net".into(),
        plain: Some(listener),
        secure: None,
        service_cidrs: vec!["10.96.0.0/16".parse()?, "fd00:96::/108".parse()?],
        node_port_range: ServerConfig::NODE_PORTS,
        speakers: Vec::new(),
        kubelet_tls: None,
        eviction_secs: ServerConfig::EVICTION_SECS,
        advertised: Vec::new(),
    };
    let shutdown = CancellationToken::new();
    tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                shutdown.cancel();
            }
        }
    });
    serve(config, shutdown).await?;
    Ok(())
}
