use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use viaduct_net::{IfIndex, NextHop, Prefix};

use crate::{
    Desired, Kernel, NEXTHOP_IDS, Nexthop, NexthopId, Operation, RouteKey, Snapshot, Via, Waiting,
    converge,
    fake::{FakeKernel, resolved},
    lose, plan, rows,
};

mod properties;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn hop(address: &str, interface: u32) -> NextHop {
    NextHop { address: address.parse().unwrap(), interface: IfIndex(interface) }
}

fn hops(all: &[NextHop]) -> Arc<[NextHop]> {
    all.into()
}

fn complete(bgp: &[(&str, &[NextHop])]) -> Desired {
    Desired {
        bgp: bgp.iter().map(|(text, all)| (prefix(text), hops(all))).collect(),
        bgp_complete: true,
        local_complete: true,
        ..Desired::default()
    }
}

fn kernel() -> FakeKernel {
    FakeKernel::with_links([(1, "eth0"), (2, "eth1"), (3, "vd0")])
}

/// Converges and asserts that nothing was refused and that nothing is left to do.
fn settle(kernel: &mut FakeKernel, desired: &Desired) -> Vec<Operation> {
    let mut picture = kernel.snapshot().unwrap();
    let outcome = converge(kernel, &mut picture, desired);
    assert_eq!(outcome.failed, []);
    assert_eq!(picture, kernel.state);
    assert_eq!(plan(desired, &kernel.state).operations, []);
    outcome.applied
}

#[test]
fn routes_with_the_same_next_hops_share_a_group() {
    let mut kernel = kernel();
    let both = [hop("192.0.2.1", 1), hop("192.0.2.2", 2)];
    let desired = complete(&[
        ("10.0.0.0/26", &both),
        ("10.0.0.64/26", &both),
        ("2001:db8::/122", &[hop("fe80::1", 1)]),
    ]);
    settle(&mut kernel, &desired);
    let vias: Vec<Via> = kernel.state.routes.values().copied().collect();
    assert_eq!(vias[0], vias[1]);
    assert_eq!(kernel.state.nexthops.len(), 5);
    assert!(kernel.state.nexthops.keys().all(|id| NEXTHOP_IDS.contains(id)));
    assert_eq!(resolved(&kernel.state)[&prefix("10.0.0.0/26")], "192.0.2.1%1,192.0.2.2%2");
}

#[test]
fn a_new_daemon_finds_nothing_to_do() {
    let mut kernel = kernel();
    let desired = complete(&[("10.0.0.0/26", &[hop("192.0.2.1", 1), hop("192.0.2.2", 2)])]);
    settle(&mut kernel, &desired);
    let starting = Desired::default();
    assert_eq!(settle(&mut kernel, &starting), []);
    assert_eq!(settle(&mut kernel, &desired), []);
    settle(&mut kernel, &complete(&[]));
    assert!(kernel.state.routes.is_empty() && kernel.state.nexthops.is_empty());
}

#[test]
fn a_lost_neighbour_is_one_deleted_object() {
    let mut kernel = kernel();
    let (a, b, c) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2), hop("192.0.2.3", 1));
    let mut desired = complete(&[
        ("10.0.0.0/26", &[a, b]),
        ("10.0.0.64/26", &[a, b]),
        ("10.0.0.128/26", &[a, b, c]),
        ("10.0.0.192/26", &[b]),
    ]);
    settle(&mut kernel, &desired);
    let lost = kernel.state.nexthops.iter().find(|(_, one)| **one == Nexthop::Via(a));
    let id = *lost.unwrap().0;
    desired.lost.insert(a);
    assert_eq!(lose(a, &kernel.state), Some(Operation::DeleteNexthop { id }));
    assert_eq!(lose(b, &kernel.state), None, "a group has no other member");
    assert_eq!(settle(&mut kernel, &desired), [Operation::DeleteNexthop { id }]);
    assert_eq!(resolved(&kernel.state)[&prefix("10.0.0.128/26")], "192.0.2.2%2,192.0.2.3%1");
    // When the speaker says the same by its routes, nothing is left to do.
    desired = complete(&[
        ("10.0.0.0/26", &[b]),
        ("10.0.0.64/26", &[b]),
        ("10.0.0.128/26", &[b, c]),
        ("10.0.0.192/26", &[b]),
    ]);
    assert_eq!(settle(&mut kernel, &desired), []);
}

