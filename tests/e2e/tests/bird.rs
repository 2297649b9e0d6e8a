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
use viaduct_lab::{Cluster, Load, Options, Shell, repeat, wait_for};

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
        let log = fs::File::create(folder.path().join("log"))?;
        let command = command.arg(folder.path().join("ctl")).stdout(Stdio::null()).stderr(log);
        let child = command.spawn();
        Ok(Self { child: child.context("start bird: is bird2 installed?")?, shell, folder })
    }

    fn ask(&self, question: &str) -> Result<String> {
        let control = self.folder.path().join("ctl");
        let control = control.to_str().context("a folder that is not UTF-8")?;
        self.shell.run("birdc", &["-s", control, question])
    }

    /// What has become of its sessions so far.
    fn changes(&self) -> Result<Vec<String>> {
        let log = fs::read_to_string(self.folder.path().join("log"))?;
        let of_a_session = |line: &&str| line.contains("<TRACE> n") || line.contains("<RMT> n");
        Ok(log.lines().filter(of_a_session).map(str::to_owned).collect())
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
             error wait time 1, 5; connect retry time 2; graceful restart off; debug {{ states }}; \
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
    run(2, &[], |_, _| Ok(())).unwrap();
}

/// BIRD keeps nothing over a lost session, and loses none.
#[test]
fn bird_does_not_notice_a_planned_restart() {
    run(2, &[], planned_restarts).unwrap();
}

/// The rack routers tell BIRD what their own nodes have told them, and no more.
#[test]
fn bird_in_place_of_the_border_of_racks() {
    run(4, &["--racks", "2", "--reflector"], |_, _| Ok(())).unwrap();
}

/// All tests have the same cluster, one after the other.
static ONE_CLUSTER: Mutex<()> = Mutex::new(());

fn run(
    nodes: usize,
    arguments: &[&str],
    then: impl FnOnce(&Cluster, &Bird) -> Result<()>,
) -> Result<()> {
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
    let result = check(&cluster, &bird).and_then(|()| then(&cluster, &bird));
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

fn planned_restarts(cluster: &Cluster, bird: &Bird) -> Result<()> {
    let sessions = || -> Result<Vec<String>> {
        let protocols = bird.ask("show protocols")?;
        let sessions = protocols.lines().filter(|line| line.starts_with('n'));
        Ok(sessions.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect())
    };
    // BIRD shows when each has begun, to the second or better, and when it has learned each route.
    let (begun, routes, changes) = (sessions()?, bird.ask("show route")?, bird.changes()?);
    let (_, vips, _) = cluster.service("echo")?;
    let outside = cluster.host("outside");
    let mut loads = Vec::new();
    for vip in vips {
        let url = format!("http://{}/", std::net::SocketAddr::new(vip, 80));
        let arguments = ["get", &url, "-n", "0", "--interval-ms", "10", "--timeout-ms", "1000"];
        loads.push((Load::start(&outside, &arguments)?, url));
    }
    let rounds = repeat(3);
    for _ in 0..rounds {
        for node in &cluster.nodes {
            cluster.replace(&format!("{node}.node"))?;
        }
        for (load, url) in &loads {
            let before = load.sent();
            wait_for(url, LIMIT, || {
                ensure!(load.sent() >= before + 20, "{} requests so far", load.sent());
                Ok(())
            })?;
        }
    }
    ensure!(!changes.is_empty(), "BIRD's log says nothing of its sessions");
    let now = bird.changes()?;
    ensure!(now == changes, "BIRD has seen {:?}", &now[changes.len()..]);
    ensure!(sessions()? == begun, "BIRD's sessions were {begun:?} and are {:?}", sessions()?);
    let (learned, lines) = (bird.ask("show route")?, |text: &str| text.lines().count());
    ensure!(learned == routes, "{} lines were:\n{routes}\nand are:\n{learned}", lines(&routes));
    let mut sent = 0;
    for (load, url) in loads {
        let outcome = load.stop()?;
        outcome.none_lost(&url)?;
        sent += outcome.sent();
    }
    println!(
        "every viaduct node replaced {rounds} times under {sent} requests from outside: none lost, \
         and BIRD without graceful restart has seen nothing"
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
