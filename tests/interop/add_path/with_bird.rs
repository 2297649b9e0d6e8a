use std::{collections::BTreeSet, sync::Arc};

use bgp_speaker::Config;

use crate::lab::{
    bird::Bird,
    netns::{Netns, ip, isolated},
    node::{Node, PORT, config, prefix, v4},
};

const AS: u32 = 64512;
const SHARED: [&str; 2] = ["198.51.100.0/24", "2001:db8:ff00::/40"];

/// What every BIRD here begins with.
fn common(number: u8, asn: u32) -> String {
    format!(
        "router id 192.0.2.{number};
         log stderr all;
         protocol device {{ scan time 1; }}
         protocol direct {{ ipv4; ipv6; }}
         template bgp common {{
             local 192.0.2.{number} port {PORT} as {asn};
             strict bind on;
             hold time 9;
             connect retry time 1;
             connect delay time 1;
             error wait time 1, 2;
         }}"
    )
}

/// One that tells the shared prefixes.
fn teller(number: u8, asn: u32) -> String {
    let [v4_route, v6_route] = SHARED;
    common(number, asn)
        + &format!(
            "protocol static static4 {{ ipv4; route {v4_route} blackhole; }}
             protocol static static6 {{ ipv6; route {v6_route} blackhole; }}
             protocol bgp viaduct from common {{
                 neighbor 192.0.2.1 port {PORT} as {AS};
                 ipv4 {{ import all; export where source = RTS_STATIC; }};
                 ipv6 {{ import all; export where source = RTS_STATIC; }};
             }}"
        )
}

/// A BIRD of our AS that takes all paths there are.
fn taker(number: u8) -> String {
    common(number, AS)
        + &format!(
            "protocol bgp viaduct from common {{
                 neighbor 192.0.2.1 port {PORT} as {AS};
                 ipv4 {{ import all; export none; add paths rx; }};
                 ipv6 {{ import all; export none; add paths rx; }};
             }}"
        )
}

/// Starts BIRDs in one namespace that is joined to ours; each has an address 192.0.2.N.
fn joined(numbers: &[u8], configs: &[String], test: impl AsyncFnOnce(Vec<Bird>) + Send + 'static) {
    let (numbers, configs) = (numbers.to_vec(), configs.to_vec());
    isolated(move || {
        let netns = Arc::new(Netns::new());
        netns.link(1, numbers[0]);
        netns.run(move || {
            for number in &numbers[1..] {
                ip(&format!("addr add 192.0.2.{number}/24 dev viaduct1"));
                ip(&format!("addr add 2001:db8::{number}/64 dev viaduct1 nodad"));
            }
        });
        let birds = configs.iter().map(|config| Bird::start(netns.clone(), config)).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { test(birds).await });
    });
}

/// How many paths a BIRD has for a prefix.
fn paths(bird: &Bird, prefix: &str) -> usize {
    bird.route(prefix).matches("BGP.as_path:").count()
}

/// Us between two external BIRDs that tell the same prefixes and one of our own AS that takes several.
fn ours(send: u16) -> Config {
    let mut ours = config(1, AS, &[(v4(2), 65002), (v4(3), 65003), (v4(4), AS)]);
    let taker = ours.peers.get_mut(&v4(4)).unwrap();
    taker.add_path_send = send;
    ours
}

#[test]
fn bird_is_told_of_every_path() {
    let configs = [teller(2, 65002), teller(3, 65003), taker(4)];
    joined(&[2, 3, 4], &configs, async |birds| {
        let [second, third, taker] = &birds[..] else { unreachable!() };
        let node = Node::start(ours(8), &["10.1.0.0/24"]);
        let has = |count: usize| SHARED.iter().all(|prefix| paths(taker, prefix) == count);
        node.wait("both paths", async |_| has(2)).await;
        let routes = taker.route(SHARED[0]);
        assert!(routes.contains("as_path: 65002") && routes.contains("as_path: 65003"), "{routes}");
        assert_eq!(paths(taker, "10.1.0.0/24"), 1);

        // One of them goes, and comes back: the other stands all the while.
        third.ask("disable static4");
        node.wait("one path", async |_| paths(taker, SHARED[0]) == 1).await;
        assert_eq!(paths(taker, SHARED[1]), 2);
        third.ask("enable static4");
        node.wait("both again", async |_| has(2)).await;

        // The best one goes.
        second.ask("disable viaduct");
        node.wait("the other alone", async |_| has(1)).await;
        let routes = taker.route(SHARED[0]);
        assert!(routes.contains("as_path: 65003"), "{routes}");
        second.ask("enable viaduct");
        node.wait("both at last", async |_| has(2)).await;
        assert_eq!(node.peer(v4(4)).await.flaps, 0);
    });
}

