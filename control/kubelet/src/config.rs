//! What a kubelet is told.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use crate::image::GcPolicy;
pub use crate::runtime::cni::CniConfig;

/// The port on which clusters expect kubelets.
pub const PORT_DEFAULT: u16 = 10250;

#[derive(Clone, Debug)]
pub struct KubeletConfig {
    pub node_name: String,
    /// The node's own addresses, the preferred family first.
    pub node_addresses: Vec<IpAddr>,
    /// Labels to put on the node besides those that every node has.
    pub labels: BTreeMap<String, String>,
    /// State of this node: records, bundles, volumes, logs. Must outlive the process.
    pub root_dir: PathBuf,
    /// Imported images; may be shared by nodes.
    pub image_store: PathBuf,
    /// Absolute cgroup path below which the pods' groups are, and nothing else.
    pub cgroup_parent: String,
    /// Without it pods have loopback only.
    pub cni: Option<CniConfig>,
    pub runc: PathBuf,
    pub conmon: PathBuf,
    /// Logs and statistics, asked for by the API server.
    pub listen: SocketAddr,
    /// TLS for `listen`; plain HTTP without.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The admin socket of the node's network daemon; without it nobody is asked whether a pod has
    /// left the services before it ends.
    pub network_socket: Option<PathBuf>,
    /// TLS towards the kubelets of other nodes, with this node's certificate; plain HTTP without.
    pub peer_tls: Option<Arc<rustls::ClientConfig>>,
    /// What the node offers; everything that the machine has where it is `None`.
    pub capacity: Option<Capacity>,
    pub lease_duration: Duration,
    /// Name servers for pods with `dnsPolicy: ClusterFirst`; the node's own where empty.
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    /// The file that names the node's own name servers.
    pub resolv_conf: PathBuf,
    /// Containers that are being created at the same time.
    pub concurrent_starts_max: usize,
    /// A container's log begins anew after so many bytes.
    pub log_bytes_max: u64,
    /// When images that nobody uses are removed.
    pub image_gc: GcPolicy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    pub cpu_millis: u64,
    pub memory_bytes: u64,
    pub pods: u32,
}

impl Capacity {
    pub const PODS_DEFAULT: u32 = 110;

    /// What the machine has.
    pub fn detect() -> io::Result<Self> {
        let cpus = std::thread::available_parallelism()?.get() as u64;
        let meminfo = std::fs::read_to_string("/proc/meminfo")?;
        let kib = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.split_whitespace().next())
            .and_then(|number| number.parse::<u64>().ok())
            .ok_or_else(|| io::Error::other("/proc/meminfo has no MemTotal"))?;
        Ok(Self { cpu_millis: cpus * 1000, memory_bytes: kib * 1024, pods: Self::PODS_DEFAULT })
    }
}

impl KubeletConfig {
    /// A node of that name with everything else as it usually is.
    pub fn new(
        node_name: impl Into<String>,
        root_dir: impl Into<PathBuf>,
        image_store: impl Into<PathBuf>,
    ) -> Self {
        let node_name = node_name.into();
        Self {
            cgroup_parent: format!("/viaduct/{node_name}/pods"),
            node_name,
            node_addresses: Vec::new(),
            labels: BTreeMap::new(),
            root_dir: root_dir.into(),
            image_store: image_store.into(),
            cni: None,
            runc: PathBuf::from("/usr/sbin/runc"),
            conmon: PathBuf::from("/usr/bin/conmon"),
            listen: SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), PORT_DEFAULT),
            tls: None,
            network_socket: None,
            peer_tls: None,
            capacity: None,
            lease_duration: Duration::from_secs(40),
            cluster_dns: Vec::new(),
            cluster_domain: String::from("cluster.local"),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            concurrent_starts_max: 4,
            log_bytes_max: 10 << 20,
            image_gc: GcPolicy::default(),
        }
    }

    /// What is wrong with it, in words.
    pub(crate) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.node_name.is_empty() {
            problems.push("node_name is empty".to_owned());
        }
        let parent = &self.cgroup_parent;
        if !parent.starts_with('/') || parent.trim_matches('/').is_empty() {
            problems.push(format!("cgroup_parent {parent:?} is no absolute path below the root"));
        }
        for (name, path) in [("root_dir", &self.root_dir), ("image_store", &self.image_store)] {
            if !path.is_absolute() {
                problems.push(format!("{name} {} is not absolute", path.display()));
            }
        }
        for (name, path) in [("runc", &self.runc), ("conmon", &self.conmon)] {
            if !path.is_file() {
                problems.push(format!("{name} is not at {}; install it", path.display()));
            }
        }
        if let Some(cni) = &self.cni
            && !cni.plugin.is_file()
        {
            problems.push(format!("no CNI plugin at {}", cni.plugin.display()));
        }
        let GcPolicy { high_percent: high, low_percent: low, .. } = self.image_gc;
        if !(1..=100).contains(&high) || low >= high {
            problems.push(format!(
                "image_gc: {low} % is not below {high} %, or they are not between 0 and 100"
            ));
        }
        if self.concurrent_starts_max == 0 {
            problems.push("concurrent_starts_max is 0".to_owned());
        }
        if self.lease_duration < Duration::from_secs(1) {
            problems.push("lease_duration is shorter than a second".to_owned());
        }
        problems
    }
}
