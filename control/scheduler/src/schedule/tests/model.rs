//! The filters beside a model that counts by hand, on clusters made by chance.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::{collection::vec, option, prelude::*};
use serde_json::{Value, json};

use crate::{PodId, Preemption, Snapshot, preempt, schedule, testing};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

/// A node: its zone, where it has one, whether it is tainted, and its processors.
#[derive(Clone, Debug)]
struct ANode {
    zone: Option<u8>,
    tainted: bool,
    cpus: u8,
}

/// A pod with what it says of others: (app, by zone or by node).
#[derive(Clone, Debug)]
struct APod {
    node: usize,
    app: u8,
    priority: u8,
    tolerates: bool,
    near: Option<(u8, bool)>,
    far: Option<(u8, bool)>,
    max_skew: Option<u8>,
}

fn a_node() -> impl Strategy<Value = ANode> {
    (option::weighted(0.8, 0..3u8), prop::bool::weighted(0.2), 1..4u8)
        .prop_map(|(zone, tainted, cpus)| ANode { zone, tainted, cpus })
}

fn a_pod() -> impl Strategy<Value = APod> {
    let other = || option::weighted(0.3, (0..3u8, any::<bool>()));
    (0..5usize, 0..3u8, 0..3u8, any::<bool>(), other(), other(), option::weighted(0.3, 1..3u8))
        .prop_map(|(node, app, priority, tolerates, near, far, max_skew)| APod {
            node,
            app,
            priority,
            tolerates,
            near,
            far,
            max_skew,
        })
}

fn key(by_zone: bool) -> &'static str {
    if by_zone { "zone" } else { "kubernetes.io/hostname" }
}

fn to_node(index: usize, node: &ANode) -> Node {
    let mut labels = json!({});
    if let Some(zone) = node.zone {
        labels["zone"] = zone.to_string().into();
    }
    let taints =
        if node.tainted { json!([{"key": "t", "effect": "NoSchedule"}]) } else { json!([]) };
    testing::node(
        &format!("n{index}"),
        json!({"metadata": {"labels": labels}, "spec": {"taints": taints},
            "status": {"allocatable": {"cpu": node.cpus.to_string()}}}),
    )
}

fn to_pod(name: &str, pod: &APod, node: Option<usize>) -> Pod {
    let terms = |other: Option<(u8, bool)>| -> Value {
        let Some((app, by_zone)) = other else { return json!([]) };
        json!([{"topologyKey": key(by_zone),
            "labelSelector": {"matchLabels": {"app": app.to_string()}}}])
    };
    let mut spec = json!({
        "priority": pod.priority,
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}],
        "affinity": {"podAffinity": {REQUIRED: terms(pod.near)},
            "podAntiAffinity": {REQUIRED: terms(pod.far)}},
    });
    if pod.tolerates {
        spec["tolerations"] = json!([{"key": "t", "operator": "Exists"}]);
    }
    if let Some(max_skew) = pod.max_skew {
        spec["topologySpreadConstraints"] = json!([{"maxSkew": max_skew, "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": pod.app.to_string()}}}]);
    }
    if let Some(node) = node {
        spec["nodeName"] = format!("n{node}").into();
    }
    testing::pod(
        name,
        json!({"metadata": {"uid": name, "labels": {"app": pod.app.to_string()}}, "spec": spec}),
    )
}

struct Model<'a> {
    nodes: &'a [ANode],
    there: Vec<(usize, &'a APod)>,
}

