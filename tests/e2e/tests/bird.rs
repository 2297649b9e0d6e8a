//! A BIRD 2 router in place of our border: it learns blocks and virtual IPs, and `outside` reaches
//! the services through it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use viaduct_lab::{Cluster, Options, Shell, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

/// A BIRD of the test's own, in the border's namespace.
struct Bird {
    child: Child,
    shell: Shell,
    folder: tempfile::TempDir,
}

impl Bird {
    fn start(cluster: &Cluster) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("bird.conf");
        fs::write(&config, configuration(cluster)?)?;
        let shell = cluster.host("border");
        let mut command = shell.command("bird");
        let command = command.arg("-f").arg("-c").arg(&config).arg("-s");
        let child = command.arg(folder.path().join("ctl")).stdout(Stdio::null()).spawn();
        Ok(Self { child: child.context("start bird: is bird2 installed?")?, shell, folder })
    }

    fn ask(&self, question: &str) -> Result<String> {
        let control = self.folder.path().join("ctl");
        let control = control.to_str().context("a folder that is not UTF-8")?;
        self.shell.run("birdc", &["-s", control, question])
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        // Nothing is left to be done where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(cluster: &Cluster) -> Result<String> {
    let plan = &cluster.report["cluster"];
    let mut text = String::from(
        "log stderr all;\n\
         protocol device { scan time 5; }\n\
         protocol direct { ipv4; ipv6; }\n\
         protocol kernel { ipv4 { export where source = RTS_BGP; }; merge paths on; }\n\
         protocol kernel { ipv6 { export where source = RTS_BGP; }; merge paths on; }\n",
    );
    let border = plan["border"]["v4"].as_str().context("no border")?;
    text.insert_str(0, &format!("router id {border};\n"));
    for (number, (address, asn)) in neighbours(cluster)?.iter().enumerate() {
        text += &format!(
            "protocol bgp n{number} {{ local {border} as 64600; neighbor {address} as {asn}; \
             error wait time 1, 5; connect retry time 2; \
             ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}\n",
        );
    }
    Ok(text)
}

/// Address and AS of whoever speaks with the border: the rack routers, or else the nodes.
fn neighbours(cluster: &Cluster) -> Result<Vec<(String, u64)>> {
    let plan = &cluster.report["cluster"];
    let list = |field: &str| plan[field].as_array().cloned().unwrap_or_default();
    let racks = list("racks");
    let speakers = match racks.is_empty() {
        true => list("nodes").iter().map(|node| (node["v4"].clone(), Some(64512))).collect(),
        false => {
            let of = |rack: &Value| (rack["router"]["v4"].clone(), rack["asn"].as_u64());
            racks.iter().map(of).collect::<Vec<_>>()
        }
    };
    let known = |(address, asn): (Value, Option<u64>)| Some((address.as_str()?.to_owned(), asn?));
    speakers.into_iter().map(|speaker| known(speaker).context("no address, or no AS")).collect()
}

#[test]
fn bird_in_place_of_the_border() {
    run(2, &[]).unwrap();
}

/// The rack routers tell BIRD what their own nodes have told them, and no more.
#[test]
fn bird_in_place_of_the_border_of_racks() {
    run(4, &["--racks", "2", "--reflector"]).unwrap();
}

/// Both tests have the same cluster, one after the other.
static ONE_CLUSTER: Mutex<()> = Mutex::new(());

fn run(nodes: usize, arguments: &[&str]) -> Result<()> {
    ensure!(Path::new("/usr/sbin/bird").exists(), "bird2 is not installed: make deps-test");
    let _turn = ONE_CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    let mut options = Options::new("e2e-bird", 18081);
    options.nodes = nodes;
    options.arguments.push("--no-border".to_owned());
    options.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
    let cluster = Cluster::up(&options)?;
    // Our border forwards because it says so itself; BIRD leaves that to its host.
    let border = cluster.host("border");
    border.run("sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"])?;
    let bird = Bird::start(&cluster)?;
    let result = check(&cluster, &bird);
    if result.is_err() {
        cluster.print_logs();
        let shown = bird.ask("show protocols all").unwrap_or_default();
        eprintln!("{shown}");
    }
    result
}

fn check(cluster: &Cluster, bird: &Bird) -> Result<()> {
    let wanted = neighbours(cluster)?.len();
    wait_for("BIRD's sessions", LIMIT, || {
        let protocols = bird.ask("show protocols")?;
        let up = protocols.lines().filter(|line| line.contains("Established")).count();
        ensure!(up == wanted, "{up} of {wanted} are established:\n{protocols}");
        Ok(())
    })?;
    cluster.ready_pods("app=echo", 3)?;
    let (_, vips, _) = cluster.service("echo")?;
    ensure!(vips.len() == 2, "echo has virtual IPs {vips:?}");
    let blocks = cluster.json(&["get", "ipblocks"])?;
    let blocks = blocks["items"].as_array().context("no blocks")?;
    let blocks = blocks.iter().filter_map(|block| block["spec"]["cidr"].as_str());
    let vips_wanted =
        vips.iter().map(|vip| format!("{vip}/{}", if vip.is_ipv6() { 128 } else { 32 }));
    let wanted: Vec<String> = blocks.map(str::to_owned).chain(vips_wanted).collect();
    wait_for("BIRD's routes", LIMIT, || {
        let routes = bird.ask("show route")?;
        for prefix in &wanted {
            ensure!(routes.contains(prefix), "{prefix} is not among:\n{routes}");
        }
        Ok(())
    })?;
    if cluster.report["cluster"]["racks"].as_array().is_some_and(|racks| !racks.is_empty()) {
        by_rack(cluster, bird)?;
    }
    for vip in vips {
        let url = format!("http://{}/", std::net::SocketAddr::new(vip, 80));
        let outcome = wait_for(&url, LIMIT, || {
            let outcome = cluster.host("outside").ask("get", &url, 100)?;
            outcome.none_lost(&url)?;
            Ok(outcome)
        })?;
        println!("outside → {url} through BIRD: {:?}", outcome.by_pod());
    }
    let version = Command::new("bird").arg("--version").output()?;
    println!(
        "{}: {} routes learned",
        String::from_utf8_lossy(&version.stderr).trim(),
        wanted.len()
    );
    Ok(())
}

/// A block is told by the router of the rack that its node is in, and by no other.
fn by_rack(cluster: &Cluster, bird: &Bird) -> Result<()> {
    let plan = &cluster.report["cluster"];
    let list = |field: &str| plan[field].as_array().cloned().unwrap_or_default();
    let node_named = |node: &Value| list("nodes").into_iter().find(|n| n["name"] == *node);
    let blocks = cluster.json(&["get", "ipblocks"])?;
    for block in blocks["items"].as_array().context("no blocks")? {
        let node =
            node_named(&block["spec"]["node"]).with_context(|| format!("whose is {block}?"))?;
        let racks = list("racks");
        let rack = racks.iter().find(|rack| rack["router"]["name"] == node["rack"]);
        let asn = rack.and_then(|rack| rack["asn"].as_u64()).context("no such rack")?;
        let cidr = block["spec"]["cidr"].as_str().context("a block without a network")?;
        let told = bird.ask(&format!("show route {cidr} all"))?;
        let paths: Vec<&str> =
            told.lines().filter_map(|line| line.trim().strip_prefix("BGP.as_path: ")).collect();
        ensure!(paths == [format!("{asn} 64512")], "the paths to {cidr} are {paths:?}:\n{told}");
    }
    Ok(())
}
