use super::with_bird::with_local_as;
use crate::lab::setup::with_frr;

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
