//! The rules of the house, held against what is there: the arrows between crates, what pure crates
//! draw in, who may import kube, where unsafe stands, and how long files are.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::run::{output, root};

/// Each room, the first folder of a crate's path, and what its crates may import of ours: rooms,
/// or single crates.
const ARROWS: [(&str, &[&str]); 13] = [
    ("net", &[]),
    ("api", &["net"]),
    ("bgpd", &["net", "api", "bgpd"]),
    // Of the data plane the mark of service traffic alone.
    ("vrouter", &["net", "api", "vrouter", "ebpf-abi"]),
    ("ebpf", &["ebpf"]),
    ("lb", &["net", "api", "lb", "ebpf"]),
    // Blocks are given out by a controller and borrowed on the node, by the same rules.
    ("control", &["net", "api", "control", "vrouter-ipam"]),
    ("viaduct", &["net", "api", "bgpd", "vrouter", "ebpf", "lb", "control"]),
    ("echo", &[]),
    ("xtask", &[]),
    ("tests", &["net", "api", "bgpd", "vrouter", "ebpf", "lb", "control", "viaduct", "tests"]),
    // Measures what the tests raise, with the same harness, and speaks BGP to daemons.
    ("bench", &["net", "bgp-wire", "tests"]),
    // Breaks promises of whatever reads what strangers write.
    ("fuzz", &["net", "api", "bgpd"]),
];

/// Crates without I/O, runtime or clock, and all that they import.
const PURE: [&str; 13] = [
    "bgp-wire",
    "bgp-policy",
    "bgp-rib",
    "bgp-bfd",
    "bgp-mrt",
    "bgp-bmp",
    "bgp-speaker",
    "vrouter-plan",
    "vrouter-ipam",
    "ebpf-abi",
    "ebpf-datapath",
    "lb-plan",
    "control-scheduler",
];

/// What no pure crate draws in, by the beginning of the name.
const IMPURE: [&str; 10] =
    ["tokio", "netlink", "rtnetlink", "aya", "hyper", "socket2", "mio", "nix", "axum", "kube"];

/// The clients of the Kubernetes API, and the rooms in which they are at home.
const KUBE: [&str; 2] = ["kube", "k8s-openapi"];
const KUBE_ROOMS: [&str; 3] = ["control", "viaduct", "tests"];

/// Where unsafe may stand: the data plane, and what speaks to the kernel.
const UNSAFE: [&str; 9] = [
    "ebpf/",
    "lb/maps/",
    "vrouter/kernel/",
    "vrouter/cni/",
    "bgpd/src/",
    "control/kubelet/",
    "viaduct/",
    "echo/",
    "tests/lab/",
];

const LINES_MAX: usize = 800;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    manifest_path: PathBuf,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

pub(crate) fn tidy() -> Result<()> {
    let root = root()?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let json = output(Command::new(cargo).current_dir(&root).args([
        "metadata",
        "--format-version=1",
        "--locked",
    ]))?;
    let metadata: Metadata = serde_json::from_slice(&json).context("cargo metadata")?;
    let mut faults = crate_faults(&root, &metadata)?;
    faults.extend(file_faults(&root)?);
    for fault in &faults {
        println!("{fault}");
    }
    ensure!(faults.is_empty(), "{} faults", faults.len());
    println!("tidy: {} crates", metadata.workspace_members.len());
    Ok(())
}

fn crate_faults(root: &Path, metadata: &Metadata) -> Result<Vec<String>> {
    let members = metadata.packages.iter().filter(|p| metadata.workspace_members.contains(&p.id));
    let mut rooms = BTreeMap::new();
    for package in members.clone() {
        rooms.insert(package.name.as_str(), room(root, package)?);
    }
    let mut faults = Vec::new();
    for package in members {
        let name = package.name.as_str();
        let room = rooms[name].as_str();
        match ARROWS.iter().find(|(from, _)| *from == room) {
            Some((_, allowed)) => faults.extend(arrow_faults(package, room, allowed, &rooms)),
            None => faults.push(format!("{name}: the room {room}/ is none of the house's")),
        }
        if PURE.contains(&name) {
            faults.extend(impure_faults(metadata, package));
        }
        let manifest = fs::read_to_string(&package.manifest_path)?;
        if !manifest.contains("[lints]\nworkspace = true") {
            faults.push(format!("{name}: does not take the lints of the workspace"));
        }
    }
    Ok(faults)
}

