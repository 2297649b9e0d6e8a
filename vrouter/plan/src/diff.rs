use std::collections::{BTreeMap, BTreeSet};

use viaduct_net::{NextHop, Prefix};

use crate::{
    Desired, NEXTHOP_IDS, Nexthop, NexthopId, Operation, RouteKey, Snapshot, Via, Waiting,
    targets::{Aim, SetIndex, Targets},
};

/// How to come from what is observed to what is desired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In an order in which traffic never breaks: lost members leave their groups, objects and
    /// groups are made, routes moved over to them, then undesired routes removed.
    pub operations: Vec<Operation>,
    /// Wanted routes that cannot be had now.
    pub waiting: BTreeMap<Prefix, Waiting>,
}

/// The operations for everything but nexthops no longer used: those are found by [`sweep`] after
/// the operations were tried, since a route whose move failed still leads over its old ones.
pub fn plan(desired: &Desired, observed: &Snapshot) -> Plan {
    let targets = Targets::new(desired, observed);
    let mut work = Work::new(observed, &targets);
    work.assign_groups(&targets);
    let mut operations = work.collapse();
    operations.append(&mut work.make);
    work.routes(desired, &targets, &mut operations);
    let mut waiting = targets.waiting;
    waiting.append(&mut work.waiting);
    Plan { operations, waiting }
}

/// Deletes objects and groups of ours that no route leads over, groups first. Nothing before the
/// learned routes are whole: what is unused now may be wanted by the next one.
pub fn sweep(desired: &Desired, observed: &Snapshot) -> Vec<Operation> {
    if !desired.bgp_complete {
        return Vec::new();
    }
    let mut used: BTreeSet<NexthopId> = observed.routes.values().filter_map(nexthop_of).collect();
    let mut deletes = Vec::new();
    for (id, nexthop) in &observed.nexthops {
        if let Nexthop::Group(members) = nexthop {
            if used.contains(id) {
                used.extend(members);
            } else {
                deletes.push(Operation::DeleteNexthop { id: *id });
            }
        }
    }
    for (id, nexthop) in &observed.nexthops {
        let ours = matches!(nexthop, Nexthop::Via(_) | Nexthop::Unknown);
        if ours && !used.contains(id) {
            deletes.push(Operation::DeleteNexthop { id: *id });
        }
    }
    deletes
}

/// The one operation by which a lost neighbour leaves every group, found without working out the
/// whole difference; `None` where it is a group's only member or a route leads over it alone, and
/// something else has to take its place first.
pub fn lose(neighbour: NextHop, observed: &Snapshot) -> Option<Operation> {
    let is_it = |(_, nexthop): &(&NexthopId, &Nexthop)| **nexthop == Nexthop::Via(neighbour);
    let (id, _) = observed.nexthops.iter().find(is_it)?;
    let spares = |nexthop: &Nexthop| match nexthop {
        Nexthop::Group(members) => members.len() > 1 || !members.contains(id),
        Nexthop::Via(_) | Nexthop::Unknown | Nexthop::Foreign => true,
    };
    let alone = || observed.routes.values().any(|via| nexthop_of(via) == Some(*id));
    let deletable = observed.nexthops.values().all(spares) && !alone();
    deletable.then_some(Operation::DeleteNexthop { id: *id })
}

fn nexthop_of(via: &Via) -> Option<NexthopId> {
    match via {
        Via::Nexthop(id) => Some(*id),
        Via::Interface(_) | Via::Blackhole | Via::Unknown => None,
    }
}

/// What the routes over a nexthop want of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Users {
    /// All of them the same set.
    Want(SetIndex),
    /// Different ones, or one that must be left as it is.
    Mixed,
}

struct Regroup {
    old: BTreeSet<NexthopId>,
    new: BTreeSet<NexthopId>,
}

struct Work<'a> {
    observed: &'a Snapshot,
    users: BTreeMap<NexthopId, Users>,
    /// The id that carries a wanted set, once everything is made.
    carriers: BTreeMap<SetIndex, NexthopId>,
    /// The set that an id carries, once everything is made; more than one id may carry the same.
    carried: BTreeMap<NexthopId, SetIndex>,
    neighbours: BTreeMap<NextHop, NexthopId>,
    /// Groups to be given other members in place.
    regroup: BTreeMap<NexthopId, Regroup>,
    /// Members that new and changed groups need.
    needed: BTreeSet<NexthopId>,
    make: Vec<Operation>,
    waiting: BTreeMap<Prefix, Waiting>,
    next_id: u32,
}

