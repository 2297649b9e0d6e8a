//! A neighbour that is told of changes no more often than it is to be (MinRouteAdvertisementInterval,
//! RFC 4271 §9.2.1.1).

use std::time::{Duration, Instant};

use bgp_speaker::Config;

use crate::lab::{
    bird::Bird,
    node::{Node, config, prefix, v4},
    setup::{OWN, with_bird_and},
};

const FLAPPING: &str = "10.9.0.0/24";
const INTERVAL: Duration = Duration::from_secs(1);
/// With its jitter (RFC 4271 §10).
const LEAST: Duration = Duration::from_millis(750);
const FLAPS: usize = 40;

fn rarely() -> Config {
    let mut config = config(1, 64512, &[(v4(2), 65001)]);
    config.peers.get_mut(&v4(2)).unwrap().times.advertisement = INTERVAL;
    config
}

/// Updates and withdrawals that BIRD has had from us.
fn received(bird: &Bird) -> u64 {
    let all = bird.ask("show protocols all viaduct");
    let counted = all.lines().filter_map(|line| {
        let (name, counts) = line.trim().split_once(':')?;
        let received = counts.split_whitespace().next()?;
        ["Import updates", "Import withdraws"].contains(&name).then(|| received.parse::<u64>())
    });
    counted.map(Result::unwrap).sum()
}

async fn originate(node: &Node, is_there: bool) {
    let flapping = is_there.then_some(FLAPPING);
    let all: Vec<_> = OWN.into_iter().chain(flapping).collect();
    node.originate(&all);
    node.wait("the table has it", async |node| {
        let routes = node.handle.routes().await.unwrap();
        routes.iter().any(|path| path.prefix == prefix(FLAPPING)) == is_there
    })
    .await;
}

#[test]
fn bird_hears_of_what_flaps_once_in_an_interval_and_last_of_what_is() {
    with_bird_and("", 65001, rarely(), async |bird, node| {
        let before = received(&bird);
        let begun = Instant::now();
        for flap in 0..FLAPS {
            originate(&node, flap % 2 == 0).await;
        }
        originate(&node, true).await;
        node.wait("bird has it", async |_| bird.route(FLAPPING).contains("via 192.0.2.1")).await;
        // Nothing stands behind that: what is told next shows it.
        originate(&node, false).await;
        node.wait("bird has it no more", async |_| !bird.route(FLAPPING).contains("via")).await;
        let intervals = begun.elapsed().as_millis() / LEAST.as_millis();
        let heard = u128::from(received(&bird) - before);
        assert!((2..=intervals + 2).contains(&heard), "{heard} in {intervals} intervals");
        assert!(node.established(v4(2)).await);
    });
}