/// The first folder of the crate's path.
fn room(root: &Path, package: &Package) -> Result<String> {
    let path = package.manifest_path.strip_prefix(root).context("a member lies outside")?;
    let first = path.iter().next().context("a member has a folder")?;
    Ok(first.to_string_lossy().into_owned())
}

fn arrow_faults(
    package: &Package,
    room: &str,
    allowed: &[&str],
    rooms: &BTreeMap<&str, String>,
) -> Vec<String> {
    let name = &package.name;
    let mut faults = Vec::new();
    for dependency in &package.dependencies {
        let imported = dependency.name.as_str();
        if KUBE.contains(&imported) && !KUBE_ROOMS.contains(&room) {
            faults.push(format!("{name} imports {imported}: only control/ and viaduct/ may"));
        }
        let Some(imported_room) = rooms.get(imported) else { continue };
        // A crate's tests may use more of the house, but never the harness of `tests`.
        let test_only = dependency.kind.as_deref() == Some("dev") && imported_room != "tests";
        if !test_only && !allowed.contains(&imported_room.as_str()) && !allowed.contains(&imported)
        {
            faults.push(format!("{name} imports {imported}: {room}/ may not, see design.md"));
        }
    }
    faults
}

/// Walks what a pure crate draws in, apart from what only its tests and build scripts do.
fn impure_faults(metadata: &Metadata, package: &Package) -> Vec<String> {
    let nodes: BTreeMap<_, _> = metadata.resolve.nodes.iter().map(|n| (n.id.as_str(), n)).collect();
    let names: BTreeMap<_, _> =
        metadata.packages.iter().map(|p| (p.id.as_str(), p.name.as_str())).collect();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let mut ways = vec![(package.id.as_str(), package.name.clone())];
    while let Some((id, way)) = ways.pop() {
        for edge in nodes.get(id).map(|node| node.deps.as_slice()).unwrap_or_default() {
            let normal = edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
            if !normal || !seen.insert(edge.pkg.as_str()) {
                continue;
            }
            let name = names.get(edge.pkg.as_str()).copied().unwrap_or_default();
            let way = format!("{way} → {name}");
            if IMPURE.iter().any(|impure| name.starts_with(impure)) {
                faults.push(format!("{} is a pure crate and draws in {way}", package.name));
            } else {
                ways.push((&edge.pkg, way));
            }
        }
    }
    faults
}

fn file_faults(root: &Path) -> Result<Vec<String>> {
    let files = output(Command::new("git").current_dir(root).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]))?;
    let mut faults = Vec::new();
    for file in String::from_utf8(files)?.lines() {
        // Deleted, and not yet committed.
        let Ok(text) = fs::read_to_string(root.join(file)) else { continue };
        let lines = text.lines().count();
        if lines > LINES_MAX {
            faults.push(format!("{file}: {lines} lines, more than {LINES_MAX}: split it"));
        }
        let allowed = UNSAFE.iter().any(|folder| file.starts_with(folder));
        if let Some(number) = first_unsafe(&text)
            && !allowed
        {
            faults.push(format!("{file}:{number}: unsafe is for ebpf/ and what faces the kernel"));
        }
    }
    Ok(faults)
}

/// The line of the first `unsafe` that is a keyword: not in a comment or string, nor part of
/// another word, such as the name of the lint.
fn first_unsafe(text: &str) -> Option<usize> {
    const FORMS: [&str; 6] = ["{", "fn ", "impl", "trait ", "extern ", "("];
    let is_code = |line: &str| {
        let line = line.split("//").next().unwrap_or_default();
        line.match_indices("unsafe").any(|(index, word)| {
            let before = line[..index].chars().next_back();
            let after = line[index + word.len()..].trim_start();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
                && !line[..index].contains('"')
                && FORMS.iter().any(|form| after.starts_with(form))
        })
    };
    text.lines().position(is_code).map(|index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_is_found_where_it_is_code() {
        assert_eq!(first_unsafe("fn a() {\n    unsafe { b() }\n}"), Some(2));
        assert_eq!(first_unsafe("// unsafe { b() }\n#![expect(unsafe_code)]\n"), None);
        assert_eq!(first_unsafe("let text = \"unsafe { b() }\";"), None);
    }

    /// Every room that a rule names is a room.
    #[test]
    fn the_arrows_lead_somewhere() {
        let rooms: Vec<_> = ARROWS.iter().map(|(room, _)| *room).collect();
        for target in ARROWS.iter().flat_map(|(_, targets)| *targets) {
            assert!(rooms.contains(target) || target.contains('-'), "{target}");
        }
    }
}