impl<'a> Work<'a> {
    fn new(observed: &'a Snapshot, targets: &Targets) -> Self {
        let mut users = BTreeMap::new();
        for (key, via) in &observed.routes {
            let Some(id) = nexthop_of(via) else { continue };
            let wants = match targets.routes.get(&key.prefix) {
                Some(Aim::Set(set)) if *key == RouteKey::ours(key.prefix) => Users::Want(*set),
                Some(_) | None => Users::Mixed,
            };
            users
                .entry(id)
                .and_modify(|known| {
                    if *known != wants {
                        *known = Users::Mixed;
                    }
                })
                .or_insert(wants);
        }
        let mut neighbours = BTreeMap::new();
        for (id, nexthop) in &observed.nexthops {
            if let Nexthop::Via(next_hop) = nexthop {
                neighbours.entry(*next_hop).or_insert(*id);
            }
        }
        Self {
            observed,
            users,
            carriers: BTreeMap::new(),
            carried: BTreeMap::new(),
            neighbours,
            regroup: BTreeMap::new(),
            needed: BTreeSet::new(),
            make: Vec::new(),
            waiting: BTreeMap::new(),
            next_id: NEXTHOP_IDS.start.0,
        }
    }

    /// Finds for every wanted set an id that carries it: one that does so already, one all of
    /// whose routes want to move to it, or a new one.
    fn assign_groups(&mut self, targets: &Targets) {
        let wanted: BTreeMap<&BTreeSet<NextHop>, SetIndex> =
            targets.sets.iter().enumerate().map(|(index, set)| (set, SetIndex(index))).collect();
        for id in self.observed.nexthops.keys() {
            let set = self.observed.resolve(*id);
            if let Some(index) = set.and_then(|set| wanted.get(&set).copied()) {
                self.carried.insert(*id, index);
                // A bare object carries its set for the routes that have it; new ones get a group.
                if matches!(self.observed.nexthops.get(id), Some(Nexthop::Group(_))) {
                    self.carriers.entry(index).or_insert(*id);
                }
            }
        }
        self.regroup(targets);
        // A group is made only where a route will have it: another would be swept again.
        let lacking: BTreeSet<SetIndex> = targets
            .routes
            .iter()
            .filter_map(|(prefix, aim)| match aim {
                Aim::Set(set) if !self.carries(*prefix, *set) => Some(*set),
                Aim::Set(_) | Aim::Interface(_) | Aim::Blackhole => None,
            })
            .filter(|set| !self.carriers.contains_key(set))
            .collect();
        for index in lacking {
            self.make_group(index, &targets.sets[index.0]);
        }
    }

    /// Gives groups all of whose routes want one other set that set, in place. Also where another
    /// group carries it already: two groups alike cost nothing, and moving the routes would cost
    /// an operation each.
    fn regroup(&mut self, targets: &Targets) {
        let groups: Vec<(NexthopId, SetIndex, &BTreeSet<NexthopId>)> = self
            .users
            .iter()
            .filter(|(id, _)| !self.carried.contains_key(id))
            .filter_map(|(id, users)| match (users, self.observed.nexthops.get(id)?) {
                (Users::Want(set), Nexthop::Group(old)) => Some((*id, *set, old)),
                _ => None,
            })
            .collect();
        for (id, index, old) in groups {
            let Some(new) = self.members(&targets.sets[index.0]) else { continue };
            self.regroup.insert(id, Regroup { old: old.clone(), new });
            self.carriers.entry(index).or_insert(id);
            self.carried.insert(id, index);
        }
    }

    /// Whether the route that is there leads, or after the changes so far will lead, to the set.
    fn carries(&self, prefix: Prefix, set: SetIndex) -> bool {
        let present = self.observed.routes.get(&RouteKey::ours(prefix)).and_then(nexthop_of);
        present.and_then(|id| self.carried.get(&id)) == Some(&set)
    }

