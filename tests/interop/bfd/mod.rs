//! BFD (RFC 5880 to 5883) against BIRD and FRR: sessions, negotiated times, and how soon a loss is
//! seen.

mod between_us;
mod losses;
mod multihop;
mod planned_restart;
mod restart;
mod third_party;
mod unnumbered;
mod with_bird;
mod with_frr;

use std::{
    net::IpAddr,
    process::Command,
    time::{Duration, Instant},
};

use bgp_bfd::{Path, Profile};
use bgp_speaker::{BfdConfig, Config};
use viaduct_api::admin::BfdSession;

use crate::lab::{
    netns::{ip, output},
    node::{Node, config, v4},
    setup::bird_config,
};

/// Three times 50 ms, the fastest there is.
const FASTEST: [u16; 3] = [50, 50, 3];

/// Sending, taking, multiplier.
fn every([tx, rx, multiplier]: [u16; 3], path: Path) -> BfdConfig {
    BfdConfig { path, profile: Profile::new(tx, rx, multiplier).unwrap() }
}

/// We in AS 64512 with a peer in AS 65001 that is watched.
fn watched(peer: IpAddr, times: [u16; 3], path: Path) -> Config {
    let mut config = config(1, 64512, &[(peer, 65001)]);
    config.peers.get_mut(&peer).unwrap().bfd = Some(every(times, path));
    config
}

/// BIRD with BFD of these times.
fn watching_bird(times: [u16; 3]) -> String {
    bird_config(65001, 64512, "bfd on;", &bird_bfd(times))
}

/// BIRD's protocol for BFD over one hop.
fn bird_bfd([tx, rx, multiplier]: [u16; 3]) -> String {
    let times = format!(
        "min tx interval {tx} ms; min rx interval {rx} ms; multiplier {multiplier};
         idle tx interval 1 s;"
    );
    format!("protocol bfd watch {{ interface \"*\" {{ {times} }}; }}")
}

/// FRR's neighbor with BFD of these times.
const WATCHING_FRR: &str = "bfd 3 50 50";

impl Node {
    async fn bfd(&self, peer: IpAddr) -> BfdSession {
        let status = self.handle.bfd().await.unwrap();
        assert_eq!(status.problems, Vec::<String>::new());
        status.sessions.into_iter().find(|session| session.peer == peer).unwrap()
    }

    /// Waits until BFD with the peer is Up and its times are settled.
    async fn bfd_up(&self, peer: IpAddr) -> BfdSession {
        // A configuration takes its time to become a session.
        self.wait("BFD up", async |node| node.peer(peer).await.bfd.as_deref() == Some("Up")).await;
        self.wait("times settled", async |node| {
            let session = node.bfd(peer).await;
            let slow = 1_000_000;
            session.remote_min_transmit_micros != Some(slow)
                && session.transmit_micros != Some(slow)
        })
        .await;
        self.bfd(peer).await
    }

    /// How long after `event` the FIB has lost the prefix. To be shown, and far below ten times what
    /// is aimed at.
    async fn lost_after(&self, what: &str, prefix: &str, event: impl FnOnce()) -> Duration {
        assert!(!self.hops(prefix).is_empty());
        let start = Instant::now();
        event();
        self.wait("withdrawn", async |node| node.hops(prefix).is_empty()).await;
        let lost = start.elapsed();
        println!("{what}: withdrawn after {} ms", lost.as_millis());
        lost
    }

    async fn is_watched_and_up(&self) -> bool {
        self.peer(v4(2)).await.bfd.as_deref() == Some("Up") && self.established(v4(2)).await
    }
}

/// What 3 × 50 ms is for, with ten times the room: the machine of the test has two cores and other
/// things to do.
const TEN_TIMES: Duration = Duration::from_millis(10 * 3 * 50);

/// One rule of the namespace's packet filter.
fn nft(rule: &str) {
    output(Command::new("nft").arg(rule));
}

/// Ends the link at its far end: packets of both directions are lost, and connections do not notice.
fn cut() {
    ip("link set viaduct1 down");
}
