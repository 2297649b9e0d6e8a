//! What happens to networks.

use std::time::Duration;

use bgp_speaker::{Config, Stop};
use viaduct_net::Prefix;

use crate::{Dice, Filter, Link, Network, NodeId, Pace, address::block_v4};

/// One thing that can happen, and some time after it.
pub fn disturb(network: &mut Network, dice: &mut Dice) {
    let node = dice.below(network.nodes.len());
    let other = neighbour(network, node, dice);
    if network.nodes[node].is_alive() {
        happen_to(network, dice, node, other);
    } else {
        network.start(node, dice.one_in(2));
    }
    let millis = [0, 1, 2, 50, 500, 3_000, 15_000, 40_000];
    network.run(Duration::from_millis(dice.pick(&millis)));
}

fn neighbour(network: &Network, node: NodeId, dice: &mut Dice) -> NodeId {
    let all: Vec<_> = network.topology.nodes[node].sessions.keys().copied().collect();
    dice.pick(&all)
}

fn happen_to(network: &mut Network, dice: &mut Dice, node: NodeId, other: NodeId) {
    match dice.below(20) {
        0 | 1 => network.kill(node),
        2 => network.stop(node, &Stop::Restart),
        3 => network.stop(node, &Stop::Administrative("going".to_owned())),
        4 => network.unplug(node),
        5 => {
            network.kill(node);
            network.start(node, true);
        }
        6 | 7 => change_link(network, node, other, |link| link.cut = !link.cut),
        8 => {
            let (delay, loss) = (dice.pick(&[1, 20, 300]), dice.pick(&[0, 10, 300]));
            change_link(network, node, other, |link| {
                (link.delay, link.loss) = (Duration::from_millis(delay), loss);
            });
        }
        9 => network.reset(node, other),
        10 => network.set_pace(node, dice.pick(&[Pace::Quick, Pace::Slow(500), Pace::Deaf])),
        11 | 12 => {
            network.nodes[node].originations = some_originations(network, dice, node);
            network.originate(node);
        }
        13 => {
            let mut config = network.topology.config(node, false);
            let peer = network.topology.peer_address(node, other);
            if dice.one_in(2) {
                config.peers.remove(&peer);
            } else if let Some(peer) = config.peers.get_mut(&peer) {
                peer.shutdown = true;
            }
            network.configure(node, config);
        }
        14 => {
            let config = network.topology.config(node, false);
            network.configure(node, config);
        }
        15 | 16 => {
            let mut config = network.topology.config(node, false);
            if dice.one_in(2) {
                change_session(network, dice, &mut config, node, other);
            }
            network.replace(node, config);
        }
        17 | 18 => {
            let mut config = network.topology.config(node, false);
            change_session(network, dice, &mut config, node, other);
            network.configure(node, config);
        }
        _ => network.set_uplink(node, dice.one_in(2)),
    }
}

/// Other filters, or a session of another kind.
fn change_session(
    network: &Network,
    dice: &mut Dice,
    config: &mut Config,
    node: NodeId,
    other: NodeId,
) {
    let Some(peer) = config.peers.get_mut(&network.topology.peer_address(node, other)) else {
        return;
    };
    let mut filter = || Filter::any(dice, network.nodes.len()).policy(config.asn);
    (peer.import, peer.export) = (filter(), filter());
    match dice.below(6) {
        0 => peer.add_path_receive = !peer.add_path_receive,
        1 => peer.add_path_send = if peer.add_path_send > 0 { 0 } else { 2 },
        2 => peer.long_lived_secs = if peer.long_lived_secs > 0 { 0 } else { 20 },
        _ => {}
    }
}

fn change_link(network: &mut Network, a: NodeId, b: NodeId, change: impl FnOnce(&mut Link)) {
    let mut link = network.link(a, b);
    change(&mut link);
    network.set_link(a, b, link);
}

/// The planned ones or none, one that others have too, and sometimes very many.
fn some_originations(
    network: &Network,
    dice: &mut Dice,
    node: NodeId,
) -> std::collections::BTreeSet<Prefix> {
    let planned = network.topology.nodes[node].originations.iter();
    let mut some: std::collections::BTreeSet<_> =
        planned.filter(|_| dice.one_in(2)).copied().collect();
    some.insert(block_v4(dice.below(network.nodes.len())));
    if dice.one_in(4) {
        some.extend((0..dice.below(2000)).map(|i| block_v4(1000 + i)));
    }
    some
}

/// Everything is again as planned: machines, links, configurations, originations.
pub fn put_right(network: &mut Network) {
    let pairs: Vec<_> = network.topology.pairs().collect();
    for (a, b) in pairs {
        network.set_link(a, b, Link::default());
    }
    for node in 0..network.nodes.len() {
        network.nodes[node].originations = network.topology.nodes[node].originations.clone();
        if network.nodes[node].is_alive() {
            let config = network.topology.config(node, false);
            network.configure(node, config);
            network.set_uplink(node, true);
            network.set_pace(node, Pace::Quick);
            network.originate(node);
        } else {
            network.start(node, true);
        }
    }
}