#[test]
fn a_sole_member_is_swapped_before_it_is_deleted() {
    let mut kernel = kernel();
    let (a, b) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2));
    settle(&mut kernel, &complete(&[("10.0.0.0/26", &[a]), ("10.0.0.64/26", &[a])]));
    let group = kernel.state.routes[&RouteKey::ours(prefix("10.0.0.0/26"))];
    let done = settle(&mut kernel, &complete(&[("10.0.0.0/26", &[b]), ("10.0.0.64/26", &[b])]));
    assert!(
        matches!(
            done[..],
            [
                Operation::PutNexthop { .. },
                Operation::PutGroup { .. },
                Operation::DeleteNexthop { .. }
            ]
        ),
        "{done:?}"
    );
    assert_eq!(kernel.state.routes[&RouteKey::ours(prefix("10.0.0.0/26"))], group);
}

#[test]
fn a_lost_sole_neighbour_stays_for_want_of_a_better() {
    let mut kernel = kernel();
    let mut desired = complete(&[("10.0.0.0/26", &[hop("192.0.2.1", 1)])]);
    settle(&mut kernel, &desired);
    desired.lost.insert(hop("192.0.2.1", 1));
    assert_eq!(settle(&mut kernel, &desired), []);
}

#[test]
fn nothing_is_removed_before_all_is_known() {
    let mut kernel = kernel();
    let mut before = complete(&[("10.0.0.0/26", &[hop("192.0.2.1", 1)])]);
    before.blocks.insert(prefix("10.0.1.0/26"));
    before.pods.insert(prefix("10.0.1.7"), "vd0".to_owned());
    settle(&mut kernel, &before);
    let partial = Desired {
        bgp: BTreeMap::from([(prefix("10.0.0.64/26"), hops(&[hop("192.0.2.2", 2)]))]),
        ..Desired::default()
    };
    settle(&mut kernel, &partial);
    assert_eq!(kernel.state.routes.len(), 4);
    settle(&mut kernel, &Desired { bgp_complete: true, ..partial.clone() });
    assert_eq!(kernel.state.routes.len(), 3, "the block and the pod stay");
    settle(&mut kernel, &Desired { bgp_complete: true, local_complete: true, ..partial });
    assert_eq!(kernel.state.routes.len(), 1);
}

#[test]
fn a_pod_waits_for_its_interface_and_stands_before_its_block() {
    let mut kernel = kernel();
    kernel.state.links.remove(&IfIndex(3));
    let mut desired = complete(&[]);
    desired.blocks.insert(prefix("10.0.1.0/26"));
    desired.blocks.insert(prefix("10.0.2.1/32"));
    for pod in ["10.0.1.7", "2001:db8::7", "10.0.2.1"] {
        desired.pods.insert(prefix(pod), "vd0".to_owned());
    }
    let waiting = plan(&desired, &kernel.state).waiting;
    assert_eq!(waiting.len(), 3);
    assert_eq!(waiting[&prefix("10.0.1.7")], Waiting::NoInterface);
    settle(&mut kernel, &desired);
    assert_eq!(kernel.state.routes.len(), 1);

    kernel.state.links.insert(IfIndex(9), crate::fake::link("vd0"));
    settle(&mut kernel, &desired);
    let via = kernel.state.routes[&RouteKey::ours(prefix("2001:db8::7"))];
    assert_eq!(via, Via::Interface(IfIndex(9)));
    let via = kernel.state.routes[&RouteKey::ours(prefix("10.0.2.1"))];
    assert_eq!(via, Via::Interface(IfIndex(9)));
}

#[test]
fn a_link_that_comes_back_gets_its_routes_back() {
    let mut kernel = kernel();
    let desired = complete(&[
        ("10.0.0.0/26", &[hop("192.0.2.1", 1), hop("192.0.2.2", 2)]),
        ("2001:db8::/122", &[hop("fe80::1", 1)]),
    ]);
    settle(&mut kernel, &desired);
    let whole = resolved(&kernel.state);
    kernel.link_down(IfIndex(1));
    settle(&mut kernel, &desired);
    assert_eq!(resolved(&kernel.state).len(), 1);
    let waiting = plan(&desired, &kernel.state).waiting;
    assert_eq!(waiting[&prefix("2001:db8::/122")], Waiting::LinkDown);
    kernel.link_up(IfIndex(1));
    settle(&mut kernel, &desired);
    assert_eq!(resolved(&kernel.state), whole);
}

