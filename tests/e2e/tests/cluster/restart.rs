//! A daemon that is killed and started again is noticed by nobody.

use std::{
    io::{BufRead, BufReader, Read},
    net::IpAddr,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use viaduct_lab::{Cluster, Load, Shell, repeat, wait_for};

use crate::routing::socket;

/// The last ids of the vRouter's range are for its probe of the kernel.
const PROBE_IDS: [u32; 2] = [0x5644_fffe, 0x5644_ffff];
const BACK: Duration = Duration::from_secs(30);

/// Traffic of every kind, while something is done to the cluster.
pub(crate) struct Traffic {
    loads: Vec<(String, Load)>,
    pings: Vec<Ping>,
}

/// `ping` from one pod to another, until it is stopped.
struct Ping {
    target: String,
    child: Child,
}

impl Ping {
    fn start(shell: &Shell, target: IpAddr) -> Result<Self> {
        let target = target.to_string();
        let child = shell
            .command("ping")
            .args(["-n", "-q", "-i", "0.02", &target])
            .stdout(Stdio::piped())
            .spawn()
            .context("start ping")?;
        Ok(Self { target, child })
    }

    /// Its end; the number of echoes, none of which may be missing.
    fn stop(mut self) -> Result<usize> {
        // SIGINT makes it print its summary.
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT)?;
        let mut text = String::new();
        self.child.stdout.take().context("no output")?.read_to_string(&mut text)?;
        self.child.wait()?;
        let summary = text.lines().find(|line| line.contains("packets transmitted"));
        let summary = summary.with_context(|| format!("ping printed: {text}"))?;
        let count = |at: usize| -> Result<usize> {
            Ok(summary.split(' ').nth(at).context("no summary")?.parse()?)
        };
        let (sent, received) = (count(0)?, count(3)?);
        // The last may be on its way.
        ensure!(received > 0 && received + 1 >= sent, "ping {}: {summary}", self.target);
        Ok(received)
    }
}

