use super::with_bird::{NEIGHBOUR, with_ttl};
use crate::lab::gobgp::with_gobgp_and;

#[test]
fn both_sides_check_whoever_connects() {
    for passive in [true, false] {
        let options = "|[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255";
        with_gobgp_and(options, 65001, with_ttl(NEIGHBOUR, passive), async |_, _| {});
    }
}
