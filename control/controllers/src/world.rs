//! The cluster as the controllers know it: what the watches said, and what our own writes
//! answered.
//!
//! A controller that acts on a cache that does not show its own last writes does them again. So
//! answers of writes go into the cache at once, and what a watch says later that is older does not
//! undo them: revisions are compared.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};

use crate::{
    kinds::{Key, Kind, Object, Objects, Ref},
    operation::{Now, controller_of},
    pods,
};

/// Where nodes renew their leases.
pub(crate) const NODE_LEASES: &str = "kube-node-lease";

/// Deleted objects whose uid is remembered.
const DELETED_LIMIT: usize = 4096;
const GONE_NODES_LIMIT: usize = 1024;
/// For how long a write of ours may be missing from a list: one that began before it.
const UNCONFIRMED: Duration = Duration::from_secs(30);

/// What became of one object.
#[derive(Clone, Debug)]
pub struct Change {
    pub reference: Ref,
    pub old: Option<Object>,
    pub new: Option<Object>,
}

/// A node's last sign of life, by our own clock: those of the nodes may be wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    renewed: Option<MicroTime>,
    pub seen_at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoneNode {
    /// Since when, by the uptime.
    pub at: Duration,
    /// Whether we saw it go, or only never saw it.
    pub seen: bool,
}

#[derive(Clone, Debug, Default)]
pub struct World {
    pub objects: Objects,
    pub heartbeats: BTreeMap<String, Heartbeat>,
    /// Nodes that pods name and that are not there.
    pub gone_nodes: BTreeMap<String, GoneNode>,
    /// Which objects name an owner, by the owner's uid.
    dependents: BTreeMap<String, BTreeSet<Ref>>,
    uids: BTreeMap<String, Ref>,
    /// What may be adopted and that nothing controls.
    strays: BTreeSet<Ref>,
    deleted: VecDeque<String>,
    /// Deletions of ours that no watch has confirmed.
    dying: BTreeMap<String, Now>,
    /// Writes of ours that no watch has confirmed.
    unconfirmed: BTreeMap<Ref, Duration>,
}

impl World {
    /// What a watch said of an object.
    pub fn observe(&mut self, object: impl Into<Object>, now: Now) -> Option<Change> {
        let object = object.into();
        self.unconfirmed.remove(&object.reference());
        self.put(object, now)
    }

    /// What the API answered to a write of ours.
    pub fn wrote(&mut self, object: impl Into<Object>, now: Now) -> Option<Change> {
        let object = object.into();
        if self.was_deleted(object.uid()) {
            return None;
        }
        let reference = object.reference();
        let change = self.put(object, now);
        if change.is_some() {
            self.unconfirmed.insert(reference, now.uptime);
        }
        change
    }

    /// The API has taken a deletion of ours. Whether the object goes at once or lingers, it is on
    /// its way out.
    pub fn deleting(&mut self, reference: &Ref, uid: &str, now: Now) -> Option<Change> {
        let object = self.objects.get(reference.kind, &reference.key)?;
        if object.uid() != uid {
            return None;
        }
        self.dying.insert(uid.to_owned(), now);
        let old = object.clone();
        let object = self.mark_dying(object);
        self.objects.insert(object.clone());
        Some(Change { reference: reference.clone(), old: Some(old), new: Some(object) })
    }

    /// The API has put a pod on a node. It does not answer with the pod, so the pod stays of the
    /// revision it was, and whatever the watch shows next is newer.
    pub fn bound(&mut self, pod: &Key, uid: &str, node: &str) -> Option<Change> {
        let old = self.objects.pods.get(pod)?.clone();
        if old.metadata.uid.as_deref() != Some(uid) || pods::node_of(&old).is_some() {
            return None;
        }
        let mut new = (*old).clone();
        new.spec.get_or_insert_default().node_name = Some(node.to_owned());
        let new: Object = new.into();
        self.objects.insert(new.clone());
        Some(Change { reference: new.reference(), old: Some(Object::Pod(old)), new: Some(new) })
    }

    /// A watch said that an object is gone.
    pub fn remove(&mut self, reference: &Ref, uid: &str, now: Now) -> Option<Change> {
        self.unconfirmed.remove(reference);
        self.dying.remove(uid);
        if !uid.is_empty() && !self.was_deleted(uid) {
            if self.deleted.len() == DELETED_LIMIT {
                self.deleted.pop_front();
            }
            self.deleted.push_back(uid.to_owned());
        }
        let present = self.objects.get(reference.kind, &reference.key)?;
        if present.uid() != uid {
            // Another of the same name, which we made and the watch has yet to show.
            return None;
        }
        let old = self.objects.remove(reference.kind, &reference.key)?;
        self.unindex(&old);
        if reference.kind == Kind::Node {
            let name = &reference.key.name;
            self.heartbeats.remove(name);
            self.gone_nodes.insert(name.clone(), GoneNode { at: now.uptime, seen: true });
        }
        self.forget_gone_nodes();
        Some(Change { reference: reference.clone(), old: Some(old), new: None })
    }

