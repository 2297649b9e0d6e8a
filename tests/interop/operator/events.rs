//! What has happened is told, in order, to whoever asks and to whoever follows.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;
use viaduct_api::admin::{BgpEvent, EventQuery};

use crate::lab::{
    node::{Node, config, v4},
    setup::{pair, with_addresses},
};

fn kinds(events: &[BgpEvent]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

#[test]
fn a_session_is_followed_to_its_end() {
    with_addresses(&[1, 2], async || {
        let (a, b) = pair(v4).await;
        let told = a.handle.events(&EventQuery::default()).next().await.unwrap();
        assert!(kinds(&told).contains(&"session-up"), "{told:?}");
        let last = told.last().unwrap().number;
        let query = EventQuery { after: Some(last), follow: true, ..EventQuery::default() };
        let mut following = a.handle.events(&query);
        b.config.send_replace(Arc::new(config(2, 64512, &[])));
        let mut told: Vec<BgpEvent> = Vec::new();
        while !kinds(&told).contains(&"session-down") {
            let more = timeout(Duration::from_secs(10), following.next()).await;
            told.extend(more.expect("nothing happens").unwrap());
        }
        let numbers: Vec<_> = told.iter().map(|event| event.number).collect();
        assert_eq!(numbers, (last + 1..=last + told.len() as u64).collect::<Vec<_>>());
        assert_eq!(kinds(&told)[..2], ["notification-received", "session-down"], "{told:?}");
        assert!(told[0].text.contains("de-configured"), "{told:?}");
        assert_eq!(told[0].peer, Some(v4(2)));
        let since = EventQuery { since_secs: Some(3600), peer: Some(v4(9)), ..Default::default() };
        assert_eq!(a.handle.events(&since).next().await, Some(Vec::new()));
        // The speaker's end is the end of its story.
        drop(a);
        while let Some(_rest) = timeout(Duration::from_secs(10), following.next()).await.unwrap() {}
    });
}

/// Of a speaker to which nothing else happens.
#[test]
fn a_configuration_that_is_wrong_is_told_at_once_and_so_is_its_mending() {
    with_addresses(&[1], async || {
        let node = Node::start(config(1, 64512, &[]), &[]);
        let query = EventQuery { follow: true, ..EventQuery::default() };
        let mut following = node.handle.events(&query);
        node.handle.note_reading(Vec::new()).await.unwrap();
        for _ in 0..3 {
            node.handle.note_reading(vec!["spec.asn: wrong".to_owned()]).await.unwrap();
            node.handle.note_reading(Vec::new()).await.unwrap();
        }
        let mut told: Vec<BgpEvent> = Vec::new();
        while told.iter().filter(|event| event.kind.starts_with("configuration-")).count() < 6 {
            let more = timeout(Duration::from_secs(10), following.next()).await;
            told.extend(more.expect("nothing is told").unwrap());
        }
        let told: Vec<_> = told.iter().filter(|event| event.kind.contains("-refused")).collect();
        assert_eq!(told.len(), 3);
        assert!(told.iter().all(|event| event.text == "spec.asn: wrong" && event.peer.is_none()));
        let metrics = node.handle.metrics().await.unwrap();
        assert!(metrics.contains("viaduct_bgp_configuration_errors 0\n"), "{metrics}");
    });
}

#[test]
fn a_peer_is_told_in_full_with_its_rules() {
    with_addresses(&[1, 2], async || {
        let (a, _b) = pair(v4).await;
        let peer = a.handle.peer(v4(2)).await.unwrap().unwrap();
        assert_eq!(peer.status.state, "Established");
        for all in [&peer.capabilities_sent, &peer.capabilities_received] {
            assert!(all.contains(&"multiprotocol (ipv6)".to_owned()), "{all:?}");
            assert!(all.contains(&"four-octet AS 64512".to_owned()), "{all:?}");
        }
        assert!(peer.agreed.contains(&"families ipv4,ipv6".to_owned()), "{:?}", peer.agreed);
        assert!(peer.timers["hold"] <= 9.0 && peer.timers.contains_key("keepalive"));
        assert_eq!(a.handle.peer(v4(3)).await.unwrap(), None);
        let policies = a.handle.policies(None).await.unwrap();
        assert_eq!((policies.len(), policies[0].peer), (1, v4(2)));
        assert_eq!(policies[0].import, ["every route: accept"]);
        assert_eq!(a.handle.policies(Some(v4(3))).await.unwrap(), []);
    });
}
