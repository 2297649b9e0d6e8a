//! The pods behind a service, as EndpointSlices.
//!
//! One set of slices for each family and each set of port numbers (a named target port may be
//! another in each pod). An endpoint stays in the slice it is in, so that a change rewrites as few
//! slices as it can.

mod hints;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, Pod, Service, ServicePort},
        discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice},
    },
    apimachinery::pkg::{apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use serde_json::json;
use sha2::{Digest, Sha256};
use viaduct_net::Family;

use crate::{
    kinds::{Key, Kind, Object},
    operation::{Operation, Outcome, controlled_by, delete, patch},
    pods, selector,
    world::World,
};

pub(crate) const SERVICE_NAME: &str = "kubernetes.io/service-name";
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
const CONTROLLER: &str = "endpointslice-controller.k8s.io";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Endpoints of one slice, Kubernetes' default.
const SLICE_LIMIT: usize = 100;

/// What one slice is about; its endpoints by their address.
#[derive(Debug, Default)]
struct Group {
    ports: Vec<EndpointPort>,
    endpoints: BTreeMap<String, Endpoint>,
}

pub(crate) fn reconcile(key: &Key, world: &World) -> Outcome {
    let mut outcome = Outcome::default();
    let existing: Vec<Arc<EndpointSlice>> = of_service(world, key).cloned().collect();
    let service = world.objects.services.get(key);
    let live = service.filter(|service| service.metadata.deletion_timestamp.is_none());
    let Some(service) = live else {
        for slice in existing {
            outcome.push(delete(&Object::EndpointSlice(slice)));
        }
        return outcome;
    };
    // Without a selector someone else says what is behind the service.
    let Some(groups) = groups(key, service, world) else { return outcome };
    let labels = labels(service);
    let mut unused: BTreeSet<Key> = existing.iter().map(|slice| Key::of(&slice.metadata)).collect();
    for ((family, id), group) in groups {
        let prefix = format!("{}-{family}-{id}", key.name);
        fill(key, service, &labels, (family, &prefix, group), world, &mut unused, &mut outcome);
    }
    // After the others, so that no endpoint is ever in none.
    for key in unused {
        if let Some(slice) = world.objects.endpoint_slices.get(&key) {
            outcome.push(delete(&Object::EndpointSlice(slice.clone())));
        }
    }
    outcome
}

/// The slices of a service that are ours.
fn of_service<'a>(
    world: &'a World,
    service: &'a Key,
) -> impl Iterator<Item = &'a Arc<EndpointSlice>> {
    let first = Key::new(service.namespace.clone(), "");
    world
        .objects
        .endpoint_slices
        .range(first..)
        .take_while(|(key, _)| key.namespace == service.namespace)
        .map(|(_, slice)| slice)
        .filter(|slice| {
            let label = |name: &str| slice.metadata.labels.as_ref()?.get(name);
            label(SERVICE_NAME) == Some(&service.name)
                && label(MANAGED_BY).is_some_and(|by| by == CONTROLLER)
                && slice.metadata.deletion_timestamp.is_none()
        })
}

/// What the slices should hold. At least one group for each family, so that who looks finds that
/// there is nothing, and does not find nothing.
fn groups(
    key: &Key,
    service: &Service,
    world: &World,
) -> Option<BTreeMap<(Family, String), Group>> {
    let spec = service.spec.as_ref()?;
    let selector = spec.selector.as_ref().filter(|selector| !selector.is_empty())?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    let publish = spec.publish_not_ready_addresses == Some(true);
    let ports = spec.ports.as_deref().unwrap_or_default();
    let families = families(service);
    let mut groups: BTreeMap<(Family, String), Group> = BTreeMap::new();
    for (pod_key, pod) in &world.objects.pods {
        let selected = pod_key.namespace == key.namespace
            && selector::matches_all(selector, pod.metadata.labels.as_ref());
        if !selected || pods::has_ended(pod) || pods::node_of(pod).is_none() {
            continue;
        }
        let ports = resolve(ports, pod);
        for address in pods::addresses(pod) {
            let family = Family::of(address);
            if families.contains(&family) {
                let group = groups.entry((family, ports_id(&ports))).or_default();
                group.ports.clone_from(&ports);
                group
                    .endpoints
                    .insert(address.to_string(), endpoint(key, pod, address, publish, world));
            }
        }
    }
    hints::fill(service, groups.values_mut().flat_map(|group| group.endpoints.values_mut()));
    for family in families {
        if !groups.keys().any(|(other, _)| *other == family) {
            let ports = resolve(ports, &Pod::default());
            let group = Group { ports: ports.clone(), endpoints: BTreeMap::new() };
            groups.insert((family, ports_id(&ports)), group);
        }
    }
    Some(groups)
}

fn families(service: &Service) -> Vec<Family> {
    let spec = service.spec.as_ref();
    let named: Vec<Family> = spec
        .and_then(|spec| spec.ip_families.as_ref())
        .into_iter()
        .flatten()
        .filter_map(|family| match family.as_str() {
            "IPv4" => Some(Family::V4),
            "IPv6" => Some(Family::V6),
            _ => None,
        })
        .collect();
    // A headless service with a selector may come without.
    if named.is_empty() { Family::ALL.into() } else { named }
}

