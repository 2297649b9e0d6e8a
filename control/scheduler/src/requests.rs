use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

use crate::Amount;

/// Amounts by the name of the resource.
pub(crate) type Amounts = BTreeMap<String, Amount>;

/// What a pod asks of a node, by resource: what its containers need together, or the greatest of
/// its init containers where that is more, as those run one after the other; and the overhead.
/// Each pod also takes one of the node's `pods`.
pub fn pod_requests(spec: &PodSpec) -> BTreeMap<String, Amount> {
    let mut running = sum(spec.containers.iter().map(container_requests));
    let mut starting = Amounts::new();
    let mut sidecars = Amounts::new();
    for container in spec.init_containers.iter().flatten() {
        let requests = container_requests(container);
        if container.restart_policy.as_deref() == Some("Always") {
            // Goes on beside everything that starts after it.
            sidecars = add(sidecars, requests);
            starting = greatest(starting, sidecars.clone());
        } else {
            starting = greatest(starting, add(sidecars.clone(), requests));
        }
    }
    running = greatest(add(running, sidecars), starting);
    // A request of the pod as a whole stands for those of its containers.
    if let Some(whole) = &spec.resources {
        running.extend(requests_of(whole));
    }
    let overhead = spec.overhead.iter().flatten().map(|(name, q)| (name.clone(), Amount::of(q)));
    let mut all = add(running, overhead.collect());
    all.insert("pods".into(), Amount::ONE);
    all
}

fn container_requests(container: &Container) -> Amounts {
    container.resources.as_ref().map(requests_of).unwrap_or_default()
}

/// A limit without a request is a request too.
fn requests_of(resources: &ResourceRequirements) -> Amounts {
    let amounts = |map: &Option<BTreeMap<String, Quantity>>| -> Amounts {
        map.iter().flatten().map(|(name, q)| (name.clone(), Amount::of(q))).collect()
    };
    let mut all = amounts(&resources.limits);
    all.extend(amounts(&resources.requests));
    all
}

fn sum(all: impl Iterator<Item = Amounts>) -> Amounts {
    all.fold(Amounts::new(), add)
}

pub(crate) fn add(mut left: Amounts, right: Amounts) -> Amounts {
    for (name, amount) in right {
        let entry = left.entry(name).or_default();
        *entry = *entry + amount;
    }
    left
}

pub(crate) fn subtract(left: &mut Amounts, right: &Amounts) {
    for (name, amount) in right {
        if let Some(entry) = left.get_mut(name) {
            *entry = *entry - *amount;
        }
    }
}

fn greatest(mut left: Amounts, right: Amounts) -> Amounts {
    for (name, amount) in right {
        let entry = left.entry(name).or_default();
        *entry = amount.max(*entry);
    }
    left
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn init_containers_count_by_the_greatest_and_sidecars_with_the_rest() {
        let spec: PodSpec = serde_json::from_value(json!({
            "overhead": {"cpu": "10m"},
            "initContainers": [
                {"name": "first", "resources": {"requests": {"cpu": "2", "memory": "1Mi"}}},
                {"name": "side", "restartPolicy": "Always",
                 "resources": {"requests": {"cpu": "100m"}}},
                {"name": "second", "resources": {"requests": {"cpu": "50m"}}},
            ],
            "containers": [
                {"name": "a", "resources": {"requests": {"memory": "64Mi"}, "limits": {"cpu": "1"}}},
                {"name": "b", "resources": {"requests": {"memory": "64Mi"}}},
            ],
        }))
        .unwrap();
        let requests = pod_requests(&spec);
        assert_eq!(requests["cpu"].to_millis(), 2010);
        assert_eq!(requests["memory"].to_units(), 128 << 20);
        assert_eq!(requests["pods"].to_units(), 1);
    }
}
