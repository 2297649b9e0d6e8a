use proptest::{collection, prelude::*, sample};

use super::*;
use crate::METRIC;

fn any_hop() -> impl Strategy<Value = NextHop> {
    let four = (1..4_u8, 1..3_u32).prop_map(|(last, link)| hop(&format!("192.0.2.{last}"), link));
    let six = (1..4_u8, 1..3_u32).prop_map(|(last, link)| hop(&format!("fe80::{last}"), link));
    prop_oneof![four, six]
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    let four = (0..6_u8).prop_map(|third| prefix(&format!("10.0.{third}.0/24")));
    let six = (0..6_u8).prop_map(|third| prefix(&format!("2001:db8:{third}::/48")));
    prop_oneof![four, six]
}

fn any_id() -> impl Strategy<Value = NexthopId> {
    (0..8_u32).prop_map(|offset| NexthopId(NEXTHOP_IDS.start.0 + offset))
}

prop_compose! {
    fn any_desired()(
        bgp in collection::btree_map(any_prefix(), collection::btree_set(any_hop(), 0..4), 0..8),
        pods in collection::btree_map(any_prefix(), sample::select(vec!["vd0", "vd1"]), 0..3),
        blocks in collection::btree_set(any_prefix(), 0..3),
        lost in collection::btree_set(any_hop(), 0..2),
        bgp_complete in any::<bool>(),
        local_complete in any::<bool>(),
    ) -> Desired {
        Desired {
            bgp: bgp.into_iter().map(|(key, set)| (key, set.into_iter().collect())).collect(),
            pods: pods.into_iter().map(|(key, name)| (key, name.to_owned())).collect(),
            blocks,
            lost,
            bgp_complete,
            local_complete,
        }
    }
}

prop_compose! {
    /// A state as any predecessor, or anyone else, may have left it: objects and groups with
    /// doubles, routes with other metrics and other shapes. Only what the kernel allows.
    fn any_kernel()(
        objects in collection::vec((any_id(), any_hop()), 0..6),
        groups in collection::vec((any_id(), collection::btree_set(any_id(), 1..4)), 0..5),
        routes in collection::vec((any_prefix(), 0..10_u32, any_id(), any::<bool>()), 0..12),
        down in proptest::option::of(1..3_u32),
    ) -> FakeKernel {
        let mut kernel = kernel();
        let mut operations = Vec::new();
        for (id, next_hop) in objects {
            operations.push(Operation::PutNexthop { id, next_hop });
        }
        for (id, members) in groups {
            operations.push(Operation::PutGroup { id, members });
        }
        for (prefix, shape, id, ours) in routes {
            let metric = if ours { METRIC } else { 7 };
            let via = match shape {
                0 => Via::Blackhole,
                1 => Via::Interface(IfIndex(3)),
                _ => Via::Nexthop(id),
            };
            operations.push(Operation::PutRoute { key: RouteKey { prefix, metric }, via });
        }
        // What is against the rules is refused by the fake and so left out.
        kernel.apply(&operations);
        if let Some(index) = down {
            kernel.link_down(IfIndex(index));
        }
        kernel.history.clear();
        kernel.tried.clear();
        kernel
    }
}

/// What the routes that can be had should lead to, said in another way than the planner's.
fn expected(desired: &Desired, state: &Snapshot) -> BTreeMap<Prefix, String> {
    let up = |hop: &&NextHop| state.links[&hop.interface].carrier;
    let mut expected = BTreeMap::new();
    for (prefix, all) in &desired.bgp {
        if all.is_empty() {
            expected.insert(*prefix, "blackhole".to_owned());
            continue;
        }
        let six = prefix.address().is_ipv6();
        let fits = |hop: &&NextHop| !six || hop.address.is_ipv6();
        let usable: BTreeSet<NextHop> = all.iter().filter(fits).filter(up).copied().collect();
        let alive: BTreeSet<NextHop> = &usable - &desired.lost;
        let chosen = if alive.is_empty() { usable } else { alive };
        if !chosen.is_empty() {
            let texts: Vec<String> =
                chosen.iter().map(|hop| format!("{}%{}", hop.address, hop.interface)).collect();
            expected.insert(*prefix, texts.join(","));
        }
    }
    for prefix in &desired.blocks {
        expected.insert(*prefix, "blackhole".to_owned());
    }
    for (prefix, interface) in &desired.pods {
        if interface == "vd0" {
            expected.insert(*prefix, "dev 3".to_owned());
        } else {
            expected.remove(prefix);
        }
    }
    expected
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn any_state_converges_without_a_gap(kernel in any_kernel(), desired in any_desired()) {
        let mut kernel = kernel;
        let before = kernel.state.clone();
        let mut picture = before.clone();
        let outcome = converge(&mut kernel, &mut picture, &desired);
        prop_assert_eq!(&outcome.failed, &[]);
        prop_assert_eq!(&picture, &kernel.state);

        let after = resolved(&kernel.state);
        let expected = expected(&desired, &before);
        for (prefix, lead) in &expected {
            prop_assert_eq!(after.get(prefix), Some(lead), "{}", prefix);
        }
        if desired.bgp_complete && desired.local_complete {
            prop_assert_eq!(&after, &expected);
            prop_assert!(kernel.state.routes.keys().all(|key| key.metric == METRIC));
            for (id, nexthop) in &kernel.state.nexthops {
                let used = kernel.state.routes.values().any(|via| *via == Via::Nexthop(*id))
                    || kernel.state.nexthops.values().any(
                        |other| matches!(other, Nexthop::Group(members) if members.contains(id)));
                prop_assert!(used, "{} {:?}", id, nexthop);
            }
        } else if !desired.bgp_complete && !desired.local_complete {
            for key in before.routes.keys() {
                prop_assert!(kernel.state.routes.contains_key(key), "{} is gone", key.prefix);
            }
        }

        // No gap, and never over next hops that neither the old nor the new route has.
        for state in &kernel.history {
            for key in before.routes.keys().filter(|key| kernel.state.routes.contains_key(key)) {
                prop_assert!(state.routes.contains_key(key), "{} had a gap", key.prefix);
            }
            for (key, via) in &state.routes {
                let Via::Nexthop(id) = via else { continue };
                let now = state.resolve(*id).unwrap_or_default();
                let of = |state: &Snapshot| match state.routes.get(key) {
                    Some(Via::Nexthop(id)) => state.resolve(*id).unwrap_or_default(),
                    _ => BTreeSet::new(),
                };
                let either = &of(&before) | &of(&kernel.state);
                prop_assert!(now.is_subset(&either), "{} strayed to {:?}", key.prefix, now);
            }
        }

        // Level-triggered: another look finds nothing to do.
        let tried = kernel.tried.len();
        let again = converge(&mut kernel, &mut picture, &desired);
        prop_assert_eq!(again.waiting, outcome.waiting);
        prop_assert_eq!(kernel.tried.len(), tried);
    }

    #[test]
    fn operations_done_twice_leave_what_they_left_once(
        kernel in any_kernel(),
        desired in any_desired(),
    ) {
        let mut state = kernel.state.clone();
        for operation in plan(&desired, &kernel.state).operations {
            state.apply(&operation);
            let once = state.clone();
            state.apply(&operation);
            prop_assert_eq!(&once, &state);
        }
    }
}
