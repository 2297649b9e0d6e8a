//! What must hold before `up` makes anything: an error here leaves nothing to be removed.

use std::{
    fs, io,
    net::{Ipv4Addr, TcpListener},
    path::Path,
};

use anyhow::{Context, Result, bail};

use super::{UpArgs, app::Application, down, plan::ClusterPlan};
use crate::{
    paths::{self, ClusterPaths},
    programs,
};

/// Every program that is started on the way, and the Debian package that has it.
const PROGRAMS: [(&str, &str); 8] = [
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("runc", "runc"),
    ("conmon", "conmon"),
    ("mount", "mount"),
    ("umount", "mount"),
    ("unshare", "util-linux"),
    ("setsid", "util-linux"),
];

pub(super) fn check(
    args: &UpArgs,
    application: Option<&Application>,
    paths: &ClusterPaths,
) -> Result<()> {
    if down::is_present(paths) {
        bail!(present(paths));
    }
    let missing: Vec<String> = PROGRAMS
        .iter()
        .filter(|(name, _)| programs::find(name).is_none())
        .map(|(name, package)| format!("{name} (package {package})"))
        .collect();
    if !missing.is_empty() {
        bail!("not found in PATH: {}; `make deps` installs what is missing", missing.join(", "));
    }
    if application.is_some_and(Application::has_example_image) && !args.echo.is_file() {
        bail!(
            "the example program {} is not there: `make build` builds it, --echo names it, \
             --bare does without",
            args.echo.display()
        );
    }
    check_port(args.api_port)
}

/// Makes the folder that says that the cluster is up. Of two that want it one gets it.
pub(super) fn claim(paths: &ClusterPaths) -> Result<()> {
    match fs::create_dir(&paths.run) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(present(paths)),
        result => result.with_context(|| format!("create {}", paths.run.display())),
    }
}

/// What to say of a cluster of which something is there.
fn present(paths: &ClusterPaths) -> String {
    let name = &paths.name;
    let removes = format!("`viaduct down --name {name}` removes it");
    if paths.is_supervised() {
        format!(
            "cluster `{name}` is there already: `viaduct status --cluster {name}` shows it, {removes}"
        )
    } else {
        format!(
            "cluster `{name}` is coming up, was left half-way, or has lost its supervisor, so that \
             nothing is started again that ends: {removes} and keeps what it stored"
        )
    }
}

/// A port that is taken must be found out now: whoever has it may be another cluster, and would
/// be taken for this one.
fn check_port(port: u16) -> Result<()> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
        Ok(_closed_again) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let by = match cluster_at(Path::new(paths::RUN), port) {
                Some(name) => format!("is that of cluster `{name}`"),
                None => format!("is taken (`ss -ltnp sport = :{port}` shows by whom)"),
            };
            bail!("port {port} of 127.0.0.1 {by}: choose another with --api-port")
        }
        Err(error) => Err(error).with_context(|| format!("listen on 127.0.0.1:{port}")),
    }
}

/// The cluster whose API has this port.
fn cluster_at(run: &Path, port: u16) -> Option<String> {
    fs::read_dir(run).ok()?.flatten().find_map(|cluster| {
        let plan = fs::read(cluster.path().join("cluster.json")).ok()?;
        let plan: ClusterPlan = serde_json::from_slice(&plan).ok()?;
        (plan.api_port == port).then_some(plan.name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::up::plan::Shape;

    #[test]
    fn a_taken_port_is_named_with_the_remedy() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let error = check_port(port).unwrap_err().to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--api-port"), "{error}");
        drop(listener);
        check_port(port).unwrap();
    }

    #[test]
    fn a_cluster_is_known_by_its_port() {
        let run = std::env::temp_dir().join(format!("viaduct-ports-{}", std::process::id()));
        fs::create_dir_all(run.join("a")).unwrap();
        let shape = Shape { nodes: 1, racks: None, reflectors: false };
        let plan = ClusterPlan::new("a", shape, 18080).unwrap();
        fs::write(run.join("a/cluster.json"), serde_json::to_vec(&plan).unwrap()).unwrap();
        assert_eq!(cluster_at(&run, 18080).as_deref(), Some("a"));
        assert_eq!(cluster_at(&run, 18081), None);
        fs::remove_dir_all(&run).unwrap();
    }
}
