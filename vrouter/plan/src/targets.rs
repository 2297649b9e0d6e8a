use std::collections::{BTreeMap, BTreeSet, HashMap};

use viaduct_net::{Family, IfIndex, NextHop, Prefix};

use crate::{Desired, Snapshot};

/// A wanted set of next hops, as an index into [`Targets::sets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SetIndex(pub(crate) usize);

/// Where a prefix is to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    Set(SetIndex),
    Interface(IfIndex),
    Blackhole,
}

/// Why a wanted route is not in the kernel. It is tried again when a link changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Waiting {
    #[error("no link to any of its next hops is up")]
    LinkDown,
    #[error("the pod's interface is not there or not up")]
    NoInterface,
    #[error("the kernel takes no IPv4 next hop for an IPv6 route")]
    Family,
    #[error("all nexthop ids are taken")]
    NoIds,
}

/// The wanted routes that can be had with the links as they are.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) sets: Vec<BTreeSet<NextHop>>,
    pub(crate) routes: BTreeMap<Prefix, Aim>,
    pub(crate) waiting: BTreeMap<Prefix, Waiting>,
}

impl Targets {
    pub(crate) fn new(desired: &Desired, observed: &Snapshot) -> Self {
        let mut targets = Self::default();
        targets.add_pods(desired, observed);
        for prefix in &desired.blocks {
            targets.add(*prefix, Ok(Aim::Blackhole));
        }
        targets.add_bgp(desired, observed);
        targets
    }

    /// The first to name a prefix has it.
    fn add(&mut self, prefix: Prefix, aim: Result<Aim, Waiting>) {
        if self.is_taken(prefix) {
            return;
        }
        match aim {
            Ok(aim) => drop(self.routes.insert(prefix, aim)),
            Err(reason) => drop(self.waiting.insert(prefix, reason)),
        }
    }

    fn is_taken(&self, prefix: Prefix) -> bool {
        self.routes.contains_key(&prefix) || self.waiting.contains_key(&prefix)
    }

    fn add_pods(&mut self, desired: &Desired, observed: &Snapshot) {
        let interfaces: HashMap<&str, IfIndex> = observed
            .links
            .iter()
            .filter(|(_, link)| link.admin_up)
            .map(|(index, link)| (link.name.as_str(), *index))
            .collect();
        for (prefix, interface) in &desired.pods {
            let index = interfaces.get(interface.as_str()).copied();
            self.add(*prefix, index.map(Aim::Interface).ok_or(Waiting::NoInterface));
        }
    }

    fn add_bgp(&mut self, desired: &Desired, observed: &Snapshot) {
        // Most routes share few sets, so a set is worked out once for each family.
        let mut known: HashMap<(Family, &[NextHop]), Result<Aim, Waiting>> = HashMap::new();
        let mut indices: BTreeMap<BTreeSet<NextHop>, SetIndex> = BTreeMap::new();
        for (prefix, next_hops) in &desired.bgp {
            // A set that no route will have must not be made: it would be swept, and made again.
            if self.is_taken(*prefix) {
                continue;
            }
            if next_hops.is_empty() {
                self.add(*prefix, Ok(Aim::Blackhole));
                continue;
            }
            let family = prefix.family();
            let aim = *known.entry((family, next_hops)).or_insert_with(|| {
                let set = usable(family, next_hops, desired, observed)?;
                let next = SetIndex(self.sets.len());
                Ok(Aim::Set(*indices.entry(set).or_insert_with_key(|set| {
                    self.sets.push(set.clone());
                    next
                })))
            });
            self.add(*prefix, aim);
        }
    }
}

/// The next hops that the kernel takes now, without those lost as long as another is left.
fn usable(
    family: Family,
    next_hops: &[NextHop],
    desired: &Desired,
    observed: &Snapshot,
) -> Result<BTreeSet<NextHop>, Waiting> {
    let fits = |hop: &&NextHop| family == Family::V4 || Family::of(hop.address) == Family::V6;
    let mut fitting = next_hops.iter().filter(fits).peekable();
    if fitting.peek().is_none() {
        return Err(Waiting::Family);
    }
    let up: BTreeSet<NextHop> =
        fitting.filter(|hop| observed.is_usable(hop.interface)).copied().collect();
    if up.is_empty() {
        return Err(Waiting::LinkDown);
    }
    let alive: BTreeSet<NextHop> = up.difference(&desired.lost).copied().collect();
    Ok(if alive.is_empty() { up } else { alive })
}
