//! What OPEN agrees on of messages themselves: longer ones (RFC 8654), and how often one must come
//! (RFC 4271 §4.2).

use bgp_wire::HoldTime;

use crate::lab::{
    node::{Node, config, v4},
    other::{Maker, Theirs, with_other},
    setup::OWN,
};

/// So many that they do not fit into one message of 4096 octets.
const MANY: usize = 2000;

/// All of them share their attributes: how many messages they take shows how long those are.
#[test]
fn longer_messages_carry_more() {
    let many: Vec<String> =
        (0..MANY).map(|one| format!("10.{}.{}.0/24", 16 + one / 256, one % 256)).collect();
    for (maker, neighbour, extended) in [
        (Maker::Bird, "enable extended messages on;", true),
        (Maker::Frr, "", true),
        (Maker::ExaBgp, "capability { extended-message enable; }", true),
        (Maker::Bird, "", false),
    ] {
        let many = many.clone();
        let ours = config(1, 64512, &[(v4(2), 65001)]);
        with_other(Theirs::new(maker, neighbour), ours, async move |other, node| {
            let detail = async |node: &Node| node.handle.peer(v4(2)).await.unwrap().unwrap();
            let before = detail(&node).await;
            let agreed = "extended messages to the peer".to_owned();
            assert_eq!(before.agreed.contains(&agreed), extended, "{maker:?}");
            let all: Vec<_> = OWN.into_iter().chain(many.iter().map(String::as_str)).collect();
            node.originate(&all);
            let last = all.last().unwrap();
            node.wait(&format!("{maker:?} has the last"), async |_| {
                !other.seen(last).is_empty() && !other.seen(&many[0]).is_empty()
            })
            .await;
            let messages = detail(&node).await.updates_sent - before.updates_sent;
            assert_eq!(messages, if extended { 1 } else { 2 }, "{maker:?}");
            assert_eq!(node.peer(v4(2)).await.flaps, 0);
        });
    }
}

/// The shorter of both holds, and 0 is none at all.
#[test]
fn the_shorter_hold_time_holds() {
    for (maker, neighbour, ours, agreed) in [
        (Maker::Bird, "hold time 0;", 9, 0),
        (Maker::Bird, "hold time 240;", 3, 3),
        (Maker::Frr, "timers 1 3", 240, 3),
        (Maker::Frr, "timers 0 0", 9, 0),
        (Maker::OpenBgpd, "holdtime 3", 30, 3),
        (Maker::OpenBgpd, "holdtime 90", 0, 0),
        (Maker::ExaBgp, "hold-time 0;", 9, 0),
    ] {
        let mut config = config(1, 64512, &[(v4(2), 65001)]);
        config.peers.get_mut(&v4(2)).unwrap().hold_time = HoldTime::from_secs(ours).unwrap();
        with_other(Theirs::new(maker, neighbour), config, async move |_, node| {
            let peer = node.peer(v4(2)).await;
            assert_eq!((peer.hold_time_secs, peer.flaps), (agreed, 0), "{maker:?}");
        });
    }
}
