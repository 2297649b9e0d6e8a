//! Two shells of ours in one namespace, each at addresses of its own.

use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bgpd::Stop;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use crate::lab::{
    node::{Node, PORT, config, v4, v6},
    setup::{pair, with_addresses},
};

#[test]
fn one_session_of_either_family_carries_both() {
    for address in [v4 as fn(u8) -> IpAddr, v6] {
        with_addresses(&[1, 2], async move || {
            let (a, b) = pair(address).await;
            a.wait("both in sync", async |a| a.synced() && b.synced()).await;
            let peer = a.peer(address(2)).await;
            assert_eq!((peer.hold_time_secs, peer.prefixes_accepted), (9, 2));
            let routes = a.handle.routes().await.unwrap();
            assert_eq!(routes.len(), 4);
            assert!(routes.iter().all(|path| path.best && path.reason.is_none()));
            let metrics = a.handle.metrics().await.unwrap();
            let line = format!("viaduct_bgp_peer_established{{peer=\"{}\"}} 1\n", address(2));
            assert!(metrics.contains(&line), "{metrics}");
        });
    }
}

#[test]
fn a_shutdown_is_told_before_it_is_done() {
    with_addresses(&[1, 2], async || {
        let (a, b) = pair(v4).await;
        b.handle.shutdown(Stop::Administrative("moving out".to_owned())).await;
        assert_eq!(b.handle.peers().await, Err(bgpd::Ended));
        a.wait("withdrawn", async |a| a.hops("10.2.0.0/24").is_empty()).await;
        let error = a.peer(v4(2)).await.last_error.unwrap();
        assert!(error.contains("moving out"), "{error}");
    });
}

#[test]
fn a_reload_adds_a_peer_and_leaves_the_other_alone() {
    with_addresses(&[1, 2, 3], async || {
        let (a, b) = pair(v4).await;
        let wider = config(1, 64512, &[(v4(2), 64512), (v4(3), 64512)]);
        a.config.send_replace(Arc::new(wider));
        let c = Node::start(config(3, 64512, &[(v4(1), 64512)]), &["10.3.0.0/24"]);
        a.wait("a knows c's", async |a| a.hops("10.3.0.0/24") == [v4(3)]).await;
        b.originate(&["10.2.0.0/24"]);
        a.wait("withdrawn", async |a| a.hops("fd00:2::/64").is_empty()).await;
        assert_eq!(a.peer(v4(2)).await.flaps, 0);
        drop(c);
    });
}

/// What a stranger gets is the end of its connection, and not one octet.
#[test]
fn a_stranger_is_refused_before_a_word() {
    with_addresses(&[1], async || {
        let node = Node::start(config(1, 64512, &[(v4(2), 64512)]), &[]);
        for address in [v4(1), v6(1)] {
            let to = SocketAddr::new(address, PORT);
            // A reset can be quicker than our side of the handshake.
            let refused = async |_: &Node| match TcpStream::connect(to).await {
                Ok(mut stream) => {
                    let end = timeout(Duration::from_secs(5), stream.read(&mut [0; 64])).await;
                    let end = end.expect("still open");
                    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
                    true
                }
                Err(error) => error.kind() == ErrorKind::ConnectionReset,
            };
            node.wait("listening", refused).await;
        }
    });
}

#[test]
fn what_is_no_bgp_is_told_so_and_closed() {
    with_addresses(&[1, 2], async || {
        let node = Node::start(config(1, 64512, &[(v4(2), 64512)]), &[]);
        let connect = async || {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(v4(2), 0))?;
            socket.connect(SocketAddr::new(v4(1), PORT)).await
        };
        node.wait("listening", async |_| connect().await.is_ok()).await;
        let mut stream = connect().await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: viaduct\r\n\r\n").await.unwrap();
        let mut said = Vec::new();
        timeout(Duration::from_secs(5), stream.read_to_end(&mut said)).await.unwrap().unwrap();
        // OPEN, then NOTIFICATION: connection not synchronized.
        let last = &said[said.len() - 21..];
        assert_eq!(last[18..], [3, 1, 1], "{said:?}");
    });
}
