use std::sync::Arc;

use bgpd::TrialError;
use viaduct_api::admin::{PolicyDirection, PolicyTrialQuery};

use super::{ACCEPT, with_policies};
use crate::lab::{
    bird::Bird,
    node::{Node, config, prefix, v4, v6},
    setup::{BIRDS, OWN, with_bird_and},
};

/// BIRD tells its IPv4 route with everything that a policy can look at.
const MARKED: &str = "ipv4 { import all; export filter {
     if source != RTS_STATIC then reject;
     bgp_community.add((65001, 7));
     bgp_large_community.add((65001, 1, 2));
     bgp_ext_community.add((rt, 65001, 9));
     bgp_med = 50;
     bgp_path.prepend(65001);
     accept;
 }; };";

/// How many routes a channel of BIRD's has been told, and has told, in all.
fn updates(bird: &Bird, channel: &str) -> (u32, u32) {
    let all = bird.ask("show protocols all viaduct");
    let (_, rest) = all.split_once(&format!("Channel {channel}")).unwrap();
    let count = |name: &str| {
        let (_, line) = rest.split_once(name).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    (count("Import updates:"), count("Export updates:"))
}

#[test]
fn an_external_peer_sees_what_export_sets() {
    let export = r#"
- sources: [Local]
  set:
    med: {set: 77}
    communities: {add: ["64512:1", no-peer]}
    largeCommunities: {add: ["64512:1:2"]}
    extendedCommunities: {add: ["rt:64512:3", "soo:192.0.2.1:4"]}
    prepend: {count: 2}
  action: Accept"#;
    let ours = with_policies(&config(1, 64512, &[(v4(2), 65001)]), ACCEPT, export);
    with_bird_and("", 65001, ours, async |bird, _node| {
        for own in OWN {
            let route = bird.route(own);
            for line in [
                "BGP.as_path: 64512 64512 64512\n",
                "BGP.med: 77\n",
                "BGP.community: (64512,1) (65535,65284)\n",
                "BGP.ext_community: (rt, 64512, 3) (ro, 192.0.2.1, 4)\n",
                "BGP.large_community: (64512, 1, 2)\n",
            ] {
                assert!(route.contains(line), "no {line} in {route}");
            }
        }
    });
}

#[test]
fn an_internal_peer_sees_local_pref_and_the_next_hop() {
    let export = "
- prefixes: [{prefix: 10.0.0.0/8, maxLength: 32}]
  set: {localPref: 250, nextHop: 192.0.2.99}
  action: Accept
- set: {localPref: 50}
  action: Accept";
    let ours = with_policies(&config(1, 64512, &[(v4(2), 64512)]), ACCEPT, export);
    with_bird_and("", 64512, ours, async |bird, _node| {
        let route = bird.route(OWN[0]);
        assert!(route.contains("BGP.local_pref: 250\n"), "{route}");
        assert!(route.contains("BGP.next_hop: 192.0.2.99\n"), "{route}");
        let route = bird.route(OWN[1]);
        assert!(route.contains("BGP.local_pref: 50\n"), "{route}");
        assert!(route.contains("BGP.next_hop: 2001:db8::1"), "{route}");
    });
}

async fn wait_for_hops(node: &Node, which: usize, there: bool) {
    node.wait("the route", async |node| node.hops(BIRDS[which]).is_empty() != there).await;
}

/// Each of BIRD's attributes can be asked for, and import changes them; no session, and nobody's
/// other routes, are touched by it.
#[test]
fn import_looks_at_everything_and_a_reload_asks_nobody() {
    let ours = config(1, 64512, &[(v4(2), 65001)]);
    with_bird_and(MARKED, 65001, ours.clone(), async move |bird, node| {
        let before = [updates(&bird, "ipv4"), updates(&bird, "ipv6")];
        let load = |import: &str| {
            let import = format!("{import}\n- action: Accept");
            node.config.send_replace(Arc::new(with_policies(&ours, &import, ACCEPT)));
        };
        for asked in [
            "communities: [\"65001:*\"]",
            "largeCommunities: [\"65001:1:*\"]",
            "extendedCommunities: [\"rt:65001:9\"]",
            "asPaths: [\"^65001_65001$\"]",
            "origins: [Igp]\n  prefixes: [{prefix: 198.51.100.0/24}]",
            "nextHops: [192.0.2.2]",
            "neighborAsns: [65001]\n  prefixes: [{prefix: 198.51.100.0/24}]",
            "peers: [bird]\n  prefixes: [{prefix: 198.51.100.0/24}]",
        ] {
            load(&format!("- {asked}\n  action: Reject"));
            wait_for_hops(&node, 0, false).await;
            assert_eq!(node.hops(BIRDS[1]), [v6(2)], "{asked}");
            // What asks for something else refuses nothing.
            load("- communities: [\"65001:8\"]\n  asPaths: [\"_65002_\"]\n  action: Reject");
            wait_for_hops(&node, 0, true).await;
        }
        load(
            "- largeCommunities: [\"65001:1:2\"]\n  set:\n    localPref: 300\n    med: {add: 5}\n    \
             communities: {remove: [\"65001:*\"], add: [\"64512:9\"]}\n  action: Accept",
        );
        node.wait("what import makes of it", async |node| {
            let paths = node.handle.routes().await.unwrap();
            let path = paths.into_iter().find(|path| path.prefix == prefix(BIRDS[0])).unwrap();
            let has = |one: &str| path.communities.iter().any(|other| other == one);
            path.local_pref == Some(300)
                && path.med == Some(55)
                && has("64512:9")
                && has("65001:1:2")
                && !has("65001:7")
        })
        .await;
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
        let after = [updates(&bird, "ipv4"), updates(&bird, "ipv6")];
        assert_eq!(after, before, "nothing was told, and BIRD was asked for nothing");
    });
}

/// Another export policy tells what differs, and nothing else.
#[test]
fn a_reload_of_export_tells_what_differs() {
    let ours = config(1, 64512, &[(v4(2), 65001)]);
    with_bird_and("", 65001, ours.clone(), async move |bird, node| {
        let [(v4_before, _), (v6_before, _)] = [updates(&bird, "ipv4"), updates(&bird, "ipv6")];
        let load = |export: &str| {
            node.config.send_replace(Arc::new(with_policies(&ours, ACCEPT, export)));
        };
        load(
            "- prefixes: [{prefix: 10.1.0.0/24}]\n  set: {med: {set: 5}}\n  action: Accept\n\
             - action: Accept",
        );
        node.wait("the MED", async |_| bird.route(OWN[0]).contains("BGP.med: 5\n")).await;
        assert_eq!(updates(&bird, "ipv4").0, v4_before + 1);
        assert_eq!(updates(&bird, "ipv6").0, v6_before);
        // One prefix is refused: it alone goes.
        load("- prefixes: [{prefix: 10.1.0.0/24}]\n  action: Reject\n- action: Accept");
        node.wait("withdrawn", async |_| !bird.routes().contains(OWN[0])).await;
        assert!(bird.routes().contains(OWN[1]));
        assert_eq!(updates(&bird, "ipv4").0, v4_before + 1);
        assert_eq!(updates(&bird, "ipv6").0, v6_before);
        assert_eq!(node.peer(v4(2)).await.flaps, 0);
    });
}

/// Of a route of BIRD's that is told in words.
#[test]
fn a_trial_says_what_import_does() {
    let ours = config(1, 64512, &[(v4(2), 65001)]);
    with_bird_and(MARKED, 65001, ours.clone(), async move |_bird, node| {
        let import = r#"
- communities: ["65001:7"]
  set: {localPref: 200, med: {add: 5}, communities: {add: ["64512:1"]}}
  action: Continue
- prefixes: [{prefix: "::/0", maxLength: 128}]
  action: Reject
- largeCommunities: ["65001:1:2"]
  action: Accept"#;
        node.config.send_replace(Arc::new(with_policies(&ours, import, ACCEPT)));
        wait_for_hops(&node, 1, false).await;
        let routes = node.handle.routes().await.unwrap();
        let path = |text: &str| routes.iter().find(|path| path.prefix == prefix(text)).unwrap();
        let trial = async |text: &str, marks: Option<&str>| {
            let query = PolicyTrialQuery {
                peer: "192.0.2.2".to_owned(),
                prefix: text.to_owned(),
                as_path: marks.map(|_| "65001 65001".to_owned()),
                med: marks.map(|_| 50),
                communities: marks.map(str::to_owned),
                ..PolicyTrialQuery::default()
            };
            node.handle.policy_trial(&query).await.unwrap()
        };
        let taken = trial(BIRDS[0], Some("65001:7 rt:65001:9 65001:1:2")).await;
        assert_eq!(taken.rules.iter().map(|rule| rule.number).collect::<Vec<_>>(), [1, 3]);
        let (result, stands) = (taken.result.clone().unwrap(), path(BIRDS[0]));
        assert_eq!((result.local_pref, result.med), (stands.local_pref, stands.med));
        assert_eq!((&result.as_path, &result.origin), (&stands.as_path, &stands.origin));
        assert_eq!(result.communities, stands.communities);
        assert_eq!(result.next_hop, stands.next_hop.map(|hop| hop.to_string()));
        assert_eq!((result.local_pref, result.med), (Some(200), Some(55)));

        // The same route, looked up.
        let looked_up = PolicyTrialQuery {
            peer: "192.0.2.2".to_owned(),
            prefix: BIRDS[0].to_owned(),
            from_table: true,
            ..PolicyTrialQuery::default()
        };
        let again = node.handle.policy_trial(&looked_up).await.unwrap();
        assert_eq!((&again.route, &again.rules), (&taken.route, &taken.rules));
        assert_eq!(again.from, Some(v4(2)));
        let out = PolicyTrialQuery { direction: PolicyDirection::Export, ..looked_up.clone() };
        let out = node.handle.policy_trial(&out).await.unwrap();
        assert_eq!((out.from, out.route.local_pref), (Some(v4(2)), Some(200)));
        let nowhere = PolicyTrialQuery { prefix: "10.99.0.0/16".to_owned(), ..looked_up };
        let error = node.handle.policy_trial(&nowhere).await.unwrap_err();
        assert!(matches!(error, TrialError::NotInTable(_)), "{error}");

        let refused = trial(BIRDS[1], None).await;
        assert_eq!((refused.accepted, refused.decided_by), (false, Some(2)));
        assert_eq!(path(BIRDS[1]).reason.as_deref(), Some("rejected: import policy"));
    });
}