#[test]
fn a_limit_is_kept_and_changes_under_the_session() {
    let configs = [teller(2, 65002), teller(3, 65003), teller(5, 65005), taker(4)];
    joined(&[2, 3, 5, 4], &configs, async |birds| {
        let taker = &birds[3];
        let with = |send| {
            let mut ours = ours(send);
            let external = config(1, AS, &[(v4(5), 65005)]);
            ours.peers.extend(external.peers);
            ours
        };
        let has = |count: usize| SHARED.iter().all(|prefix| paths(taker, prefix) == count);
        let node = Node::start(with(2), &[]);
        node.wait("all are told of", async |node| {
            let all = node.handle.routes().await.unwrap();
            all.iter().filter(|path| path.prefix == prefix(SHARED[1])).count() == 3
        })
        .await;
        node.wait("two of three", async |_| has(2)).await;
        node.config.send_replace(Arc::new(with(3)));
        node.wait("all three", async |_| has(3)).await;
        node.config.send_replace(Arc::new(with(2)));
        node.wait("two again", async |_| has(2)).await;
        assert_eq!(node.peer(v4(4)).await.flaps, 0);
        // Another meaning of the prefixes is another session.
        node.config.send_replace(Arc::new(with(1)));
        node.wait("the best alone", async |_| has(1)).await;
    });
}

/// BIRD sends what two others of us tell, all of it, and we take all of it.
#[test]
fn we_take_all_that_bird_sends() {
    let between = |number: u8, asn: u32, options: &str| {
        format!(
            "protocol bgp n{number} from common {{
                 neighbor 192.0.2.{number} port {PORT} as {asn};
                 ipv4 {{ import all; export where source = RTS_BGP; next hop keep; {options} }};
                 ipv6 {{ import all; export where source = RTS_BGP; next hop keep; {options} }};
             }}"
        )
    };
    let hub = common(2, AS)
        + &between(1, AS, "add paths tx;")
        + &between(3, 65003, "")
        + &between(4, 65004, "");
    joined(&[2], &[hub], async |_birds| {
        for number in [3, 4] {
            ip(&format!("addr add 192.0.2.{number}/24 dev viaduct0"));
            ip(&format!("addr add 2001:db8::{number}/64 dev viaduct0 nodad"));
        }
        let third = Node::start(config(3, 65003, &[(v4(2), AS)]), &SHARED);
        let fourth = Node::start(config(4, 65004, &[(v4(2), AS)]), &SHARED);
        let mut ours = config(1, AS, &[(v4(2), AS)]);
        ours.peers.get_mut(&v4(2)).unwrap().add_path_receive = true;
        let node = Node::start(ours, &[]);
        let count = async |node: &Node, text: &str| {
            let all = node.handle.routes().await.unwrap();
            let ids = all.iter().filter(|path| path.prefix == prefix(text)).map(|one| one.path_id);
            ids.collect::<BTreeSet<_>>().len()
        };
        node.wait("both paths of both families", async |node| {
            count(node, SHARED[0]).await == 2 && count(node, SHARED[1]).await == 2
        })
        .await;
        // They differ by the neighbouring AS alone, and BIRD has told both: both are used.
        assert_eq!(node.hops(SHARED[0]), [v4(3), v4(4)]);
        third.originate(&SHARED[1..]);
        node.wait("one is withdrawn", async |node| node.hops(SHARED[0]) == [v4(4)]).await;
        assert_eq!(count(&node, SHARED[1]).await, 2);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
        drop(fourth);
    });
}
