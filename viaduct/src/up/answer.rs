//! The last stage of `up`: every service of the application answers, those with virtual IPs from
//! `outside`, all of them from a node.

use std::{
    fs::File,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::{Service, ServicePort};
use kube::{Api, Client, ResourceExt};
use nix::sched::{CloneFlags, setns};

use super::{
    plan::ClusterPlan,
    probe::{self, Target},
    progress::Progress,
    ready,
    spawn::{self, HeldSockets, ProcessSpec},
};
use crate::paths::ClusterPaths;

const LIMIT: Duration = Duration::from_secs(60);

/// What answered from outside.
pub(crate) async fn services(
    client: &Client,
    plan: &ClusterPlan,
    paths: &ClusterPaths,
    services: &[Service],
    progress: &Progress,
) -> Result<Vec<Target>> {
    let inside: Vec<Target> = services.iter().flat_map(cluster_ips).collect();
    let outside = async {
        let mut targets = Vec::new();
        for service in services.iter().filter(|service| is_load_balancer(service)) {
            targets.extend(from_outside(client, plan, service, progress).await?);
        }
        Ok(targets)
    };
    let (targets, ()) = tokio::try_join!(outside, from_a_node(plan, paths, &inside))?;
    Ok(targets)
}

/// Asks a service from outside at each virtual IP that it gets.
async fn from_outside(
    client: &Client,
    plan: &ClusterPlan,
    service: &Service,
    progress: &Progress,
) -> Result<Vec<Target>> {
    let (name, namespace) = (service.name_any(), service.namespace().unwrap_or_default());
    let api = Api::<Service>::namespaced(client.clone(), &namespace);
    let spec = service.spec.as_ref();
    let families = spec.and_then(|spec| spec.ip_families.as_ref()).map_or(1, Vec::len);
    ready::ask(&format!("the virtual IPs of {name}"), progress, async || {
        let vips = virtual_ips(&api.get(&name).await?);
        if vips.len() < families {
            bail!("service {name} has {} virtual IPs so far", vips.len());
        }
        Ok(())
    })
    .await?;
    let service = api.get(&name).await?;
    let targets = targets(&service, &virtual_ips(&service));
    let namespace = Path::new("/run/netns").join(plan.netns("outside"));
    for target in &targets {
        ready::ask(&format!("{target} from outside"), progress, async || {
            let (namespace, target) = (namespace.clone(), *target);
            tokio::task::spawn_blocking(move || ask_in(&namespace, target)).await?
        })
        .await?;
    }
    Ok(targets)
}

fn is_load_balancer(service: &Service) -> bool {
    let kind = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    kind == Some("LoadBalancer")
}

fn virtual_ips(service: &Service) -> Vec<IpAddr> {
    let status = service.status.as_ref();
    let ingress = status.and_then(|status| status.load_balancer.as_ref()?.ingress.as_ref());
    ingress
        .into_iter()
        .flatten()
        .filter_map(|ingress| ingress.ip.as_deref()?.parse().ok())
        .collect()
}

/// A service's own addresses; a headless one has none.
fn cluster_ips(service: &Service) -> Vec<Target> {
    let ips = service.spec.as_ref().and_then(|spec| spec.cluster_ips.as_deref());
    let ips: Vec<IpAddr> =
        ips.unwrap_or_default().iter().filter_map(|ip| ip.parse().ok()).collect();
    targets(service, &ips)
}

/// Every address with every port that takes connections.
fn targets(service: &Service, addresses: &[IpAddr]) -> Vec<Target> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let mut targets = Vec::new();
    for port in ports.iter().filter(|port| port.protocol.as_deref().unwrap_or("TCP") == "TCP") {
        let Ok(number) = u16::try_from(port.port) else { continue };
        for address in addresses {
            let address = SocketAddr::new(*address, number);
            let is_http = speaks_http(port);
            targets.push(if is_http { Target::Http(address) } else { Target::Tcp(address) });
        }
    }
    targets
}

fn speaks_http(port: &ServicePort) -> bool {
    let named =
        port.name.as_deref().is_some_and(|name| name == "http" || name.starts_with("http-"));
    named || port.app_protocol.as_deref() == Some("http")
}

/// One request, sent inside a network namespace.
fn ask_in(namespace: &Path, target: Target) -> Result<()> {
    let namespace =
        File::open(namespace).with_context(|| format!("open {}", namespace.display()))?;
    // A thread that ends here: entering a namespace cannot be undone on one that is used again.
    let request = std::thread::spawn(move || -> Result<()> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        target.ask()
    });
    match request.join() {
        Ok(result) => result,
        Err(_panic) => bail!("the request to {target} panicked"),
    }
}

/// Asks from the first node, by a process of its own: what a socket's hooks do is decided by the
/// cgroup, and a thread has none of its own.
async fn from_a_node(plan: &ClusterPlan, paths: &ClusterPaths, targets: &[Target]) -> Result<()> {
    let Some(node) = plan.nodes.first().filter(|_| !targets.is_empty()) else { return Ok(()) };
    let name = format!("{}.probe", node.name);
    let mut arguments = vec!["probe".to_owned(), format!("--seconds={}", LIMIT.as_secs())];
    arguments.extend(targets.iter().map(Target::to_string));
    let spec = ProcessSpec {
        log: paths.log(&name),
        name,
        arguments,
        netns: Path::new("/run/netns").join(plan.netns(&node.name)),
        mount_namespace: None,
        cgroup: paths.node_cgroup(&node.name).join("daemons"),
        sockets: HeldSockets::None,
        notify: None,
    };
    let mut child = spawn::spawn(&std::env::current_exe()?, &spec, &[])?;
    if child.wait().await?.success() {
        return Ok(());
    }
    let log = std::fs::read_to_string(&spec.log).unwrap_or_default();
    bail!("from {}: {}", node.name, log.lines().last().unwrap_or("no answer"));
}

/// `viaduct probe`: what [`from_a_node`] starts.
pub(crate) async fn probe(targets: Vec<Target>, seconds: u64) -> Result<()> {
    let limit = Duration::from_secs(seconds);
    tokio::task::spawn_blocking(move || probe::ask_all(&targets, limit)).await?
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_address_and_port_is_asked() {
        let service: Service = serde_json::from_value(json!({
            "spec": {
                "type": "LoadBalancer", "clusterIPs": ["10.96.0.9", "fd00::9"],
                "ports": [
                    {"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"port": 6379, "protocol": "TCP"}, {"port": 81, "appProtocol": "http"},
                ],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}, {"hostname": "x"}]}},
        }))
        .unwrap();
        assert!(is_load_balancer(&service));
        let texts = |targets: Vec<Target>| {
            targets.iter().map(Target::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            texts(cluster_ips(&service)),
            "http://10.96.0.9:80/ http://[fd00::9]:80/ tcp://10.96.0.9:6379 tcp://[fd00::9]:6379 \
             http://10.96.0.9:81/ http://[fd00::9]:81/"
        );
        assert_eq!(virtual_ips(&service), ["203.0.113.1".parse::<IpAddr>().unwrap()]);
        let headless = json!({"spec": {"clusterIPs": ["None"], "ports": [{"port": 80}]}});
        assert!(cluster_ips(&serde_json::from_value(headless).unwrap()).is_empty());
    }
}
