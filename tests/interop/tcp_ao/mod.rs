//! RFC 5925 between two speakers of ours, whatever the kernel: one that has TCP-AO signs every segment,
//! and with one that lacks it the session stays down and says why. The kernels of Debian 12 lack it; under
//! one that is built with CONFIG_TCP_AO the same tests have real sessions.

use std::{fs, net::IpAddr, sync::Arc};

use bgp_speaker::{AoAlgorithm, AoKey, Config, Password, RangeAsns, RangeConfig};
use bgpd::probe_tcp_ao;
use viaduct_api::admin::EventQuery;

use crate::{
    lab::{
        node::{Node, config, prefix, v4, v6},
        setup::{PAIR, with_addresses},
    },
    planned_restart::replace,
};

const HMAC: AoAlgorithm = AoAlgorithm::HmacSha1;

fn key(ids: (u8, u8), algorithm: AoAlgorithm, secret: &str) -> AoKey {
    let (send_id, receive_id) = ids;
    let secret = Password::try_from(secret.as_bytes()).unwrap();
    AoKey { send_id, receive_id, algorithm, excludes_options: false, secret }
}

/// Node `number` of two, which waits for the other or connects to it.
fn signed(number: u8, passive: bool, address: fn(u8) -> IpAddr, keys: &[AoKey]) -> Config {
    let mut config = config(number, 64512, &[(address(3 - number), 64512)]);
    for peer in config.peers.values_mut() {
        peer.passive = passive;
        peer.transport.ao = keys.to_vec();
    }
    config
}

/// Segments of this namespace that were signed as they should be.
fn good_segments() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
    let mut lines =
        text.lines().filter(|line| line.starts_with("TcpExt:")).map(str::split_whitespace);
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let counter = names.zip(values).find(|(name, _)| *name == "TCPAOGood");
    counter.map_or(0, |(_, value)| value.parse().unwrap())
}

/// The session stands, or is held down because the kernel has no TCP-AO.
async fn up_or_held_down(node: &Node, peer: IpAddr) {
    let Err(missing) = probe_tcp_ao() else {
        return node.wait("signed", async |node| node.established(peer).await).await;
    };
    let why = format!("tcpAo: {missing}");
    let held = async |node: &Node| node.peer(peer).await.last_error.as_deref() == Some(&*why);
    node.wait("held down", held).await;
    assert_eq!(node.peer(peer).await.state, "Idle");
    let mut events = node.handle.events(&EventQuery { peer: Some(peer), ..Default::default() });
    let told = events.next().await.unwrap();
    assert!(told.iter().any(|event| event.kind == "held-down" && event.text == why), "{told:?}");
}

#[test]
fn keys_that_both_have_make_a_session_whoever_connects() {
    for (address, algorithm, passive) in
        [(v4 as fn(u8) -> IpAddr, HMAC, false), (v6, AoAlgorithm::Aes128Cmac, true)]
    {
        with_addresses(&[1, 2], async move || {
            let both = ["first", "a second one that is longer than sixteen octets"];
            let keys =
                |one: (u8, u8), other| [key(one, algorithm, both[0]), key(other, HMAC, both[1])];
            let before = good_segments();
            let ours = signed(1, passive, address, &keys((1, 255), (7, 7)));
            let theirs = signed(2, !passive, address, &keys((255, 1), (7, 7)));
            let (a, b) = (Node::start(ours, PAIR[0]), Node::start(theirs, PAIR[1]));
            up_or_held_down(&a, address(2)).await;
            up_or_held_down(&b, address(1)).await;
            if probe_tcp_ao().is_ok() {
                a.wait("b's", async |a| a.hops("10.2.0.0/24") == [v4(2)]).await;
                assert!(good_segments() > before);
            }
        });
    }
}

