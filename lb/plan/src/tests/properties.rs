use proptest::{collection, prelude::*};
use viaduct_net::LossCause;

use super::*;

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    (0..6_u8, any::<bool>(), 0..3_u8, 0..4_u8).prop_map(|(last, v4, node, state)| {
        let address = if v4 { format!("10.244.0.{last}") } else { format!("fd00:244::{last}") };
        Endpoint {
            ready: state < 2,
            serving: state < 3,
            terminating: state >= 2,
            ..endpoint(&address, &format!("node-{node}"))
        }
    })
}

prop_compose! {
    fn any_service()(
        number in 0..3_u8,
        endpoints in collection::vec(any_endpoint(), 0..6),
        internal_local in any::<bool>(),
        external_local in any::<bool>(),
        vip in any::<bool>(),
        node_port in any::<bool>(),
    ) -> Service {
        let policy = |local| if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
        let mut service = service(&endpoints);
        service.cluster_ips = vec![ip(&format!("10.96.0.{number}")), ip(&format!("fd00:96::{number}"))];
        service.internal_traffic_policy = policy(internal_local);
        service.external_traffic_policy = policy(external_local);
        if !vip {
            service.vips.clear();
        }
        service.ports[0].node_port = node_port.then_some(30080 + u16::from(number));
        service
    }
}

prop_compose! {
    fn any_snapshot()(
        services in collection::btree_map("[a-c]", any_service(), 0..4),
    ) -> Snapshot {
        let all: Vec<(&str, Service)> =
            services.iter().map(|(name, service)| (name.as_str(), service.clone())).collect();
        snapshot(&all)
    }
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Change(Snapshot),
    /// Milliseconds that go by.
    Wait(u64),
    Restart,
    /// A write fails after so many; the daemon starts afresh.
    Fail(Snapshot, usize),
    /// The nodes that are lost from now on, and no others.
    Lose(BTreeMap<String, LossCause>),
}

fn any_nodes() -> impl Strategy<Value = BTreeMap<String, LossCause>> {
    collection::btree_map("node-[0-3]", Just(LossCause::Bfd), 0..4)
}

pub(super) fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_snapshot().prop_map(Step::Change),
        3 => (0..1500_u64).prop_map(Step::Wait),
        1 => Just(Step::Restart),
        1 => (any_snapshot(), 0..8_usize).prop_map(|(all, after)| Step::Fail(all, after)),
        5 => any_nodes().prop_map(Step::Lose),
    ]
}

type Tables = BTreeMap<ServiceKey, Vec<Option<BackendKey>>>;

fn tables(maps: &FakeMaps) -> Tables {
    maps.services.keys().map(|key| (*key, maps.table(key).unwrap())).collect()
}

/// What the balancer's daemon does when a node is lost: what is urgent, and then everything.
fn hasten(
    lab: &mut Lab,
    snapshot: &Snapshot,
    masks: &Masks,
    current: &mut Desired,
    lost: &BTreeSet<String>,
) -> Result<(), TestCaseError> {
    let keys = current.hasten(snapshot, &node(), masks, lost);
    let operations = lab.balancer.plan_frontends(current, &keys, lab.now);
    prop_assert!(write(lab, current, &operations)?);
    let whole = expand(snapshot, &node(), masks);
    // No frontend has to wait for the rest.
    prop_assert_eq!(&current.frontends, &whole.frontends);
    for key in &keys {
        let table = lab.maps.table(key).unwrap_or_default();
        let wanted: BTreeSet<_> = whole.frontends[key].backends.iter().copied().collect();
        prop_assert!(wanted.iter().all(|backend| lab.maps.takes_flows(backend)));
        prop_assert_eq!(table.into_iter().flatten().collect::<BTreeSet<_>>(), wanted);
    }
    *current = whole;
    Ok(())
}

/// Applies a plan write by write, and looks at the maps as a program would after each.
fn apply(lab: &mut Lab, desired: &Desired) -> Result<bool, TestCaseError> {
    let operations = lab.balancer.plan(desired, lab.now).operations;
    write(lab, desired, &operations)
}

