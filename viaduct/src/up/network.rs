//! The namespaces of a cluster and the links between them, made with `ip`, which is on every host
//! and whose commands an operator can repeat.
//!
//! The bridge stands in a namespace of its own: the host's own network sees nothing of a cluster.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::plan::{ClusterPlan, Host, UNDERLAY_LEN_V4, UNDERLAY_LEN_V6};
use crate::paths::ClusterPaths;

/// The name of a host's link to the underlay, inside its namespace.
pub(crate) const UPLINK: &str = "uplink";

pub(crate) fn create(plan: &ClusterPlan, paths: &ClusterPaths) -> Result<()> {
    fs::create_dir_all(paths.netns_tags()).context("create the folder of namespace tags")?;
    for namespace in plan.namespaces() {
        // The tag comes first: a crash in between leaves a tag too many, never a namespace.
        fs::write(paths.netns_tags().join(&namespace), "")?;
        run("ip", &["netns", "add", &namespace])?;
    }
    let underlay = plan.netns("underlay");
    // Snooping would hold back IPv6 neighbour discovery until a querier is elected.
    ip_batch(
        &underlay,
        "link set lo up\n\
         link add segment type bridge mcast_snooping 0 forward_delay 0\n\
         link set segment up\n",
    )?;
    let mut ports = String::new();
    for host in plan.nodes.iter().chain([&plan.border, &plan.control]) {
        let namespace = plan.netns(&host.name);
        writeln!(ports, "link add {0} type veth peer name {UPLINK} netns {namespace}", host.name)?;
        writeln!(ports, "link set {0} master segment up", host.name)?;
    }
    ip_batch(&underlay, &ports)?;
    for host in plan.nodes.iter().chain([&plan.control]) {
        let mut commands = addresses(host, UPLINK, UNDERLAY_LEN_V4, UNDERLAY_LEN_V6)?;
        writeln!(commands, "route add default via {} dev {UPLINK}", plan.border.v4)?;
        writeln!(commands, "route add ::/0 via {} dev {UPLINK}", plan.border.v6)?;
        ip_batch(&plan.netns(&host.name), &commands)?;
    }
    let mut border = addresses(&plan.border, UPLINK, UNDERLAY_LEN_V4, UNDERLAY_LEN_V6)?;
    let outside = plan.netns("outside");
    writeln!(border, "link add outside type veth peer name {UPLINK} netns {outside}")?;
    border += &addresses(&plan.border_outside, "outside", 24, 64)?;
    ip_batch(&plan.netns("border"), &border)?;
    let mut commands = addresses(&plan.outside, UPLINK, 24, 64)?;
    writeln!(commands, "route add default via {}", plan.border_outside.v4)?;
    writeln!(commands, "route add ::/0 via {}", plan.border_outside.v6)?;
    ip_batch(&outside, &commands)
}

fn addresses(host: &Host, link: &str, len_v4: u8, len_v6: u8) -> Result<String> {
    let mut commands = String::from("link set lo up\n");
    writeln!(commands, "link set {link} up")?;
    writeln!(commands, "address add {}/{len_v4} dev {link}", host.v4)?;
    // A link of our own has no duplicates, and detection would cost a second.
    writeln!(commands, "address add {}/{len_v6} dev {link} nodad", host.v6)?;
    Ok(commands)
}

/// A mount namespace with a bpffs of its own, held by a bind mount. `/sys` stays the host's: a
/// fresh one would lose the cgroup mounts.
pub(crate) fn create_mount_namespace(paths: &ClusterPaths, node: &str) -> Result<()> {
    let folder = paths.mount_namespaces();
    if !folder.exists() {
        fs::create_dir_all(&folder)?;
        // A mount namespace can be bound only onto a mount that does not propagate.
        let folder = path(&folder)?;
        run("mount", &["--bind", folder, folder])?;
        run("mount", &["--make-private", folder])?;
    }
    let holder = folder.join(node);
    fs::write(&holder, "")?;
    let unshare = format!("--mount={}", path(&holder)?);
    let mount = "mkdir -p /sys/fs/bpf && mount -t bpf bpf /sys/fs/bpf";
    run("unshare", &[&unshare, "--propagation", "private", "sh", "-c", mount])
}

/// Removes what [`create`] and [`create_mount_namespace`] made, as far as it is there.
pub(crate) fn remove(paths: &ClusterPaths) -> Result<()> {
    let folder = paths.mount_namespaces();
    if folder.exists() {
        for holder in fs::read_dir(&folder)? {
            // Not mounted is as good as unmounted.
            let _ = run("umount", &[path(&holder?.path())?]);
        }
        let _ = run("umount", &[path(&folder)?]);
    }
    if paths.netns_tags().exists() {
        for tag in fs::read_dir(paths.netns_tags())? {
            let name = tag?.file_name();
            let Some(name) = name.to_str() else { continue };
            if Path::new("/run/netns").join(name).exists() {
                run("ip", &["netns", "delete", name])?;
            }
        }
    }
    Ok(())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start `{program}`: is it installed? (make deps)"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` failed: {}", arguments.join(" "), why.trim());
    }
    Ok(())
}

/// Runs the commands of `ip` in one process, in the namespace.
fn ip_batch(namespace: &str, commands: &str) -> Result<()> {
    let mut ip = Command::new("ip")
        .args(["-netns", namespace, "-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start `ip`: is iproute2 installed? (make deps)")?;
    if let Some(mut stdin) = ip.stdin.take() {
        stdin.write_all(commands.as_bytes())?;
    }
    let output = ip.wait_with_output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("`ip -netns {namespace} -batch` failed: {}; commands were:\n{commands}", why.trim());
    }
    Ok(())
}
