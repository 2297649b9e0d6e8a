use super::with_bird::{internal, with_local_as};
use crate::lab::{
    node::prefix,
    setup::{OTHERS, with_frr},
};

#[test]
fn frr_sees_the_other_as_before_ours_or_in_its_place() {
    for (replaces, there) in [(false, "64777 64512"), (true, "64777")] {
        // The last AS of a neighbour is the one that counts.
        let options = "remote-as 64777";
        with_frr(options, "", with_local_as(true, replaces), async move |frr, _| {
            let route = frr.ask("show bgp ipv4 unicast 10.1.0.0/24");
            assert!(route.lines().any(|line| line.trim() == there), "{route}");
        });
    }
}

#[test]
fn with_frr_in_the_other_as_the_session_is_internal() {
    with_frr("remote-as 65001", "", internal(65001), async move |frr, node| {
        let route = frr.ask("show bgp ipv4 unicast 10.1.0.0/24");
        assert!(route.lines().any(|line| line.trim() == "Local"), "{route}");
        assert!(route.contains("localpref 100, valid, internal"), "{route}");
        let paths = node.handle.routes().await.unwrap();
        let path = paths.iter().find(|path| path.prefix == prefix(OTHERS[0])).unwrap();
        assert_eq!((path.as_path.as_str(), path.local_pref), ("", Some(100)));
    });
}
