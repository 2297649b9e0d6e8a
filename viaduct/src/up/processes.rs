//! The processes of a cluster, from its plan. Pure.

use std::{net::IpAddr, path::Path};

use super::{
    network::UPLINK,
    plan::{ClusterPlan, Host},
    spawn::{HeldSockets, ProcessSpec},
    speakers::{self, Speaker},
};
use crate::{node::dns, operator::admin::socket_in, paths::ClusterPaths};

/// For how long a node's sign of life counts. Well below the grace: three signs may be lost.
const LEASE_SECS: u32 = 8;

/// What a cluster of one machine may lose sight of a node for; a Kubernetes cluster waits 40 s.
const NODE_GRACE_SECS: u32 = 12;

/// And then its pods wait for so long before they are started elsewhere.
const EVICTION_SECS: u32 = 3;

pub(crate) const SECURE_PORT: u16 = 6443;

/// `witness` is the pid of a process in the network namespace of the plain listener.
pub(crate) fn processes(
    plan: &ClusterPlan,
    paths: &ClusterPaths,
    witness: u32,
) -> Vec<ProcessSpec> {
    let mut all = vec![server(plan, paths, witness)];
    for one in speakers::outside_the_nodes(plan) {
        all.push(speaker(plan, paths, &one));
    }
    for node in &plan.nodes {
        all.push(node_daemon(plan, paths, node));
        all.push(kubelet(plan, paths, node));
    }
    all
}

/// Collects the arguments of one command line.
struct Arguments(Vec<String>);

impl Arguments {
    fn new(command: &str) -> Self {
        Self(vec![command.to_owned()])
    }

    fn option(mut self, name: &str, value: impl ToString) -> Self {
        self.0.extend([format!("--{name}"), value.to_string()]);
        self
    }

    fn path(self, name: &str, path: &Path) -> Self {
        let path = path.display().to_string();
        self.option(name, path)
    }
}

fn spec(
    plan: &ClusterPlan,
    paths: &ClusterPaths,
    host: &str,
    part: &str,
    arguments: Arguments,
) -> ProcessSpec {
    let name = format!("{host}.{part}");
    ProcessSpec {
        log: paths.log(&name),
        notify: None,
        name,
        arguments: arguments.0,
        netns: Path::new("/run/netns").join(plan.netns(host)),
        mount_namespace: None,
        cgroup: paths.cgroup.join(host).join("daemons"),
        sockets: HeldSockets::None,
    }
}

fn server(plan: &ClusterPlan, paths: &ClusterPaths, witness: u32) -> ProcessSpec {
    let pki = paths.pki();
    let mut arguments = Arguments::new("server")
        .path("state-dir", &paths.server_state())
        .path("plain-sockets", &Path::new("/proc").join(witness.to_string()).join("net"))
        .option("listen", format!("[::]:{SECURE_PORT}"))
        .path("tls-cert", &pki.join("server.crt"))
        .path("tls-key", &pki.join("server.key"))
        .path("client-ca", &pki.join("ca.crt"))
        .path("kubeconfig", &pki.join("controllers.kubeconfig"))
        .option("node-grace-secs", NODE_GRACE_SECS)
        .option("eviction-secs", EVICTION_SECS);
    arguments.0.push("--plain-passed".to_owned());
    for address in plan.control.addresses() {
        arguments = arguments.option("advertise", address);
    }
    for one in speakers::outside_the_nodes(plan) {
        let socket = socket_in(&paths.node_run(&one.host.name));
        arguments = arguments.option("speaker", format!("{}={}", one.host.name, socket.display()));
    }
    for cidr in &plan.service_cidrs {
        arguments = arguments.option("service-cidr", cidr);
    }
    ProcessSpec {
        sockets: HeldSockets::Api,
        ..spec(plan, paths, &plan.control.name, "server", arguments)
    }
}

fn speaker(plan: &ClusterPlan, paths: &ClusterPaths, speaker: &Speaker<'_>) -> ProcessSpec {
    let host = speaker.host;
    let command = speaker.part.command();
    let arguments = Arguments::new(command)
        .option("name", &host.name)
        .path("config", &paths.speaker(&host.name))
        .option("router-id", host.v4)
        .path("run-dir", &paths.node_run(&host.name));
    let spec = spec(plan, paths, &host.name, command, with_addresses(arguments, host));
    ProcessSpec { notify: Some(paths.notify(&spec.name)), ..spec }
}

fn node_daemon(plan: &ClusterPlan, paths: &ClusterPaths, node: &Host) -> ProcessSpec {
    let arguments = Arguments::new("node")
        .option("name", &node.name)
        .path("kubeconfig", &paths.pki().join(format!("{}.kubeconfig", node.name)))
        .path("run-dir", &paths.node_run(&node.name))
        .path("state-dir", &paths.node_state(&node.name).join("network"))
        .path("cgroup", &paths.node_cgroup(&node.name))
        .option("uplink", UPLINK);
    let arguments = with_dns(with_addresses(arguments, node));
    let arguments = plan
        .service_cidrs
        .iter()
        .fold(arguments, |arguments, cidr| arguments.option("service-cidr", cidr));
    let spec = spec(plan, paths, &node.name, "node", arguments);
    ProcessSpec {
        // Held, so that no query is lost while one daemon takes the place of another that has died.
        sockets: HeldSockets::Dns(dns::ADDRESSES.into()),
        mount_namespace: Some(paths.mount_namespaces().join(&node.name)),
        notify: Some(paths.notify(&spec.name)),
        ..spec
    }
}

fn kubelet(plan: &ClusterPlan, paths: &ClusterPaths, node: &Host) -> ProcessSpec {
    let pods = Path::new("/").join(&paths.cgroup_relative).join(&node.name).join("pods");
    let pki = paths.pki();
    let arguments = Arguments::new("kubelet")
        .option("name", &node.name)
        .path("kubeconfig", &pki.join(format!("{}.kubeconfig", node.name)))
        .path("state-dir", &paths.node_state(&node.name).join("kubelet"))
        .path("images", &paths.images())
        .path("cgroup-parent", &pods)
        .path("cni-socket", &paths.node_run(&node.name).join("cni.sock"))
        .path("network-socket", &socket_in(&paths.node_run(&node.name)))
        .path("tls-cert", &pki.join(format!("{}.crt", node.name)))
        .path("tls-key", &pki.join(format!("{}.key", node.name)))
        .path("client-ca", &pki.join("ca.crt"))
        .option("lease-secs", LEASE_SECS);
    let labels = node.labels().into_iter();
    let arguments = labels.fold(arguments, |arguments, (key, value)| {
        arguments.option("node-label", format!("{key}={value}"))
    });
    let arguments = with_dns(with_addresses(arguments, node));
    ProcessSpec {
        mount_namespace: Some(paths.mount_namespaces().join(&node.name)),
        ..spec(plan, paths, &node.name, "kubelet", arguments)
    }
}

fn with_dns(arguments: Arguments) -> Arguments {
    dns::ADDRESSES
        .into_iter()
        .fold(arguments, |arguments, address| arguments.option("cluster-dns", address))
}

fn with_addresses(arguments: Arguments, host: &Host) -> Arguments {
    host.addresses()
        .into_iter()
        .fold(arguments, |arguments, address: IpAddr| arguments.option("node-ip", address))
}
