//! A BIRD 2 router in place of our border: it learns blocks and virtual IPs, and `outside` reaches
//! the services through it.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
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
    for (number, node) in plan["nodes"].as_array().context("no nodes")?.iter().enumerate() {
        let address = node["v4"].as_str().context("no address")?;
        text += &format!(
            "protocol bgp node{} {{ local {border} as 64600; neighbor {address} as 64512; \
             error wait time 1, 5; connect retry time 2; \
             ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}\n",
            number + 1
        );
    }
    Ok(text)
}

#[test]
fn bird_in_place_of_the_border() {
    run().unwrap();
}

fn run() -> Result<()> {
    ensure!(Path::new("/usr/sbin/bird").exists(), "bird2 is not installed: make deps-test");
    let mut options = Options::new("e2e-bird", 18081);
    options.nodes = 2;
    options.arguments.push("--no-border".to_owned());
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
    wait_for("BIRD's sessions", LIMIT, || {
        let protocols = bird.ask("show protocols")?;
        let up = protocols.lines().filter(|line| line.contains("Established")).count();
        ensure!(up == cluster.nodes.len(), "{up} are established:\n{protocols}");
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
