use super::with_bird::{NEIGHBOUR, with_ttl};
use crate::lab::setup::with_frr;

#[test]
fn both_sides_check_whoever_connects() {
    for (options, passive) in
        [("ttl-security hops 1\npassive", false), ("ttl-security hops 1", true)]
    {
        with_frr(options, "", with_ttl(NEIGHBOUR, passive), async |_, _| {});
    }
}
