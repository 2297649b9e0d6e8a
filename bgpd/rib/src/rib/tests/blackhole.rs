//! What peers want discarded (RFC 7999).

use bgp_policy::{Action, Matches, PrefixMatch, Rule};
use bgp_wire::Community;

use super::*;
use crate::Ingress;

const ACCEPTS: Ingress = Ingress {
    role: None,
    allow_own_as: 0,
    local_as: None,
    prepend_local_as: false,
    accept_blackhole: true,
};

fn marked(asns: &[u32]) -> PathAttributes {
    PathAttributes { communities: vec![Community::BLACKHOLE], ..path(asns) }
}

fn communities(rib: &Rib, text: &str) -> Vec<Community> {
    rib.paths_of(prefix(text))[0].attributes.open().communities
}

#[test]
fn only_a_peer_that_may_has_packets_discarded() {
    let mut rib = rib();
    let may = rib.add_peer(Peer { ingress: ACCEPTS, ..peer("192.0.2.1", 65001) });
    let may_not = rib.add_peer(peer("192.0.2.2", 65002));
    announce(&mut rib, may, &marked(&[65001]), "192.0.2.1", &["10.1.0.7/32"]);
    announce(&mut rib, may, &path(&[65001]), "192.0.2.1", &["10.1.0.0/16"]);
    announce(&mut rib, may_not, &marked(&[65002]), "192.0.2.2", &["10.2.0.7/32"]);
    let changes = rib.settle();
    assert_eq!(fib(&changes), {
        ["10.1.0.0/16 -> 192.0.2.1%1", "10.1.0.7/32 -> ", "10.2.0.7/32 -> 192.0.2.2%1"]
    });
    assert!(changes.fib[1].route.as_ref().unwrap().is_discard());
    // RFC 7999 §3.2: no other AS is told, and what came in is still known.
    assert_eq!(communities(&rib, "10.1.0.7/32"), [Community::BLACKHOLE, Community::NO_EXPORT]);
    assert_eq!(communities(&rib, "10.2.0.7/32"), [Community::BLACKHOLE]);
    let view = &rib.paths_of(prefix("10.1.0.7/32"))[0];
    assert_eq!(view.received.unwrap().0.open().communities, [Community::BLACKHOLE]);
    // Withdrawn, nothing is discarded any more.
    rib.withdraw(may, &[nlri("10.1.0.7/32")]);
    assert_eq!(fib(&rib.settle()), ["10.1.0.7/32 -> nothing"]);
}

#[test]
fn a_peer_that_keeps_it_to_us_is_left_as_it_is() {
    let mut rib = rib();
    let may = rib.add_peer(Peer { ingress: ACCEPTS, ..peer("192.0.2.1", 65001) });
    for quiet in [Community::NO_ADVERTISE, Community::NO_EXPORT] {
        let mut attributes = marked(&[65001]);
        attributes.communities.push(quiet);
        announce(&mut rib, may, &attributes, "192.0.2.1", &["10.1.0.7/32"]);
        rib.settle();
        assert_eq!(communities(&rib, "10.1.0.7/32"), [Community::BLACKHOLE, quiet]);
    }
}

#[test]
fn it_may_be_agreed_on_and_no_more_while_the_session_runs() {
    let mut rib = rib();
    let id = rib.add_peer(peer("192.0.2.1", 65001));
    // One of the two is the same path whether it is discarded or not.
    let mut quiet = marked(&[65001]);
    quiet.communities.push(Community::NO_EXPORT);
    announce(&mut rib, id, &marked(&[65001]), "192.0.2.1", &["10.1.0.7/32"]);
    announce(&mut rib, id, &quiet, "192.0.2.1", &["10.1.0.8/32"]);
    rib.settle();
    rib.set_ingress(id, ACCEPTS);
    assert_eq!(fib(&rib.settle()), ["10.1.0.7/32 -> ", "10.1.0.8/32 -> "]);
    rib.set_ingress(id, Ingress::default());
    let again = ["10.1.0.7/32 -> 192.0.2.1%1", "10.1.0.8/32 -> 192.0.2.1%1"];
    assert_eq!(fib(&rib.settle()), again);
    assert_eq!(communities(&rib, "10.1.0.7/32"), [Community::BLACKHOLE]);
    rib.set_ingress(id, ACCEPTS);
    rib.settle();
    rib.peer_down(id);
    assert_eq!(fib(&rib.settle()), ["10.1.0.7/32 -> nothing", "10.1.0.8/32 -> nothing"]);
}

/// RFC 7999 §3.3: for what the peer may announce, which its import policy says.
#[test]
fn what_policy_refuses_is_not_discarded() {
    let mut rib = rib();
    let within = PrefixMatch { prefix: prefix("10.1.0.0/16"), min_len: 32, max_len: 32 };
    let matches = Matches { prefixes: [within].into_iter().collect(), ..Matches::default() };
    let import = Policy::new([Rule::new(matches, Action::Accept)]);
    let may = rib.add_peer(Peer { ingress: ACCEPTS, import, ..peer("192.0.2.1", 65001) });
    let all = ["10.1.0.7/32", "10.1.1.0/24", "10.2.0.7/32", "0.0.0.0/0"];
    announce(&mut rib, may, &marked(&[65001]), "192.0.2.1", &all);
    assert_eq!(fib(&rib.settle()), ["10.1.0.7/32 -> "]);
    assert_eq!(reasons(&rib, "10.2.0.7/32"), [Reason::ImportPolicy]);
}

/// A way and none are no ECMP, and what is discarded is no way to anywhere else.
#[test]
fn nothing_leads_over_what_is_discarded() {
    let mut rib = Rib::new(RibConfig {
        decision: crate::DecisionRules {
            multipath: 16,
            multipath_relax: true,
            ..config().decision
        },
        ..config()
    });
    rib.set_underlay([links(), vec![via("0.0.0.0/0", "192.0.2.9", 1, 100)]].concat().into());
    let may = rib.add_peer(Peer { ingress: ACCEPTS, ..peer("192.0.2.1", 65001) });
    let may_not = rib.add_peer(peer("192.0.2.2", 65002));
    let internal = rib.add_peer(peer("192.0.2.3", LOCAL_AS));
    announce(&mut rib, may, &marked(&[65001]), "192.0.2.1", &["10.1.0.7/32", "10.1.0.8/32"]);
    announce(&mut rib, may_not, &path(&[65002]), "192.0.2.2", &["10.1.0.7/32"]);
    announce(&mut rib, internal, &path(&[]), "10.1.0.8", &["10.3.0.0/16"]);
    announce(&mut rib, internal, &path(&[]), "10.1.0.9", &["10.4.0.0/16"]);
    assert_eq!(fib(&rib.settle()), {
        ["10.1.0.7/32 -> ", "10.1.0.8/32 -> ", "10.4.0.0/16 -> 192.0.2.9%1"]
    });
    assert_eq!(reasons(&rib, "10.3.0.0/16"), [Reason::NextHopUnreachable]);
    rib.withdraw(may, &[nlri("10.1.0.7/32")]);
    assert_eq!(fib(&rib.settle()), ["10.1.0.7/32 -> 192.0.2.2%1"]);
    // The other way round: the better path stands alone.
    announce(&mut rib, may, &marked(&[65001, 65009]), "192.0.2.1", &["10.1.0.7/32"]);
    assert_eq!(fib(&rib.settle()), Vec::<String>::new());
}
