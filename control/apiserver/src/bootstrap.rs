//! What every cluster has from its first moment on.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    allocate::Allocator,
    api::Api,
    clock,
    kinds::{self, Kind, SYSTEM_CLASSES},
    registry::Registry,
    status_error::StatusError,
};

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

fn kind(group: &str, plural: &str) -> Result<&'static Kind, StatusError> {
    kinds::find(group, "v1", plural).ok_or_else(StatusError::unknown_path)
}

/// Notes the addresses and ports of all services that are there.
pub(crate) async fn adopt_services(
    registry: &Registry,
    allocator: &mut Allocator,
) -> Result<(), StatusError> {
    let services = kind("", "services")?;
    for service in registry.all(services, "").await? {
        allocator.record(None, Some(&service));
    }
    Ok(())
}

/// Makes what is missing.
pub(crate) async fn make_objects(api: &Api) -> Result<(), StatusError> {
    let namespaces = kind("", "namespaces")?;
    for name in NAMESPACES {
        make(api, namespaces, json!({ "metadata": { "name": name } })).await?;
    }
    let classes = kind("scheduling.k8s.io", "priorityclasses")?;
    for (name, value, description) in SYSTEM_CLASSES {
        let class = json!({
            "metadata": { "name": name },
            "value": value,
            "description": description,
        });
        make(api, classes, class).await?;
    }
    if !api.advertised.is_empty() {
        make_kubernetes_service(api).await?;
    }
    Ok(())
}

/// Makes an object unless there is one of that name.
async fn make(api: &Api, kind: &Kind, mut object: Value) -> Result<(), StatusError> {
    object["apiVersion"] = kind.api_version.into();
    object["kind"] = kind.kind.into();
    object["metadata"]["uid"] = clock::uid().into();
    object["metadata"]["creationTimestamp"] = clock::now().into();
    kind.default(&mut object);
    kind.prepare_create(&mut object);
    match api.registry.create(kind, object).await {
        Err(error) if error.reason != "AlreadyExists" => Err(error),
        _ => Ok(()),
    }
}

/// The Service `kubernetes`, at the first address of each range, and its endpoints.
async fn make_kubernetes_service(api: &Api) -> Result<(), StatusError> {
    let services = kind("", "services")?;
    let mut allocator = api.allocator.lock().await;
    if api.registry.find(services, "default", "kubernetes").await?.is_none() {
        let addresses = allocator.first_addresses();
        let mut service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": { "component": "apiserver", "provider": "kubernetes" },
                "uid": clock::uid(),
                "creationTimestamp": clock::now(),
            },
            "spec": {
                "clusterIPs": addresses,
                "ipFamilyPolicy": if addresses.len() > 1 { "PreferDualStack" } else { "SingleStack" },
                "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": 6443 }],
            },
        });
        service["spec"]["ports"][0]["targetPort"] = api.advertised[0].port().into();
        services.default(&mut service);
        services.prepare_create(&mut service);
        let errors = allocator.complete(&mut service);
        if !errors.is_empty() {
            return Err(StatusError::invalid(services, "kubernetes", &errors));
        }
        let made = api.registry.create(services, service).await?;
        allocator.record(None, Some(&made));
    }
    drop(allocator);
    for is_v4 in [true, false] {
        let of_family: Vec<SocketAddr> =
            api.advertised.iter().copied().filter(|a| a.is_ipv4() == is_v4).collect();
        make_endpoints(api, is_v4, &of_family).await?;
    }
    Ok(())
}

/// The slice of one family, brought up to date: the server may have moved.
async fn make_endpoints(
    api: &Api,
    is_v4: bool,
    addresses: &[SocketAddr],
) -> Result<(), StatusError> {
    let Some(first) = addresses.first() else { return Ok(()) };
    let slices = kind("discovery.k8s.io", "endpointslices")?;
    let (name, family) = if is_v4 { ("kubernetes", "IPv4") } else { ("kubernetes-ipv6", "IPv6") };
    let endpoints = json!([{
        "addresses": addresses.iter().map(|address| address.ip()).collect::<Vec<_>>(),
        "conditions": { "ready": true },
    }]);
    let ports = json!([{ "name": "https", "port": first.port(), "protocol": "TCP" }]);
    if let Some(old) = api.registry.find(slices, "default", name).await? {
        let mut new = old.clone();
        new["endpoints"] = endpoints;
        new["ports"] = ports;
        if new != old {
            api.registry.replace(slices, &old, new).await?;
        }
        return Ok(());
    }
    let slice = json!({
        "metadata": {
            "name": name,
            "namespace": "default",
            "generation": 1,
            "labels": { "kubernetes.io/service-name": "kubernetes" },
        },
        "addressType": family,
        "endpoints": endpoints,
        "ports": ports,
    });
    make(api, slices, slice).await
}