    fn make_group(&mut self, index: SetIndex, set: &BTreeSet<NextHop>) {
        let Some(members) = self.members(set) else { return };
        let Some(id) = self.allocate() else { return };
        self.make.push(Operation::PutGroup { id, members });
        self.carriers.insert(index, id);
        self.carried.insert(id, index);
    }

    /// The ids of the set's objects, making those that are missing.
    fn members(&mut self, set: &BTreeSet<NextHop>) -> Option<BTreeSet<NexthopId>> {
        let mut members = BTreeSet::new();
        for next_hop in set {
            let id = match self.neighbours.get(next_hop) {
                Some(id) => *id,
                None => {
                    let id = self.allocate()?;
                    self.neighbours.insert(*next_hop, id);
                    self.make.push(Operation::PutNexthop { id, next_hop: *next_hop });
                    id
                }
            };
            members.insert(id);
        }
        self.needed.extend(&members);
        Some(members)
    }

    fn allocate(&mut self) -> Option<NexthopId> {
        while self.next_id < NEXTHOP_IDS.end.0 {
            let id = NexthopId(self.next_id);
            self.next_id += 1;
            if !self.observed.nexthops.contains_key(&id) {
                return Some(id);
            }
        }
        None
    }

    /// Where all that is to be done to some groups is to lose one and the same member, deletes that
    /// member instead: one operation however many groups there are, and by far the fastest for the
    /// kernel. What is left of the changed groups is queued behind the objects they need.
    fn collapse(&mut self) -> Vec<Operation> {
        let mut deletes = Vec::new();
        let candidates: BTreeSet<NexthopId> = self
            .regroup
            .values()
            .filter(|group| group.new.is_subset(&group.old))
            .flat_map(|group| group.old.difference(&group.new).copied())
            .collect();
        for id in candidates {
            if self.deletable(id) {
                deletes.push(Operation::DeleteNexthop { id });
                for group in self.regroup.values_mut() {
                    group.old.remove(&id);
                }
            }
        }
        for (id, group) in std::mem::take(&mut self.regroup) {
            if group.old != group.new {
                self.make.push(Operation::PutGroup { id, members: group.new });
            }
        }
        deletes
    }

    /// Whether no group that is in use needs the member, or would be empty without it.
    fn deletable(&self, member: NexthopId) -> bool {
        let spares = |(id, nexthop): (&NexthopId, &Nexthop)| match nexthop {
            Nexthop::Group(members) if members.contains(&member) => match self.regroup.get(id) {
                Some(group) => !group.new.contains(&member) && group.old.len() > 1,
                None => false,
            },
            _ => true,
        };
        !self.needed.contains(&member)
            && !self.users.contains_key(&member)
            && self.observed.nexthops.iter().all(spares)
    }

    fn routes(&mut self, desired: &Desired, targets: &Targets, operations: &mut Vec<Operation>) {
        for (prefix, aim) in &targets.routes {
            let key = RouteKey::ours(*prefix);
            let present = self.observed.routes.get(&key).copied();
            let via = match aim {
                Aim::Interface(interface) => Via::Interface(*interface),
                Aim::Blackhole => Via::Blackhole,
                Aim::Set(set) => {
                    if self.carries(*prefix, *set) {
                        continue;
                    }
                    let Some(id) = self.carriers.get(set) else {
                        self.waiting.insert(*prefix, Waiting::NoIds);
                        continue;
                    };
                    Via::Nexthop(*id)
                }
            };
            if present != Some(via) {
                operations.push(Operation::PutRoute { key, via });
            }
        }
        for (key, via) in &self.observed.routes {
            let wanted =
                *key == RouteKey::ours(key.prefix) && targets.routes.contains_key(&key.prefix);
            let complete = match via {
                Via::Nexthop(_) | Via::Unknown => desired.bgp_complete,
                Via::Interface(_) => desired.local_complete,
                // A block's, or a peer's wish.
                Via::Blackhole => desired.bgp_complete && desired.local_complete,
            };
            if !wanted && complete {
                operations.push(Operation::DeleteRoute { key: *key });
            }
        }
    }
}
