//! A daemon and a neighbour that answer as the real ones do.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Json, Router,
    routing::{MethodRouter, get},
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::watch,
};
use viaduct_api::admin::{NodeEndpoint, Withdrawal};

use super::*;

/// Longer than any test takes; one that waits for it has failed.
const LONG: Duration = Duration::from_secs(30);

const IN_USE: Withdrawal = Withdrawal { endpoint: true, withdrawn: false };
const OUT: Withdrawal = Withdrawal { endpoint: true, withdrawn: true };

fn answers(withdrawal: watch::Receiver<Withdrawal>, asked: Arc<AtomicUsize>) -> MethodRouter {
    get(move |uri: http::Uri| {
        let mut withdrawal = withdrawal.clone();
        asked.fetch_add(1, Ordering::Relaxed);
        async move {
            if !uri.query().unwrap_or_default().contains("wait=0&") {
                withdrawal.wait_for(|one| one.withdrawn).await.unwrap();
            }
            let found = *withdrawal.borrow();
            Json(found)
        }
    })
}

struct World {
    network: Network,
    here: watch::Sender<Withdrawal>,
    there: watch::Sender<Withdrawal>,
    asked_there: Arc<AtomicUsize>,
    _dir: tempfile::TempDir,
}

/// `neighbours`: addresses of further ready nodes.
async fn world(here: Withdrawal, neighbours: &[SocketAddr]) -> World {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let (here, here_receiver) = watch::channel(here);
    let (there, there_receiver) = watch::channel(IN_USE);
    let asked_there = Arc::new(AtomicUsize::new(0));
    let neighbour = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = |name: &str, address: SocketAddr, ready| NodeEndpoint {
        name: name.to_owned(),
        addresses: vec![address.ip()],
        kubelet_port: Some(address.port()),
        ready,
    };
    let nowhere: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let mut nodes = vec![
        endpoint("n1", nowhere, true),
        endpoint("n2", neighbour.local_addr().unwrap(), true),
        endpoint("n3", nowhere, false),
    ];
    nodes.extend(neighbours.iter().map(|address| endpoint("n4", *address, true)));
    let path = "/network/v1/services/withdrawn";
    let app = Router::new().route(path, answers(there_receiver, asked_there.clone()));
    tokio::spawn(async move { axum::serve(neighbour, app).await });
    let app = Router::new()
        .route("/v1/services/withdrawn", answers(here_receiver, Arc::default()))
        .route("/v1/nodes", get(move || async move { Json(nodes) }));
    let listener = UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    World { network: Network::new("n1", socket, None), here, there, asked_there, _dir: dir }
}

fn leaver() -> Leaver {
    let addresses = ["10.0.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap());
    Leaver { addresses: addresses.into(), pids: Vec::new() }
}

#[tokio::test]
async fn a_pod_of_no_service_leaves_at_once() {
    let world = world(Withdrawal { endpoint: false, withdrawn: true }, &[]).await;
    let parting = world.network.leave(&leaver(), LONG).await;
    assert!(!parting.was_endpoint && parting.took < LONG / 2, "{parting:?}");
    assert_eq!(world.asked_there.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_pod_leaves_when_all_ready_nodes_have_let_it_go() {
    let World { network, here, there, _dir, .. } = world(IN_USE, &[]).await;
    let leaving = tokio::spawn(async move { network.leave(&leaver(), LONG).await });
    here.send_replace(OUT);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!leaving.is_finished(), "the neighbour still sends it flows");
    there.send_replace(OUT);
    let parting = leaving.await.unwrap();
    assert_eq!((parting.nodes, parting.unacknowledged, parting.busy), (2, 0, false));
    assert!(parting.took < LONG / 2, "{parting:?}");
}

#[tokio::test]
async fn a_node_that_does_not_answer_costs_the_bound() {
    // It takes connections, and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dead: SocketAddr = "127.0.0.1:1".parse().unwrap();
    let world = world(OUT, &[silent.local_addr().unwrap(), dead]).await;
    world.there.send_replace(OUT);
    let limit = Duration::from_millis(300);
    let parting = world.network.leave(&leaver(), limit).await;
    assert_eq!((parting.nodes, parting.unacknowledged), (4, 2), "{parting:?}");
    assert!(parting.took >= limit && parting.took < LONG / 2, "{parting:?}");
}

#[tokio::test]
async fn without_a_daemon_the_bound_holds() {
    let dir = tempfile::tempdir().unwrap();
    let network = Network::new("n1", dir.path().join("none"), None);
    let parting = network.leave(&leaver(), Duration::from_millis(100)).await;
    assert_eq!((parting.nodes, parting.unacknowledged), (1, 1), "{parting:?}");
    assert!(parting.took < LONG / 2);
}