impl Traffic {
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let pods = cluster.ready_pods("app=echo", 3)?;
        let (cluster_ips, vips, _) = cluster.service("echo")?;
        let pod = cluster.pod_shell(&pods[0])?;
        let outside = cluster.host("outside");
        let mut loads = Vec::new();
        let mut start = |what: &str, shell, kind, target: String| -> Result<()> {
            let options = ["-n", "0", "--interval-ms", "10", "--timeout-ms", "1000"];
            let mut arguments = vec![kind, target.as_str()];
            arguments.extend(options);
            loads.push((format!("{what} {target}"), Load::start(shell, &arguments)?));
            Ok(())
        };
        let mut pings = Vec::new();
        for v6 in [false, true] {
            // On every other node, of this rack or of another.
            for other in &pods[1..] {
                let peer = other.address(v6)?;
                pings.push(Ping::start(&pod, peer)?);
                start("pod → pod", &pod, "get", format!("http://{}/", socket(peer, 8080)))?;
            }
        }
        for ip in cluster_ips {
            start("pod → service", &pod, "get", format!("http://{}/", socket(ip, 80)))?;
            start("pod → service", &pod, "udp", socket(ip, 80))?;
        }
        for vip in vips {
            start("outside → VIP", &outside, "get", format!("http://{}/", socket(vip, 80)))?;
        }
        let traffic = Self { loads, pings };
        traffic.flows()?;
        Ok(traffic)
    }

    /// Waits until every load has made some more requests, so that what follows and what came
    /// before are both seen by it.
    pub(crate) fn flows(&self) -> Result<()> {
        for (what, load) in &self.loads {
            let before = load.sent();
            wait_for(what, BACK, || {
                ensure!(load.sent() >= before + 20, "{} requests so far", load.sent());
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(crate) fn stop(self) -> Result<usize> {
        let mut sent = 0;
        let mut lost = Vec::new();
        for (what, load) in self.loads {
            let outcome = load.stop()?;
            lost.extend(outcome.none_lost(&what).err().map(|error| error.to_string()));
            sent += outcome.sent();
        }
        for ping in self.pings {
            match ping.stop() {
                Ok(received) => sent += received,
                Err(error) => lost.push(error.to_string()),
            }
        }
        ensure!(lost.is_empty(), "{}", lost.join("\n"));
        Ok(sent)
    }
}

impl Drop for Ping {
    fn drop(&mut self) {
        // A test that fails leaves no ping behind; one that has ended is not there to be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the kernel tells of changes to routes and next hops in a node's namespace.
pub(crate) struct Monitor {
    child: Child,
}

impl Monitor {
    pub(crate) fn start(cluster: &Cluster, node: &str) -> Result<Self> {
        let child = cluster
            .host(node)
            .command("ip")
            .args(["-o", "monitor", "route", "nexthop"])
            .stdout(Stdio::piped())
            .spawn()
            .context("start ip monitor")?;
        Ok(Self { child })
    }

    /// The deletions of anything of ours since the start.
    pub(crate) fn deletions(mut self) -> Result<Vec<String>> {
        self.child.kill()?;
        let stdout = self.child.stdout.take().context("the monitor has no output")?;
        let mut deleted = Vec::new();
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            // A daemon that starts tries a group of its own, to name what the kernel lacks.
            let probe = PROBE_IDS.iter().any(|id| line.contains(&format!("id {id} ")));
            if line.contains("Deleted") && line.contains("proto 86") && !probe {
                deleted.push(line);
            }
        }
        self.child.wait()?;
        Ok(deleted)
    }
}

pub(crate) fn node_daemon_killed(cluster: &Cluster) -> Result<()> {
    let rounds = repeat(5);
    let pods = cluster.ready_pods("app=echo", 3)?;
    // The node of the client, whose hooks and routes all of its traffic passes.
    let node = &pods[0].node;
    let traffic = Traffic::start(cluster)?;
    let monitor = Monitor::start(cluster, node)?;
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let killed = Instant::now();
        cluster.kill(&format!("{node}.node"))?;
        established(cluster, node)?;
        slowest = slowest.max(killed.elapsed());
        traffic.flows()?;
    }
    let deleted = monitor.deletions()?;
    ensure!(deleted.is_empty(), "the kernel lost {} entries: {deleted:?}", deleted.len());
    let sent = traffic.stop()?;
    println!(
        "viaduct node killed {rounds} times under {sent} requests: none lost, nothing removed from \
         the kernel; all sessions were back {slowest:?} after the kill at the latest"
    );
    Ok(())
}

/// Waits until a speaker has all of its sessions.
pub(crate) fn established(cluster: &Cluster, node: &str) -> Result<()> {
    let wanted = cluster.report["sessions"][node].as_u64().context("no sessions in the report")?;
    let wanted = usize::try_from(wanted)?;
    wait_for("the BGP sessions", BACK, || {
        let peers = cluster.node_json(node, &["bgp", "peers"])?;
        let peers = peers.as_array().context("no peers")?;
        let up = peers.iter().filter(|peer| peer["state"] == "Established").count();
        let all = up == wanted && peers.len() == wanted;
        ensure!(all, "{up} of {} are established, not {wanted}", peers.len());
        Ok(())
    })
}

/// The kubelet finds its pods as they are.
pub(crate) fn kubelet_killed(cluster: &Cluster) -> Result<()> {
    let started = |cluster: &Cluster| -> Result<Vec<String>> {
        let list = cluster.json(&["get", "pods", "-l", "app=echo"])?;
        let pods = list["items"].as_array().context("no pods")?.iter();
        let status = pods.map(|pod| &pod["status"]["containerStatuses"][0]);
        Ok(status.map(|one| format!("{} {}", one["containerID"], one["restartCount"])).collect())
    };
    let before = started(cluster)?;
    let traffic = Traffic::start(cluster)?;
    for node in &cluster.nodes {
        cluster.kill(&format!("{node}.kubelet"))?;
    }
    traffic.flows()?;
    // It works again: what it says of its node is news.
    let node = &cluster.nodes[0];
    cluster.kubectl(&["wait", "--for=condition=Ready", "node", node, "--timeout=20s"])?;
    cluster.ready_pods("app=echo", 3)?;
    traffic.flows()?;
    let sent = traffic.stop()?;
    let after = started(cluster)?;
    ensure!(before == after, "containers were {before:?} and are {after:?}");
    println!("every kubelet killed under {sent} requests: none lost, no container restarted");
    Ok(())
}