/// Of a peer that does not sign, or signs with another key, not one octet is taken, whoever connects.
#[test]
fn who_does_not_sign_as_agreed_gets_no_session() {
    let ours = key((1, 1), HMAC, "s3cret");
    let other_secret = key((1, 1), HMAC, "S3cret");
    let other_id = key((2, 2), HMAC, "s3cret");
    let other_algorithm = key((1, 1), AoAlgorithm::Aes128Cmac, "s3cret");
    for theirs in [None, Some(other_secret), Some(other_id), Some(other_algorithm)] {
        let ours = ours.clone();
        with_addresses(&[1, 2], async move || {
            let a = Node::start(signed(1, false, v4, &[ours]), PAIR[0]);
            let b = Node::start(signed(2, false, v4, theirs.as_slice()), PAIR[1]);
            for (node, peer, signs) in [(&a, v4(2), true), (&b, v4(1), theirs.is_some())] {
                let why = match probe_tcp_ao() {
                    Ok(()) => "no answer to SYN".to_owned(),
                    Err(missing) if signs => format!("tcpAo: {missing}"),
                    // Its listener is there, and resets whom it has nothing to say to.
                    Err(_) => continue,
                };
                node.wait("refused", async |node| {
                    node.peer(peer).await.last_error.as_deref() == Some(&*why)
                })
                .await;
            }
            let lost = b.peer(v4(1)).await;
            assert_eq!((lost.flaps, lost.messages_received), (0, 0));
        });
    }
}

/// The listener has the keys of a prefix as it has those of an address.
#[test]
fn a_range_has_keys_for_all_of_it() {
    with_addresses(&[1, 2], async || {
        let keys = [key((3, 4), HMAC, "s3cret")];
        let mut ours = signed(1, true, v4, &keys);
        let (_, peer) = ours.peers.pop_first().unwrap();
        let range = RangeConfig { peer, asns: RangeAsns::Internal, limit: 10 };
        ours.ranges.insert(prefix("192.0.2.0/24"), range);
        let a = Node::start(ours, PAIR[0]);
        let b = Node::start(signed(2, false, v4, &[key((4, 3), HMAC, "s3cret")]), PAIR[1]);
        up_or_held_down(&b, v4(1)).await;
        let Err(missing) = probe_tcp_ao() else {
            return a.wait("the other", async |a| a.hops("10.2.0.0/24") == [v4(2)]).await;
        };
        let mut events = a.handle.events(&EventQuery::default());
        let told = events.next().await.unwrap();
        let why = format!("192.0.2.0/24: tcpAo: {missing}");
        assert!(told.iter().any(|event| event.text == why), "{told:?}");
    });
}

#[test]
fn keys_come_change_and_go_with_the_configuration() {
    with_addresses(&[1, 2], async || {
        let a = Node::start(signed(1, false, v4, &[]), PAIR[0]);
        let b = Node::start(signed(2, false, v4, &[]), PAIR[1]);
        let (old, new) = (key((1, 1), HMAC, "old"), key((1, 1), HMAC, "new"));
        let mut before: &[AoKey] = &[];
        for keys in [&[][..], &[old], &[new], &[]] {
            a.config.send_replace(Arc::new(signed(1, false, v4, keys)));
            if keys != before {
                a.wait("ended", async |a| a.hops("10.2.0.0/24") == [] as [IpAddr; 0]).await;
            }
            b.config.send_replace(Arc::new(signed(2, false, v4, keys)));
            match keys {
                [] => a.wait("up", async |a| a.hops("10.2.0.0/24") == [v4(2)]).await,
                _ => up_or_held_down(&a, v4(2)).await,
            }
            before = keys;
        }
    });
}

/// Keys stay with the sockets, and the successor's listener has its own and no others.
#[test]
fn a_planned_restart_keeps_a_session_that_is_signed() {
    with_addresses(&[1, 2], async || {
        let keys = [key((1, 1), HMAC, "s3cret")];
        let a = Node::start(signed(1, true, v4, &keys), PAIR[0]);
        let b = Node::start(signed(2, false, v4, &keys), PAIR[1]);
        up_or_held_down(&a, v4(2)).await;
        let flaps = b.peer(v4(1)).await.flaps;
        let a = replace(a, signed(1, true, v4, &keys), PAIR[0]).await;
        up_or_held_down(&a, v4(2)).await;
        assert_eq!(b.peer(v4(1)).await.flaps, flaps);
        // Other keys meanwhile.
        let others = [key((1, 1), HMAC, "other")];
        let a = replace(a, signed(1, true, v4, &others), PAIR[0]).await;
        b.config.send_replace(Arc::new(signed(2, false, v4, &others)));
        up_or_held_down(&a, v4(2)).await;
        let a = replace(a, signed(1, true, v4, &[]), PAIR[0]).await;
        b.config.send_replace(Arc::new(signed(2, false, v4, &[])));
        a.wait("unsigned", async |a| a.hops("10.2.0.0/24") == [v4(2)]).await;
    });
}
