//! What follows the changes is what comes out when all is worked out anew.

use proptest::{collection, prelude::*, test_runner::TestCaseError};

use super::{
    properties::{Step, any_step, write},
    *,
};

/// Beside the lab that plans all anew, one that follows.
struct Pair {
    whole: Lab,
    follower: Lab,
    desired: Desired,
    snapshot: Snapshot,
    masks: Masks,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        Self {
            whole: Lab::new(limits),
            follower: Lab::new(limits),
            desired: Desired::default(),
            snapshot: Snapshot::default(),
            masks: Masks::default(),
        }
    }

    /// Services that are as they were stay the same in memory, as those who tell of them keep it.
    fn tell(&mut self, mut snapshot: Snapshot) {
        for (name, service) in &mut snapshot.services {
            if let Some(old) = self.snapshot.services.get(name).filter(|old| *old == service) {
                *service = old.clone();
            }
        }
        self.snapshot = snapshot;
    }

    fn wait(&mut self, time: Duration) {
        self.whole.now += time;
        self.follower.now += time;
        self.masks.handle_timeout(self.whole.now);
    }

    fn plan(&mut self) -> Result<(), TestCaseError> {
        let whole = expand(&self.snapshot, &node(), &self.masks);
        self.desired.follow(&self.snapshot, &node(), &self.masks);
        same(&self.desired, &whole)?;
        let plan = self.whole.plan(&whole);
        let changes = self.desired.take_changes();
        let Lab { balancer, now, .. } = &mut self.follower;
        let mut operations = Vec::new();
        let mut apply = |operation| operations.push(operation);
        let problems = balancer.plan_changes(&self.desired, &changes, *now, &mut apply);
        // It may do less, but nothing else, and in the same order.
        prop_assert_eq!(&problems, &plan.problems);
        prop_assert!(write(&mut self.follower, &self.desired, &operations)?);
        prop_assert_eq!(&operations, &plan.operations);
        prop_assert_eq!(self.follower.balancer.poll_timeout(), self.whole.balancer.poll_timeout());
        Ok(())
    }

    /// What is urgent comes before, and all else after.
    fn lose(
        &mut self,
        lost: &BTreeMap<String, viaduct_net::LossCause>,
    ) -> Result<(), TestCaseError> {
        let changes = self.masks.handle_lost(lost, self.whole.now);
        if !changes.unmasked.is_empty() {
            return Ok(());
        }
        let mut before = self.desired.clone();
        let keys = self.desired.hasten(&self.snapshot, &node(), &self.masks, &changes.masked);
        before.hasten(&self.snapshot, &node(), &self.masks, &changes.masked);
        for lab in [&mut self.whole, &mut self.follower] {
            let operations = lab.balancer.plan_frontends(&self.desired, &keys, lab.now);
            prop_assert!(write(lab, &before, &operations)?);
        }
        Ok(())
    }
}

fn same(one: &Desired, other: &Desired) -> Result<(), TestCaseError> {
    prop_assert_eq!(&one.frontends, &other.frontends);
    prop_assert_eq!(&one.addresses, &other.addresses);
    prop_assert_eq!(&one.vips, &other.vips);
    prop_assert_eq!(&one.conflicts, &other.conflicts);
    prop_assert_eq!(&one.masked, &other.masked);
    prop_assert_eq!(&one.ignored, &other.ignored);
    prop_assert_eq!(&one.backends, &other.backends);
    Ok(())
}

