//! The namespaces of a cluster and the links between them, made with `ip`, which is on every host
//! and whose commands an operator can repeat.
//!
//! The bridges stand in a namespace of their own: the host's own network sees nothing of a cluster.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::sched::{CloneFlags, setns};

use super::plan::{ClusterPlan, Host, SEGMENT_LEN_V4, SEGMENT_LEN_V6};
use crate::paths::ClusterPaths;

/// The name of a host's link to the underlay, inside its namespace.
pub(crate) const UPLINK: &str = "uplink";
/// The other link of a rack's router, towards its rack.
const RACK_LINK: &str = "rack";

/// No detection of duplicate addresses (RFC 4862, 5.4): links of our own have none. While a link's
/// own address is tentative, up to two seconds, a router asks for no neighbour on behalf of what it
/// forwards (RFC 4861, 7.2.2, wants a source that is assigned), and a client's first SYN is lost.
const NO_DUPLICATES: [(&str, &str); 1] = [("ipv6/conf/default/accept_dad", "0")];
/// A rack's router forwards by itself when it starts; until then its nodes would wait a second for
/// each packet that was lost on the way to the API.
const FORWARDING: [(&str, &str); 2] = [("ipv4/ip_forward", "1"), ("ipv6/conf/all/forwarding", "1")];

pub(crate) fn create(plan: &ClusterPlan, paths: &ClusterPaths) -> Result<()> {
    fs::create_dir_all(paths.netns_tags()).context("create the folder of namespace tags")?;
    for namespace in plan.namespaces() {
        // The tag comes first: a crash in between leaves a tag too many, never a namespace.
        fs::write(paths.netns_tags().join(&namespace), "")?;
        run("ip", &["netns", "add", &namespace])?;
        set(&namespace, &NO_DUPLICATES)?;
    }
    for (segment, ports) in segments(plan) {
        create_segment(plan, &segment, &ports)?;
    }
    for rack in &plan.racks {
        set(&plan.netns(&rack.router.name), &FORWARDING)?;
    }
    for host in plan.fabric().chain(plan.edge()) {
        ip_batch(&plan.netns(&host.name), &routes(plan, host)?)?;
    }
    let outside = plan.netns("outside");
    let mut border = format!("link add outside type veth peer name {UPLINK} netns {outside}\n");
    border += &addresses(&plan.border_outside, "outside")?;
    ip_batch(&plan.netns("border"), &border)?;
    let mut commands = addresses(&plan.outside, UPLINK)?;
    writeln!(commands, "route add default via {}", plan.border_outside.v4)?;
    writeln!(commands, "route add ::/0 via {}", plan.border_outside.v6)?;
    ip_batch(&outside, &commands)
}

/// A host's place on a segment.
struct Port<'a> {
    /// The bridge's end, in the namespace of the segments.
    name: String,
    /// The host's end.
    link: &'static str,
    host: &'a Host,
}

/// Every segment, by the name of its bridge, with what is plugged into it.
fn segments(plan: &ClusterPlan) -> Vec<(String, Vec<Port<'_>>)> {
    fn uplink(host: &Host) -> Port<'_> {
        Port { name: host.name.clone(), link: UPLINK, host }
    }
    let in_rack = |host: &&Host| plan.rack_of(host).is_some();
    let mut fabric: Vec<_> = plan.fabric().map(uplink).collect();
    fabric.extend(plan.edge().filter(|host| !in_rack(host)).map(uplink));
    let mut segments = vec![("segment".to_owned(), fabric)];
    for rack in &plan.racks {
        let name = &rack.router.name;
        let gateway = Port { name: format!("{name}-down"), link: RACK_LINK, host: &rack.gateway };
        let hosts = plan.edge().filter(|host| host.rack.as_ref() == Some(name)).map(uplink);
        segments.push((format!("{name}-seg"), [gateway].into_iter().chain(hosts).collect()));
    }
    segments
}

fn create_segment(plan: &ClusterPlan, bridge: &str, ports: &[Port<'_>]) -> Result<()> {
    // Snooping would hold back IPv6 neighbour discovery until a querier is elected.
    let mut commands = format!(
        "link set lo up\n\
         link add {bridge} type bridge mcast_snooping 0 forward_delay 0\n\
         link set {bridge} up\n"
    );
    for Port { name, link, host } in ports {
        let namespace = plan.netns(&host.name);
        writeln!(commands, "link add {name} type veth peer name {link} netns {namespace}")?;
        writeln!(commands, "link set {name} master {bridge} up")?;
    }
    ip_batch(&plan.netns("underlay"), &commands)?;
    for Port { link, host, .. } in ports {
        ip_batch(&plan.netns(&host.name), &addresses(host, link)?)?;
    }
    Ok(())
}

/// The underlay's routes, which are static: BGP brings those to pods and virtual IPs on top of them.
/// Whoever is on the fabric reaches a rack by its router, everybody the rest by a default route.
fn routes(plan: &ClusterPlan, host: &Host) -> Result<String> {
    let mut commands = String::new();
    if plan.fabric().any(|one| one == host) {
        for rack in plan.racks.iter().filter(|rack| rack.router != *host) {
            for (cidr, router) in rack.cidrs.iter().zip(rack.router.addresses()) {
                writeln!(commands, "route add {cidr} via {router} dev {UPLINK}")?;
            }
        }
    }
    if let Some(gateway) = plan.gateway_of(host) {
        writeln!(commands, "route add default via {} dev {UPLINK}", gateway.v4)?;
        writeln!(commands, "route add ::/0 via {} dev {UPLINK}", gateway.v6)?;
    }
    Ok(commands)
}

/// Writes settings below `/proc/sys/net` of a namespace.
fn set(namespace: &str, settings: &'static [(&'static str, &'static str)]) -> Result<()> {
    let file = Path::new("/run/netns").join(namespace);
    let file = fs::File::open(&file).with_context(|| format!("open {}", file.display()))?;
    // A thread that ends here: entering a namespace cannot be undone on one that is used again.
    let thread = std::thread::spawn(move || -> Result<()> {
        setns(file, CloneFlags::CLONE_NEWNET)?;
        for (setting, value) in settings {
            fs::write(Path::new("/proc/sys/net").join(setting), value)
                .with_context(|| format!("set {setting}"))?;
        }
        Ok(())
    });
    match thread.join() {
        Ok(result) => result,
        Err(_panic) => bail!("the thread that sets {namespace}'s settings panicked"),
    }
}

fn addresses(host: &Host, link: &str) -> Result<String> {
    let mut commands = String::from("link set lo up\n");
    writeln!(commands, "link set {link} up")?;
    writeln!(commands, "address add {}/{SEGMENT_LEN_V4} dev {link}", host.v4)?;
    // The setting is for the link's own address, this is for ours.
    writeln!(commands, "address add {}/{SEGMENT_LEN_V6} dev {link} nodad", host.v6)?;
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