pub(super) fn write(
    lab: &mut Lab,
    desired: &Desired,
    operations: &[Operation],
) -> Result<bool, TestCaseError> {
    let before = tables(&lab.maps);
    for operation in operations {
        if lab.maps.apply(operation).is_err() {
            return Ok(false);
        }
        for (key, table) in tables(&lab.maps) {
            let new = desired.frontends.get(&key).map_or(&[][..], |frontend| &frontend.backends);
            for entry in table {
                prop_assert!(entry.is_some(), "{:?} leads nowhere after {:?}", key, operation);
                let old = before.get(&key).is_some_and(|table| table.contains(&entry));
                let is_new = entry.is_some_and(|entry| new.contains(&entry));
                prop_assert!(old || is_new, "{:?} strayed after {:?}", key, operation);
            }
        }
    }
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_ends_where_a_fresh_start_would(
        steps in collection::vec(any_step(), 1..12),
        last in any_snapshot(),
        lost in any_nodes(),
    ) {
        // Room for all tables that wait to be taken away.
        let mut lab = Lab::new(Limits { places: 1 << 17, ..LIMITS });
        let mut keys_of_ids: BTreeMap<u32, BackendKey> = BTreeMap::new();
        let mut current = Desired::default();
        let mut snapshot = Snapshot::default();
        let mut masks = Masks::default();
        for step in steps {
            lab.now += Duration::from_millis(1);
            match step {
                Step::Change(new) => {
                    snapshot = new;
                    current = expand(&snapshot, &node(), &masks);
                    prop_assert!(apply(&mut lab, &current)?);
                }
                Step::Wait(millis) => {
                    lab.now += Duration::from_millis(millis);
                    masks.handle_timeout(lab.now);
                    current = expand(&snapshot, &node(), &masks);
                    prop_assert!(apply(&mut lab, &current)?);
                }
                Step::Restart => lab.restart(),
                Step::Lose(nodes) => {
                    let changes = masks.handle_lost(&nodes, lab.now);
                    if changes.unmasked.is_empty() {
                        hasten(&mut lab, &snapshot, &masks, &mut current, &changes.masked)?;
                    } else {
                        current = expand(&snapshot, &node(), &masks);
                    }
                    prop_assert!(apply(&mut lab, &current)?);
                }
                Step::Fail(new, after) => {
                    snapshot = new;
                    current = expand(&snapshot, &node(), &masks);
                    lab.maps.fail_after = Some(after);
                    let whole = apply(&mut lab, &current)?;
                    lab.maps.fail_after = None;
                    if !whole {
                        lab.now += Balancer::grace();
                        lab.restart();
                    }
                }
            }
            for (id, value) in &lab.maps.backends {
                let key = BackendKey::new(value.address.into(), u16::from_be(value.port_be));
                let known = *keys_of_ids.entry(*id).or_insert(key);
                prop_assert_eq!(known, key, "id {} was given out twice", id);
            }
        }
        masks.handle_lost(&lost, lab.now);
        let desired = expand(&last, &node(), &masks);
        let unmasked = expand(&last, &node(), &Masks::default());
        prop_assert_eq!(&desired.vips, &unmasked.vips);
        for (key, frontend) in &desired.frontends {
            let all = &unmasked.frontends[key].backends;
            prop_assert_eq!(frontend.backends.is_empty(), all.is_empty(), "{:?}", key);
            prop_assert!(frontend.backends.iter().all(|backend| all.contains(backend)));
        }
        prop_assert!(apply(&mut lab, &desired)?);
        lab.settle(&desired);

        let mut fresh = Lab::new(LIMITS);
        fresh.settle(&desired);
        prop_assert_eq!(tables(&lab.maps), tables(&fresh.maps));
        prop_assert_eq!(&lab.maps.addresses, &fresh.maps.addresses);
        for (key, frontend) in &desired.frontends {
            prop_assert_eq!(lab.maps.services[key].flags, frontend.flags);
            prop_assert!(lab.balancer.is_programmed(key, frontend));
            prop_assert!(frontend.backends.iter().all(|backend| lab.maps.takes_flows(backend)));
        }
        // Those that take flows are the same; of others the older maps may hold more.
        for value in lab.maps.backends.values() {
            let key = BackendKey::new(value.address.into(), u16::from_be(value.port_be));
            prop_assert_eq!(lab.maps.takes_flows(&key), fresh.maps.takes_flows(&key), "{}", key);
        }
        let done = lab.maps.done.len();
        lab.restart();
        prop_assert_eq!(lab.plan(&desired).operations, []);
        prop_assert_eq!(lab.maps.done.len(), done);
    }
}