fn any_limits() -> impl Strategy<Value = Limits> {
    // Few enough to be reached, or enough.
    (4..24_u32, 2..14_u32, 3..12_u32, 1..24_u32, any::<bool>()).prop_map(
        |(services, backends, addresses, chunks, tight)| match tight {
            true => Limits { services, backends, addresses, places: chunks * 64 },
            false => Limits { places: 1 << 17, ..LIMITS },
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn following_changes_ends_where_planning_all_anew_does(
        steps in collection::vec(any_step(), 1..24),
        limits in any_limits(),
    ) {
        let mut pair = Pair::new(limits);
        for step in steps {
            pair.wait(Duration::from_millis(1));
            match step {
                Step::Change(new) | Step::Fail(new, _) => pair.tell(new),
                Step::Wait(millis) => pair.wait(Duration::from_millis(millis)),
                // Of the daemon: what it follows is forgotten, too.
                Step::Restart => {
                    pair.whole.restart();
                    pair.follower.restart();
                    pair.desired = Desired::default();
                }
                Step::Lose(nodes) => pair.lose(&nodes)?,
            }
            pair.plan()?;
        }
        // Nothing is left behind of services that are gone.
        pair.tell(Snapshot::default());
        pair.plan()?;
        pair.wait(Balancer::grace());
        pair.plan()?;
        let maps = &pair.follower.maps;
        prop_assert!(maps.services.is_empty() && maps.backends.is_empty());
        prop_assert_eq!(pair.follower.balancer.poll_timeout(), None);
        prop_assert!(pair.follower.balancer.agrees_with(&pair.follower.maps.clone().read().unwrap()));
    }
}

#[test]
fn nothing_is_worked_out_again_of_services_that_are_the_same() {
    let mut lab = Lab::new(LIMITS);
    let mut other = service(&[endpoint("10.244.0.9", "node-1")]);
    (other.cluster_ips, other.vips) = (vec![ip("10.96.0.2")], BTreeSet::new());
    other.ports[0].node_port = None;
    let mut all =
        snapshot(&[("other", other), ("web", service(&[endpoint("10.244.0.1", "node-1")]))]);
    let mut desired = expand(&all, &node(), &Masks::default());
    lab.settle(&desired);
    desired.take_changes();
    let web = all.services.last_entry().unwrap().into_mut();
    let endpoints = ["10.244.0.1", "10.244.0.2"].map(|text| endpoint(text, "node-1"));
    *web = Arc::new(service(&endpoints));
    desired.follow(&all, &node(), &Masks::default());
    let changes = desired.take_changes();
    assert_eq!(changes.backends, set(&["10.244.0.2:8080"]).unwrap());
    assert_eq!(changes.frontends.len(), 5);
    assert!(!changes.frontends.contains(&key("10.96.0.2", 80, SCOPE_INTERNAL)));
    desired.follow(&all, &node(), &Masks::default());
    assert_eq!(desired.take_changes(), crate::Changes::default());
}

#[test]
fn services_keep_their_numbers_over_a_restart() {
    let mut lab = Lab::new(LIMITS);
    let mut other = service(&[]);
    (other.cluster_ips, other.vips) = (vec![ip("10.96.0.2")], BTreeSet::new());
    other.ports[0].node_port = None;
    let both = snapshot(&[("a", other.clone()), ("b", service(&[]))]);
    lab.settle(&expand(&both, &node(), &Masks::default()));
    let ids = |lab: &Lab| -> BTreeMap<ServiceKey, u32> {
        lab.maps.services.iter().map(|(key, value)| (*key, value.service)).collect()
    };
    let before = ids(&lab);
    let distinct: BTreeSet<u32> = before.values().copied().collect();
    assert!(distinct.len() == 2 && !distinct.contains(&ebpf_abi::SERVICE_NONE), "{before:?}");
    let later = snapshot(&[("b", service(&[])), ("c", other)]);
    lab.restart();
    lab.settle(&expand(&both, &node(), &Masks::default()));
    assert_eq!(ids(&lab), before);
    lab.settle(&expand(&later, &node(), &Masks::default()));
    let web = key("198.51.100.1", 80, SCOPE_EXTERNAL);
    assert_eq!(ids(&lab)[&web], before[&web]);
    // Another service at the same address is another service.
    let reused = key("10.96.0.2", 80, SCOPE_INTERNAL);
    assert!(!distinct.contains(&ids(&lab)[&reused]));
}
