//! Which endpoints are for clients elsewhere, by the hints of EndpointSlices.
//!
//! As in Kubernetes hints hold for a family of a service together: where one ready endpoint has none,
//! or none is meant for this node or zone, all are for everybody.

use std::{collections::BTreeSet, net::IpAddr};

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

use crate::node::cache::View;

const ZONE: &str = "topology.kubernetes.io/zone";

pub(super) fn zone<'view>(view: &'view View, node: &str) -> Option<&'view str> {
    let labels = view.nodes.get(node)?.metadata.labels.as_ref()?;
    labels.get(ZONE).map(String::as_str)
}

/// What one kind of hint says of an endpoint: nothing, or whether it is meant for us.
type Hint<'a> = &'a dyn Fn(&Endpoint) -> Option<bool>;

/// The addresses that new flows from this node are not meant for. Those of endpoints that are not
/// ready are not among them: they get none, or are the last that is left.
pub(super) fn elsewhere(
    slices: &[&EndpointSlice],
    node: &str,
    zone: Option<&str>,
) -> BTreeSet<IpAddr> {
    let for_node = |endpoint: &Endpoint| {
        let hints = endpoint.hints.as_ref()?.for_nodes.as_ref()?;
        (!hints.is_empty()).then(|| hints.iter().any(|one| one.name == node))
    };
    let for_zone = |endpoint: &Endpoint| {
        let hints = endpoint.hints.as_ref()?.for_zones.as_ref()?;
        (!hints.is_empty()).then(|| hints.iter().any(|one| Some(one.name.as_str()) == zone))
    };
    let mut elsewhere = BTreeSet::new();
    for family in ["IPv4", "IPv6"] {
        let of_family = slices.iter().filter(|slice| slice.address_type == family);
        let ready: Vec<&Endpoint> = of_family
            .flat_map(|slice| slice.endpoints.iter().flatten())
            .filter(|e| is_ready(e))
            .collect();
        let usable = |hint: Hint<'_>| {
            ready.iter().all(|endpoint| hint(endpoint).is_some())
                && ready.iter().any(|endpoint| hint(endpoint) == Some(true))
        };
        let hints: [Hint<'_>; 2] = [&for_node, &for_zone];
        if let Some(hint) = hints.into_iter().find(|hint| usable(*hint)) {
            let others = ready.iter().filter(|endpoint| hint(endpoint) == Some(false));
            elsewhere
                .extend(others.filter_map(|one| one.addresses.first()?.parse::<IpAddr>().ok()));
        }
    }
    elsewhere
}

/// What is not said means ready.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|all| all.ready).unwrap_or(true)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn slice(endpoints: &[Value]) -> EndpointSlice {
        serde_json::from_value(json!({"addressType": "IPv4", "endpoints": endpoints})).unwrap()
    }

    fn endpoint(number: u8, zones: &[&str], nodes: &[&str]) -> Value {
        let hints = |names: &[&str]| -> Vec<Value> {
            names.iter().map(|name| json!({"name": name})).collect()
        };
        json!({
            "addresses": [format!("10.0.0.{number}")],
            "conditions": {"ready": true},
            "hints": {"forZones": hints(zones), "forNodes": hints(nodes)},
        })
    }

    fn not_here(endpoints: &[Value], node: &str, zone: Option<&str>) -> Vec<String> {
        let slice = slice(endpoints);
        elsewhere(&[&slice], node, zone).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_own_zone_is_preferred_while_it_has_an_endpoint() {
        let both = [endpoint(1, &["a"], &[]), endpoint(2, &["b"], &[])];
        assert_eq!(not_here(&both, "n", Some("a")), ["10.0.0.2"]);
        assert_eq!(not_here(&both, "n", Some("b")), ["10.0.0.1"]);
        // Nothing is meant for this zone, or nobody knows which it is.
        assert_eq!(not_here(&both, "n", Some("c")), [""; 0]);
        assert_eq!(not_here(&both, "n", None), [""; 0]);
    }

    #[test]
    fn one_ready_endpoint_without_hints_is_enough_to_heed_none() {
        let mut endpoints = vec![endpoint(1, &["a"], &[]), endpoint(2, &["b"], &[])];
        endpoints.push(endpoint(3, &[], &[]));
        assert_eq!(not_here(&endpoints, "n", Some("a")), [""; 0]);
        // One that is not ready does not count, neither here nor there.
        endpoints[2]["conditions"]["ready"] = false.into();
        assert_eq!(not_here(&endpoints, "n", Some("a")), ["10.0.0.2"]);
        endpoints[0]["conditions"]["ready"] = false.into();
        assert_eq!(not_here(&endpoints, "n", Some("a")), [""; 0]);
    }

    #[test]
    fn the_own_node_comes_before_the_zone() {
        let all =
            [endpoint(1, &["a"], &["n"]), endpoint(2, &["a"], &["m"]), endpoint(3, &["b"], &["o"])];
        assert_eq!(not_here(&all, "n", Some("a")), ["10.0.0.2", "10.0.0.3"]);
        assert_eq!(not_here(&all, "x", Some("a")), ["10.0.0.3"]);
        assert_eq!(not_here(&all, "x", Some("c")), [""; 0]);
    }

    #[test]
    fn families_do_not_wait_for_each_other() {
        let v4 = slice(&[endpoint(1, &["a"], &[]), endpoint(2, &["b"], &[])]);
        let mut v6 = slice(&[endpoint(3, &[], &[])]);
        v6.address_type = "IPv6".to_owned();
        assert_eq!(elsewhere(&[&v4, &v6], "n", Some("a")).len(), 1);
    }
}