#[test]
fn an_ipv6_route_takes_no_ipv4_next_hop_but_the_reverse_is_fine() {
    let mut kernel = kernel();
    let desired = complete(&[
        ("10.0.0.0/26", &[hop("fe80::1", 1)]),
        ("2001:db8::/122", &[hop("192.0.2.1", 1)]),
    ]);
    let waiting = plan(&desired, &kernel.state).waiting;
    assert_eq!(waiting, BTreeMap::from([(prefix("2001:db8::/122"), Waiting::Family)]));
    settle(&mut kernel, &desired);
    assert_eq!(kernel.state.routes.len(), 1);
}

#[test]
fn a_route_that_cannot_be_moved_keeps_its_old_group() {
    let mut kernel = kernel();
    let (a, b) = (hop("192.0.2.1", 1), hop("192.0.2.2", 2));
    settle(&mut kernel, &complete(&[("10.0.0.0/26", &[a]), ("10.0.0.64/26", &[a])]));
    kernel.refused.insert(prefix("10.0.0.0/26"));
    let mut picture = kernel.snapshot().unwrap();
    let desired = complete(&[("10.0.0.0/26", &[b]), ("10.0.0.64/26", &[a, b])]);
    let outcome = converge(&mut kernel, &mut picture, &desired);
    assert_eq!(outcome.failed.len(), 1);
    assert_eq!(resolved(&kernel.state)[&prefix("10.0.0.0/26")], "192.0.2.1%1");
    assert_eq!(resolved(&kernel.state)[&prefix("10.0.0.64/26")], "192.0.2.1%1,192.0.2.2%2");
}

#[test]
fn ids_of_others_are_neither_used_nor_freed() {
    let mut kernel = kernel();
    kernel.state.nexthops.insert(NEXTHOP_IDS.start, Nexthop::Foreign);
    kernel.state.nexthops.insert(NexthopId(NEXTHOP_IDS.start.0 + 1), Nexthop::Unknown);
    settle(&mut kernel, &complete(&[("10.0.0.0/26", &[hop("192.0.2.1", 1)])]));
    assert_eq!(kernel.state.nexthops[&NEXTHOP_IDS.start], Nexthop::Foreign);
    assert!(!kernel.state.nexthops.contains_key(&NexthopId(NEXTHOP_IDS.start.0 + 1)));
}

#[test]
fn when_the_ids_are_used_up_the_route_waits() {
    let mut kernel = kernel();
    let all = NEXTHOP_IDS.start.0..NEXTHOP_IDS.end.0;
    kernel.state.nexthops = all.map(|id| (NexthopId(id), Nexthop::Foreign)).collect();
    let plan = plan(&complete(&[("10.0.0.0/26", &[hop("192.0.2.1", 1)])]), &kernel.state);
    assert_eq!(plan.operations, []);
    assert_eq!(plan.waiting, BTreeMap::from([(prefix("10.0.0.0/26"), Waiting::NoIds)]));
}

#[test]
fn rows_show_what_is_wanted_beside_what_is_there() {
    let mut kernel = kernel();
    settle(&mut kernel, &complete(&[("10.0.0.0/26", &[hop("192.0.2.1", 1)])]));
    let mut desired = complete(&[("10.0.0.64/26", &[hop("192.0.2.2", 2)])]);
    desired.pods.insert(prefix("10.0.1.7"), "vd0".to_owned());
    let rows = rows(&desired, &kernel.state);
    let texts: Vec<String> = rows
        .iter()
        .map(|row| {
            let interfaces = row.interfaces.join(",");
            format!("{} {interfaces} {} {}", row.prefix, row.wanted, row.installed)
        })
        .collect();
    assert_eq!(
        texts,
        [
            "10.0.0.0/26 eth0 false true",
            "10.0.0.64/26 eth1 true false",
            "10.0.1.7/32 vd0 true false"
        ]
    );
}