/// The numbers of the service's ports in this pod; a name the pod does not have is left out.
fn resolve(ports: &[ServicePort], pod: &Pod) -> Vec<EndpointPort> {
    ports
        .iter()
        .filter_map(|port| {
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
            let number = match &port.target_port {
                None => port.port,
                Some(IntOrString::Int(0)) => port.port,
                Some(IntOrString::Int(number)) => *number,
                Some(IntOrString::String(name)) => container_port(pod, name, &protocol)?,
            };
            Some(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(number),
                protocol: Some(protocol),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

fn container_port(pod: &Pod, name: &str, protocol: &str) -> Option<i32> {
    let containers = pod.spec.as_ref()?.containers.iter();
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .find(|port| {
            port.name.as_deref() == Some(name)
                && port.protocol.as_deref().unwrap_or("TCP") == protocol
        })
        .map(|port| port.container_port)
}

/// A short name for a set of ports.
fn ports_id(ports: &[EndpointPort]) -> String {
    let mut hash = Sha256::new();
    for port in ports {
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        hash.update(format!(
            "{}/{}/{}/{};",
            text(&port.name),
            port.port.unwrap_or_default(),
            text(&port.protocol),
            text(&port.app_protocol)
        ));
    }
    hash.finalize()[..3].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn endpoint(
    service: &Key,
    pod: &Pod,
    address: std::net::IpAddr,
    publish_not_ready: bool,
    world: &World,
) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pods::is_deleting(pod);
    let node = pods::node_of(pod).map(str::to_owned);
    let zone = node.as_ref().and_then(|node| {
        let node = world.objects.nodes.get(&Key::new("", node.as_str()))?;
        node.metadata.labels.as_ref()?.get(ZONE).cloned()
    });
    Endpoint {
        addresses: vec![address.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(publish_not_ready || serving && !terminating),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        node_name: node,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".into()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone,
        hostname: hostname(service, pod),
        ..Endpoint::default()
    }
}

/// The pod's name below the service, where the pod names the service as its subdomain.
fn hostname(service: &Key, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let below = spec.subdomain.as_deref() == Some(service.name.as_str());
    spec.hostname.clone().filter(|name| below && !name.is_empty())
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    let name = service.metadata.name.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), name);
    labels.insert(MANAGED_BY.into(), CONTROLLER.into());
    let ip = service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref());
    if ip == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels
}

/// Brings the slices named after `prefix` to hold the group. Those it uses leave `unused`.
fn fill(
    service_key: &Key,
    service: &Arc<Service>,
    labels: &BTreeMap<String, String>,
    (family, prefix, group): (Family, &str, Group),
    world: &World,
    unused: &mut BTreeSet<Key>,
    outcome: &mut Outcome,
) {
    let mut left = group.endpoints;
    // By number: what is there, and what should be.
    let mut slices: BTreeMap<usize, (Option<Arc<EndpointSlice>>, Vec<Endpoint>)> = BTreeMap::new();
    for (key, slice) in &world.objects.endpoint_slices {
        let number = key.name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-'));
        let number = number.and_then(|number| number.parse().ok());
        if let (Some(number), true) = (number, unused.contains(key)) {
            let here =
                slice.endpoints.iter().flatten().filter_map(|endpoint| endpoint.addresses.first());
            let kept = here.filter_map(|address| left.remove(address)).take(SLICE_LIMIT).collect();
            slices.insert(number, (Some(slice.clone()), kept));
        }
    }
    let mut rest = left.into_values();
    for (_, endpoints) in slices.values_mut() {
        let room = SLICE_LIMIT.saturating_sub(endpoints.len());
        endpoints.extend(rest.by_ref().take(room));
    }
    loop {
        let endpoints: Vec<Endpoint> = rest.by_ref().take(SLICE_LIMIT).collect();
        let needed = !endpoints.is_empty() || slices.is_empty();
        if !needed {
            break;
        }
        let free = (0..).find(|number| !slices.contains_key(number)).unwrap_or_default();
        slices.insert(free, (None, endpoints));
    }
    // One without endpoints stays where there is no other.
    let mut keep_empty = slices.values().all(|(_, endpoints)| endpoints.is_empty());
    for (number, (slice, mut endpoints)) in slices {
        if endpoints.is_empty() && !std::mem::take(&mut keep_empty) {
            continue;
        }
        endpoints.sort_by(|a, b| a.addresses.cmp(&b.addresses));
        match slice {
            Some(slice) => {
                unused.remove(&Key::of(&slice.metadata));
                let same = slice.endpoints.as_deref().unwrap_or_default() == endpoints
                    && slice.ports.as_deref().unwrap_or_default() == group.ports
                    && slice.metadata.labels.as_ref() == Some(labels);
                if !same {
                    let gone = slice.metadata.labels.iter().flatten();
                    let gone = gone.filter(|(key, _)| !labels.contains_key(*key));
                    let mut changed = json!(labels);
                    for (key, _) in gone {
                        changed[key] = serde_json::Value::Null;
                    }
                    let change = json!({
                        "metadata": {"labels": changed},
                        "endpoints": endpoints,
                        "ports": group.ports,
                    });
                    outcome.push(patch(&Object::EndpointSlice(slice), None, change));
                }
            }
            None => {
                let slice = EndpointSlice {
                    metadata: ObjectMeta {
                        name: Some(format!("{prefix}-{number}")),
                        namespace: Some(service_key.namespace.clone()),
                        labels: Some(labels.clone()),
                        owner_references: Some(vec![controlled_by(&Object::Service(
                            service.clone(),
                        ))]),
                        ..ObjectMeta::default()
                    },
                    address_type: match family {
                        Family::V4 => "IPv4".into(),
                        Family::V6 => "IPv6".into(),
                    },
                    endpoints: Some(endpoints),
                    ports: Some(group.ports.clone()),
                };
                outcome.push(Operation::Create {
                    kind: Kind::EndpointSlice,
                    namespace: service_key.namespace.clone(),
                    object: json!(slice),
                });
            }
        }
    }
}

#[cfg(test)]
mod tests;
