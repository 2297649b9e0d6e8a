use super::with_bird::{NEIGHBOUR, with_ttl};
use crate::lab::other::{Maker, Theirs, with_other};

#[test]
fn both_sides_check() {
    for (maker, neighbour, passive) in [
        (Maker::OpenBgpd, "ttl-security yes\npassive", false),
        (Maker::OpenBgpd, "ttl-security yes", true),
        (Maker::ExaBgp, "outgoing-ttl 255; incoming-ttl 255;", true),
    ] {
        let ours = with_ttl(NEIGHBOUR, passive);
        with_other(Theirs::new(maker, neighbour), ours, async |_, _| {});
    }
}