impl Model<'_> {
    fn domain(&self, node: usize, by_zone: bool) -> Option<String> {
        if by_zone { Some(self.nodes[node].zone?.to_string()) } else { Some(node.to_string()) }
    }

    fn together(&self, one: usize, other: usize, by_zone: bool) -> bool {
        let domain = self.domain(one, by_zone);
        domain.is_some() && domain == self.domain(other, by_zone)
    }

    fn fits(&self, pod: &APod, node: usize) -> bool {
        let used = self.there.iter().filter(|(on, _)| *on == node).count();
        (pod.tolerates || !self.nodes[node].tainted)
            && used < usize::from(self.nodes[node].cpus)
            && self.is_near(pod, node)
            && self.is_far(pod, node)
            && self.is_even(pod, node)
    }

    fn is_near(&self, pod: &APod, node: usize) -> bool {
        let Some((app, by_zone)) = pod.near else { return true };
        let mut meant = self.there.iter().filter(|(_, other)| other.app == app);
        let nobody = meant.clone().all(|(on, _)| self.domain(*on, by_zone).is_none());
        self.domain(node, by_zone).is_some()
            && (meant.any(|(on, _)| self.together(*on, node, by_zone)) || nobody && pod.app == app)
    }

    fn is_far(&self, pod: &APod, node: usize) -> bool {
        self.there.iter().all(|(on, other)| {
            let repels = |one: &APod, another: &APod| {
                one.far.is_some_and(|(app, by_zone)| {
                    another.app == app && self.together(*on, node, by_zone)
                })
            };
            !repels(pod, other) && !repels(other, pod)
        })
    }

    fn is_even(&self, pod: &APod, node: usize) -> bool {
        let Some(max_skew) = pod.max_skew else { return true };
        let Some(zone) = self.nodes[node].zone else { return false };
        let zones = self.nodes.iter().filter_map(|node| Some((node.zone?, 0usize)));
        let mut counts: BTreeMap<u8, usize> = zones.collect();
        for (on, _) in self.there.iter().filter(|(_, other)| other.app == pod.app) {
            if let Some(zone) = self.nodes[*on].zone {
                *counts.entry(zone).or_default() += 1;
            }
        }
        let least = counts.values().min().copied().unwrap_or_default();
        let with_it = counts[&zone] + 1;
        with_it <= least + usize::from(max_skew)
    }
}

fn index(name: &str) -> usize {
    name[1..].parse().unwrap()
}

fn check(nodes: &[ANode], pods: &[APod], coming: &APod) -> Result<(), TestCaseError> {
    let place = |pod: &APod| pod.node % nodes.len();
    let api_nodes: Vec<Node> = nodes.iter().enumerate().map(|(i, n)| to_node(i, n)).collect();
    let api_pods: Vec<Pod> = pods
        .iter()
        .enumerate()
        .map(|(i, pod)| to_pod(&format!("p{i}"), pod, Some(place(pod))))
        .collect();
    let snapshot = Snapshot::new(&api_nodes, &api_pods);
    let pod = to_pod("coming", coming, None);
    let without = |gone: &[usize]| Model {
        nodes,
        there: pods
            .iter()
            .enumerate()
            .filter(|(i, _)| !gone.contains(i))
            .map(|(_, pod)| (place(pod), pod))
            .collect(),
    };
    let model = without(&[]);
    let fitting: Vec<usize> = (0..nodes.len()).filter(|node| model.fits(coming, *node)).collect();
    let why = match schedule(&pod, &snapshot) {
        Ok(placement) => {
            prop_assert!(fitting.contains(&index(&placement.node)), "{placement:?} {fitting:?}");
            return Ok(());
        }
        Err(why) => why,
    };
    prop_assert_eq!(fitting, Vec::<usize>::new());
    let lower = |node: usize| -> Vec<usize> {
        (0..pods.len())
            .filter(|i| place(&pods[*i]) == node && pods[*i].priority < coming.priority)
            .collect()
    };
    match preempt(&pod, &snapshot, &why) {
        Ok(Preemption { node, victims, .. }) => {
            let victim = |id: &PodId| index(&id.name);
            let gone: Vec<usize> = victims.iter().map(victim).collect();
            let node = index(&node);
            prop_assert!(gone.iter().all(|one| lower(node).contains(one)));
            prop_assert!(!gone.is_empty() && without(&gone).fits(coming, node));
            // None of them for nothing.
            for spared in &gone {
                let rest: Vec<usize> = gone.iter().filter(|i| *i != spared).copied().collect();
                prop_assert!(!without(&rest).fits(coming, node), "{spared} for nothing");
            }
        }
        Err(_) => {
            for node in 0..nodes.len() {
                let lower = lower(node);
                prop_assert!(
                    lower.is_empty() || !without(&lower).fits(coming, node),
                    "node {node} would have room"
                );
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn as_the_model_says(
        nodes in vec(a_node(), 1..5),
        pods in vec(a_pod(), 0..9),
        coming in a_pod(),
    ) {
        check(&nodes, &pods, &coming)?;
    }
}
