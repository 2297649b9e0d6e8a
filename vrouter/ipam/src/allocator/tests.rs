use proptest::prelude::*;

use super::*;

fn allocator(blocks: &[&str]) -> Allocator {
    let mut allocator = Allocator::default();
    allocator.set_blocks(blocks.iter().map(|text| text.parse().unwrap()));
    allocator
}

fn owner(name: impl ToString) -> Owner {
    Owner { container_id: name.to_string(), ifname: "eth0".into() }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn both_families_and_the_same_when_asked_again() {
    let mut ipam = allocator(&["10.244.0.0/26", "fd00::/122"]);
    let first = ipam.allocate(&owner("a"), &Family::ALL).unwrap();
    assert_eq!(first, [ip("10.244.0.1"), ip("fd00::1")]);
    assert_eq!(ipam.allocate(&owner("a"), &Family::ALL).unwrap(), first);
    assert_eq!(
        ipam.allocate(&owner("b"), &Family::ALL).unwrap(),
        [ip("10.244.0.2"), ip("fd00::2")]
    );
    let other_interface = Owner { ifname: "net1".into(), ..owner("a") };
    assert_eq!(ipam.allocate(&other_interface, &[Family::V4]).unwrap(), [ip("10.244.0.3")]);
}

#[test]
fn all_or_nothing() {
    let mut ipam = allocator(&["10.0.0.0/26"]);
    assert_eq!(ipam.allocate(&owner("a"), &Family::ALL), Err(AllocateError::NoBlock(Family::V6)));
    assert_eq!(ipam.owners().count(), 0);
    assert_eq!(ipam.usage()[0].used, 0);
}

#[test]
fn a_freed_address_rests_as_long_as_it_can() {
    let mut ipam = allocator(&["10.0.0.0/30"]);
    for name in ["a", "b"] {
        ipam.allocate(&owner(name), &[Family::V4]).unwrap();
    }
    ipam.release(&owner("b"));
    ipam.release(&owner("a"));
    let next = |ipam: &mut Allocator, name: &str| ipam.allocate(&owner(name), &[Family::V4]);
    assert_eq!(next(&mut ipam, "c").unwrap(), [ip("10.0.0.3")]);
    assert_eq!(next(&mut ipam, "d").unwrap(), [ip("10.0.0.2")]);
    assert_eq!(next(&mut ipam, "e").unwrap(), [ip("10.0.0.1")]);
    let full = next(&mut ipam, "f");
    assert_eq!(full, Err(AllocateError::Full { family: Family::V4, blocks: 1 }));
    ipam.set_blocks(["10.0.0.0/30", "10.0.0.64/30"].map(|text| text.parse().unwrap()));
    assert_eq!(next(&mut ipam, "f").unwrap(), [ip("10.0.0.65")]);
}

#[test]
fn a_block_that_leaves_takes_no_address_with_it() {
    let mut ipam = allocator(&["10.0.0.0/30"]);
    ipam.allocate(&owner("a"), &[Family::V4]).unwrap();
    ipam.set_blocks(["10.0.1.0/30".parse().unwrap()]);
    assert_eq!(ipam.addresses(&owner("a")), [ip("10.0.0.1")]);
    ipam.release(&owner("a"));
    for name in ["b", "c", "d"] {
        let got = ipam.allocate(&owner(name), &[Family::V4]).unwrap();
        assert!(got[0] >= ip("10.0.1.1"), "{got:?}");
    }
    assert!(ipam.allocate(&owner("e"), &[Family::V4]).is_err());
}

#[test]
fn a_single_address_is_a_block_too() {
    let mut ipam = allocator(&["10.0.0.7/32"]);
    assert_eq!(ipam.allocate(&owner("a"), &[Family::V4]).unwrap(), [ip("10.0.0.7")]);
}

#[test]
fn a_wide_block_is_not_counted_through() {
    let mut ipam = allocator(&["fd00::/8"]);
    assert_eq!(ipam.allocate(&owner("a"), &[Family::V6]).unwrap(), [ip("fd00::1")]);
}

#[test]
fn owners_that_are_gone_are_reclaimed() {
    let mut ipam = allocator(&["10.0.0.0/26"]);
    for name in ["a", "b", "c"] {
        ipam.allocate(&owner(name), &[Family::V4]).unwrap();
    }
    let gone = ipam.retain(&BTreeSet::from([owner("b"), owner("never seen")]));
    assert_eq!(gone.into_keys().collect::<Vec<_>>(), [owner("a"), owner("c")]);
    assert_eq!(ipam.owners().collect::<Vec<_>>(), [&owner("b")]);
}

#[test]
fn a_stored_double_is_refused() {
    let text = r#"{"allocations": [
        {"address": "10.0.0.1", "containerId": "a", "ifname": "eth0"},
        {"address": "10.0.0.1", "containerId": "b", "ifname": "eth0"}
    ]}"#;
    let error = serde_json::from_str::<Allocator>(text).unwrap_err().to_string();
    assert!(error.contains("10.0.0.1") && error.contains("a/eth0"), "{error}");
}

#[derive(Clone, Debug)]
enum Step {
    Allocate(u8),
    Release(u8),
    Retain(Vec<u8>),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..40).prop_map(Step::Allocate),
        4 => (0u8..40).prop_map(Step::Release),
        1 => proptest::collection::vec(0u8..40, 0..30).prop_map(Step::Retain),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    /// Whatever happens, no address has two owners, none is lost, and each is of a block.
    #[test]
    fn never_double_never_lost(steps in proptest::collection::vec(step(), 0..200)) {
        let blocks = ["10.0.0.0/28", "10.0.0.64/29", "fd00::/123"];
        let capacity_v4 = 15 + 7;
        let mut ipam = allocator(&blocks);
        let mut model: BTreeMap<Owner, Vec<IpAddr>> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Allocate(n) => match ipam.allocate(&owner(n), &Family::ALL) {
                    Ok(got) => {
                        if let Some(before) = model.insert(owner(n), got.clone()) {
                            prop_assert_eq!(before, got);
                        }
                    }
                    Err(error) => {
                        let full = AllocateError::Full { family: Family::V4, blocks: 2 };
                        prop_assert_eq!(error, full);
                        prop_assert_eq!(model.len(), capacity_v4);
                    }
                },
                Step::Release(n) => {
                    let freed = ipam.release(&owner(n));
                    prop_assert_eq!(freed, model.remove(&owner(n)).unwrap_or_default());
                }
                Step::Retain(live) => {
                    let live = live.into_iter().map(owner).collect();
                    ipam.retain(&live);
                    model.retain(|owner, _| live.contains(owner));
                }
                Step::Restart => {
                    let stored = serde_json::to_string(&ipam).unwrap();
                    let mut again: Allocator = serde_json::from_str(&stored).unwrap();
                    again.set_blocks(ipam.blocks());
                    prop_assert_eq!(&again, &ipam);
                    ipam = again;
                }
            }
            let all: Vec<IpAddr> = model.values().flatten().copied().collect();
            let distinct: BTreeSet<IpAddr> = all.iter().copied().collect();
            prop_assert_eq!(all.len(), distinct.len());
            for (owner, addresses) in &model {
                prop_assert_eq!(&ipam.addresses(owner), addresses);
                prop_assert!(addresses.iter().all(|a| ipam.blocks().any(|b| usable_in(b, *a))));
            }
            prop_assert_eq!(ipam.usage().iter().map(|b| b.used as usize).sum::<usize>(), all.len());
        }
    }
}