    /// A list takes the place of all objects of a kind.
    pub fn replace(&mut self, kind: Kind, listed: Vec<Object>, now: Now) -> Vec<Change> {
        let there: BTreeSet<Key> = listed.iter().map(|o| Key::of(o.metadata())).collect();
        let mut changes = Vec::new();
        for key in self.objects.keys(kind) {
            let reference = Ref { kind, key };
            let ours = self.unconfirmed.get(&reference);
            let recent = ours.is_some_and(|at| now.uptime.saturating_sub(*at) < UNCONFIRMED);
            if !there.contains(&reference.key) && !recent {
                let present = self.objects.get(kind, &reference.key);
                let uid = present.map(|object| object.uid().to_owned()).unwrap_or_default();
                changes.extend(self.remove(&reference, &uid, now));
            }
        }
        changes.extend(listed.into_iter().filter_map(|object| self.observe(object, now)));
        changes
    }

    /// Objects that name the uid as an owner.
    pub fn dependents(&self, uid: &str) -> impl Iterator<Item = &Ref> {
        self.dependents.get(uid).into_iter().flatten()
    }

    pub fn by_uid(&self, uid: &str) -> Option<&Ref> {
        self.uids.get(uid)
    }

    /// Pods or ReplicaSets of a namespace that nothing controls.
    pub fn strays<'a>(&'a self, kind: Kind, namespace: &'a str) -> impl Iterator<Item = &'a Key> {
        let first = Ref { kind, key: Key::new(namespace, "") };
        let all = self.strays.range(first..).map(move |reference| (reference.kind, &reference.key));
        all.take_while(move |(one, key)| *one == kind && key.namespace == namespace)
            .map(|(_, key)| key)
    }

    /// Whether a watch has said so, lately.
    pub fn was_deleted(&self, uid: &str) -> bool {
        self.deleted.iter().any(|deleted| deleted == uid)
    }

    /// Counts every node as heard of now, after a time in which we ourselves could not listen.
    pub fn excuse_nodes(&mut self, now: Now) {
        for heartbeat in self.heartbeats.values_mut() {
            heartbeat.seen_at = now.uptime;
        }
    }

    /// Those that no pod names any more, once there are many.
    fn forget_gone_nodes(&mut self) {
        if self.gone_nodes.len() > GONE_NODES_LIMIT {
            let pods = self.objects.pods.values();
            let named: BTreeSet<&str> = pods.filter_map(|pod| pods::node_of(pod)).collect();
            self.gone_nodes.retain(|name, _| named.contains(name.as_str()));
        }
    }

    fn put(&mut self, object: Object, now: Now) -> Option<Change> {
        let reference = object.reference();
        let old = self.objects.get(reference.kind, &reference.key);
        let newer = match old.as_ref().map(|old| (old.revision(), object.revision())) {
            Some((Some(old), Some(new))) => new > old,
            _ => true,
        };
        if !newer {
            return None;
        }
        self.heard(&object, now);
        let object =
            if self.dying.contains_key(object.uid()) { self.mark_dying(object) } else { object };
        if let Some(old) = &old {
            self.unindex(old);
        }
        self.uids.insert(object.uid().to_owned(), reference.clone());
        for owner in object.metadata().owner_references.iter().flatten() {
            self.dependents.entry(owner.uid.clone()).or_default().insert(reference.clone());
        }
        let adoptable = matches!(reference.kind, Kind::Pod | Kind::ReplicaSet);
        if adoptable && controller_of(object.metadata()).is_none() {
            self.strays.insert(reference.clone());
        }
        self.objects.insert(object.clone());
        Some(Change { reference, old, new: Some(object) })
    }

    fn mark_dying(&self, mut object: Object) -> Object {
        if let Some(now) = self.dying.get(object.uid())
            && object.metadata().deletion_timestamp.is_none()
        {
            object.metadata_mut().deletion_timestamp = Some(Time(now.wall));
        }
        object
    }

    fn unindex(&mut self, object: &Object) {
        let reference = object.reference();
        self.uids.remove(object.uid());
        self.strays.remove(&reference);
        for owner in object.metadata().owner_references.iter().flatten() {
            if let Some(dependents) = self.dependents.get_mut(&owner.uid) {
                dependents.remove(&reference);
                if dependents.is_empty() {
                    self.dependents.remove(&owner.uid);
                }
            }
        }
    }

    /// A node lives when its lease is renewed. One without a lease yet counts from when it came.
    fn heard(&mut self, object: &Object, now: Now) {
        let (node, renewed) = match object {
            Object::Lease(lease) if lease.metadata.namespace.as_deref() == Some(NODE_LEASES) => {
                let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
                (lease.metadata.name.clone(), renewed)
            }
            Object::Pod(pod) => {
                if let Some(node) = pods::node_of(pod)
                    && !self.objects.nodes.contains_key(&Key::new("", node))
                {
                    let never_seen = GoneNode { at: now.uptime, seen: false };
                    self.gone_nodes.entry(node.to_owned()).or_insert(never_seen);
                }
                return;
            }
            Object::Node(node) => {
                let name = node.metadata.name.clone().unwrap_or_default();
                self.gone_nodes.remove(&name);
                let first = Heartbeat { renewed: None, seen_at: now.uptime };
                self.heartbeats.entry(name).or_insert(first);
                return;
            }
            _ => return,
        };
        let heartbeat = Heartbeat { renewed, seen_at: now.uptime };
        let node = node.unwrap_or_default();
        if self.heartbeats.get(&node).is_none_or(|last| last.renewed != heartbeat.renewed) {
            self.heartbeats.insert(node, heartbeat);
        }
    }
}

#[cfg(test)]
mod tests;
