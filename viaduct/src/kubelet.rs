//! `viaduct kubelet`: the pods of a node, where the control plane is `viaduct server`.

use std::{
    net::IpAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;
use control_kubelet::{CniConfig, KubeletConfig};

use crate::{kubeclient, node, paths, programs, shutdown, tls};

#[derive(Args)]
pub(crate) struct KubeletArgs {
    /// Name of the node; this machine's name where not given.
    #[arg(long)]
    name: Option<String>,
    /// How to reach the API.
    #[arg(long, value_name = "FILE")]
    kubeconfig: PathBuf,
    /// The node's own address, one for each family.
    #[arg(long = "node-ip", value_name = "ADDRESS", required = true)]
    node_ips: Vec<IpAddr>,
    /// Folder of the records, volumes and logs of pods.
    #[arg(long, default_value = "/var/lib/viaduct/kubelet")]
    state_dir: PathBuf,
    /// Folder of the imported images.
    #[arg(long, default_value = "/var/lib/viaduct/images")]
    images: PathBuf,
    /// The cgroup of all pods, as a path below the root of each hierarchy.
    #[arg(long, default_value = "/viaduct/pods")]
    cgroup_parent: PathBuf,
    /// The socket at which `viaduct node` answers the CNI plugin.
    #[arg(long, default_value = "/run/viaduct/cni.sock")]
    cni_socket: PathBuf,
    /// The admin socket of `viaduct node`: pods end once it has taken them out of the services, and
    /// the API server asks it through this kubelet.
    #[arg(long, value_name = "SOCKET", default_value = "/run/viaduct/admin.sock")]
    network_socket: PathBuf,
    /// Certificate of the port at which the API server asks for logs, in PEM.
    #[arg(long, value_name = "FILE")]
    tls_cert: PathBuf,
    /// Its key.
    #[arg(long, value_name = "FILE")]
    tls_key: PathBuf,
    /// The CA that signs the API server's certificate.
    #[arg(long, value_name = "FILE")]
    client_ca: PathBuf,
    /// A label of the Node, as KEY=VALUE; may be given again.
    #[arg(long = "node-label", value_name = "LABEL", value_parser = label)]
    node_labels: Vec<(String, String)>,
    /// Seconds for which a sign of life counts; it is given four times as often.
    #[arg(long, default_value_t = 40)]
    lease_secs: u64,
    /// Percent of the disk in use from which on images that nobody uses are removed; pinned ones stay.
    #[arg(long, default_value_t = 85, value_name = "PERCENT")]
    image_gc_high_threshold: u8,
    /// Percent of the disk down to which they are.
    #[arg(long, default_value_t = 80, value_name = "PERCENT")]
    image_gc_low_threshold: u8,
    /// A name server for pods; the node's own where not given.
    #[arg(long = "cluster-dns", value_name = "ADDRESS")]
    cluster_dns: Vec<IpAddr>,
    /// The domain of the cluster's names.
    #[arg(long, default_value = "cluster.local", value_name = "DOMAIN")]
    cluster_domain: String,
    /// The file that names the name servers of pods that ask as the node does.
    #[arg(long, default_value = "/etc/resolv.conf", value_name = "FILE")]
    resolv_conf: PathBuf,
}

pub(crate) async fn run(args: KubeletArgs) -> Result<()> {
    let stop = shutdown::token()?;
    let name = match args.name {
        Some(name) => name,
        None => node::hostname()?,
    };
    paths::create_private(&args.state_dir)?;
    let client = kubeclient::client(Some(&args.kubeconfig)).await?;
    let mut config = KubeletConfig::new(name, &args.state_dir, &args.images);
    // Not everyone has them where Debian has; where they are nowhere, the kubelet says so.
    config.runc = programs::find("runc").unwrap_or(config.runc);
    config.conmon = programs::find("conmon").unwrap_or(config.conmon);
    config.node_addresses = args.node_ips;
    config.labels = args.node_labels.into_iter().collect();
    config.cgroup_parent = args.cgroup_parent.display().to_string();
    config.tls = Some(Arc::new(tls::server(&args.tls_cert, &args.tls_key, &args.client_ca)?));
    config.peer_tls = Some(Arc::new(tls::client(&args.tls_cert, &args.tls_key, &args.client_ca)?));
    config.network_socket = Some(args.network_socket);
    config.lease_duration = Duration::from_secs(args.lease_secs);
    config.image_gc.high_percent = args.image_gc_high_threshold;
    config.image_gc.low_percent = args.image_gc_low_threshold;
    config.cluster_dns = args.cluster_dns;
    config.cluster_domain = args.cluster_domain;
    config.resolv_conf = args.resolv_conf;
    config.cni = Some(CniConfig {
        plugin: cni_plugin(&args.state_dir)?,
        conf: serde_json::json!({
            "cniVersion": "1.1.0",
            "name": "viaduct",
            "type": "viaduct-cni",
            "socket": args.cni_socket,
        }),
    });
    control_kubelet::run(config, client, stop).await?;
    Ok(())
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err(format!("`{text}` is no label: expected KEY=VALUE")),
    }
}

/// This program under the name by which it is the plugin.
fn cni_plugin(state_dir: &Path) -> Result<PathBuf> {
    let folder = state_dir.join("bin");
    std::fs::create_dir_all(&folder)?;
    let plugin = folder.join("viaduct-cni");
    // Made anew, since the program may have moved.
    let staged = folder.join("viaduct-cni.new");
    let _ = std::fs::remove_file(&staged);
    symlink(std::env::current_exe()?, &staged)?;
    std::fs::rename(&staged, &plugin).with_context(|| format!("make {}", plugin.display()))?;
    Ok(plugin)
}
