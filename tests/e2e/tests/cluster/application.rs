//! An application of six services, one connection for each request, while it is changed and while
//! what it stands on is killed.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use viaduct_lab::{Cluster, Load, PodHandle, Shell, examples, repeat, wait_for};

use crate::{
    racks::{reflectors, routers},
    routing::socket,
};

const PART_OF: &str = "app.kubernetes.io/part-of=microservices";
const LIMIT: Duration = Duration::from_secs(90);
/// Between two requests of a load: 200 a second in all, from a pod and over both families from outside.
/// Behind each are six more. Twice as many are what two cores can do and no more: then some time out
/// in the application, whatever the network does.
const INTERVAL_MS: u64 = 15;
/// A dead container is out of the services some tenths of a second after its end; ten times that.
const LOSS_MAX: Duration = Duration::from_secs(5);

/// The application is there and asked all the time, from a pod and from outside.
struct Asked<'a> {
    cluster: &'a Cluster,
    loads: Vec<(String, Load)>,
    vips: Vec<IpAddr>,
}

impl<'a> Asked<'a> {
    fn start(cluster: &'a Cluster) -> Result<Self> {
        let folder = examples().join("microservices");
        cluster.kubectl(&["apply", "-f", folder.to_str().context("a path of UTF-8")?])?;
        for name in deployments(cluster)? {
            rolled_out(cluster, &name)?;
        }
        let (cluster_ips, vips) = addresses(cluster)?;
        let client = cluster.ready_pods("app=echo", 3)?.remove(0);
        let pod = cluster.pod_shell(&client)?;
        let outside = cluster.host("outside");
        let ways = [(&pod, cluster_ips[0]), (&outside, vips[0]), (&outside, vips[1])];
        let mut loads = Vec::new();
        for (shell, ip) in ways {
            let url = format!("http://{}/", socket(ip, 80));
            whole(shell, &url)?;
            let interval = INTERVAL_MS.to_string();
            let options = ["-n", "0", "--interval-ms", &interval, "--timeout-ms", "5000"];
            let arguments = [&["get", url.as_str()], &options[..]].concat();
            loads.push((url.clone(), Load::start(shell, &arguments)?));
        }
        let asked = Self { cluster, loads, vips };
        asked.flows()?;
        Ok(asked)
    }

    /// Waits until every load has had some more answers.
    fn flows(&self) -> Result<()> {
        for (what, load) in &self.loads {
            let before = load.sent();
            wait_for(what, LIMIT, || {
                ensure!(load.sent() >= before + 30, "{} requests so far", load.sent());
                Ok(())
            })?;
        }
        Ok(())
    }

    /// What has been asked so far, and what of it failed.
    fn so_far(&self) -> (usize, Vec<String>) {
        let mut sent = 0;
        let mut failures = Vec::new();
        for (what, load) in &self.loads {
            let outcome = load.so_far();
            sent += outcome.sent();
            failures.extend(outcome.failures.iter().map(|failure| format!("{what} {failure}")));
        }
        (sent, failures)
    }

    /// Does something to the cluster; what failed meanwhile and until it was over.
    fn during(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
        let (sent_before, failed_before) = self.so_far();
        act().with_context(|| what.to_owned())?;
        self.flows()?;
        let (sent, failures) = self.so_far();
        let new = failures[..].iter().filter(|one| !failed_before.contains(one)).cloned();
        let new: Vec<String> = new.collect();
        println!("{what}: {} requests, {} failed", sent - sent_before, new.len());
        let (_, vips) = addresses(self.cluster)?;
        ensure!(vips == self.vips, "{what}: the VIPs were {:?} and are {vips:?}", self.vips);
        Ok(new)
    }

    fn nothing_lost(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let lost = self.during(what, act)?;
        let shown = lost.iter().take(4).cloned().collect::<Vec<_>>().join("; ");
        ensure!(lost.is_empty(), "{what}: {} requests failed: {shown}", lost.len());
        Ok(())
    }

    /// Something that serves requests dies: those that it had, and those sent to it before the
    /// nodes know. Nothing fails any more after that.
    fn lost_for_a_moment(&self, what: &str, act: impl FnOnce() -> Result<()>) -> Result<()> {
        let lost = self.during(what, act)?;
        let times: Vec<u64> = lost.iter().filter_map(|line| at_millis(line)).collect();
        let (first, last) = (times.iter().min(), times.iter().max());
        let window = first.zip(last).map_or(0, |(first, last)| last - first);
        println!("{what}: what failed did so within {window} ms");
        let shown = lost.iter().take(4).cloned().collect::<Vec<_>>().join("; ");
        ensure!(window < LOSS_MAX.as_millis() as u64, "{what}: failures for {window} ms: {shown}");
        self.nothing_lost(&format!("after {what}"), || self.flows())
    }

    fn stop(self) -> Result<()> {
        for (what, load) in self.loads {
            let outcome = load.stop()?;
            let summary = outcome.summary.context("the client gave no summary")?;
            println!(
                "{what}: {} requests, p50 {:.1} ms, p99 {:.1} ms, longest gap {:.0} ms",
                summary.sent, summary.p50_ms, summary.p99_ms, summary.longest_gap_ms
            );
        }
        let folder = examples().join("microservices");
        let folder = folder.to_str().context("a path of UTF-8")?;
        self.cluster.kubectl(&["delete", "-f", folder, "--wait"])?;
        wait_for("the application's pods to be gone", LIMIT, || {
            let list = self.cluster.json(&["get", "pods", "-l", PART_OF])?;
            let left = list["items"].as_array().map_or(0, Vec::len);
            ensure!(left == 0, "{left} are left");
            Ok(())
        })
    }
}

/// `URL #seq @millis kind why`.
fn at_millis(line: &str) -> Option<u64> {
    line.split(" @").nth(1)?.split(' ').next()?.parse().ok()
}

/// Every deployment is made larger and smaller and replaced, and nobody notices; its programs end
/// at once when they are told to.
pub(crate) fn changed_under_load(cluster: &Cluster) -> Result<()> {
    let asked = Asked::start(cluster)?;
    let begun = Instant::now();
    for name in deployments(cluster)? {
        let deployment = format!("deployment/{name}");
        let replicas = cluster.json(&["get", &deployment])?["spec"]["replicas"].to_string();
        for count in ["1", "4", "1", &replicas] {
            asked.nothing_lost(&format!("{name} scaled to {count}"), || {
                cluster.kubectl(&["scale", &deployment, &format!("--replicas={count}")])?;
                rolled_out(cluster, &name)
            })?;
        }
        for _ in 0..repeat(1) {
            asked.nothing_lost(&format!("{name} replaced"), || {
                cluster.kubectl(&["rollout", "restart", &deployment])?;
                rolled_out(cluster, &name)
            })?;
        }
    }
    println!("{} requests in {:?}, none failed", asked.so_far().0, begun.elapsed());
    asked.stop()
}

/// Of what may be killed only that costs requests which was answering them.
pub(crate) fn killed_under_load(cluster: &Cluster) -> Result<()> {
    let asked = Asked::start(cluster)?;
    let mut processes = vec!["control.server".to_owned()];
    processes.extend(cluster.nodes.iter().take(2).map(|node| format!("{node}.node")));
    processes.push(format!("{}.kubelet", cluster.nodes[0]));
    processes.extend(reflectors(cluster)?.iter().map(|name| format!("{name}.reflector")));
    processes.extend(routers(cluster)?.iter().map(|name| format!("{name}.router")));
    for _ in 0..repeat(1) {
        for process in &processes {
            asked.nothing_lost(&format!("{process} killed"), || cluster.kill(process))?;
        }
        let victim = message_service(cluster)?;
        asked.lost_for_a_moment("a container killed", || {
            let pid = program_of(cluster, &victim)?;
            kill(pid, Signal::SIGKILL)?;
            wait_for("the container to be started again", LIMIT, || {
                ensure!(program_of(cluster, &victim)? != pid, "it is still {pid}");
                Ok(())
            })?;
            rolled_out(cluster, "message-service")
        })?;
        let victim = message_service(cluster)?;
        asked.nothing_lost("a pod deleted", || {
            cluster.kubectl(&["delete", "pod", &victim.name])?;
            rolled_out(cluster, "message-service")
        })?;
        let victim = message_service(cluster)?;
        asked.lost_for_a_moment("a pod killed", || {
            cluster.kubectl(&["delete", "pod", &victim.name, "--force", "--grace-period=0"])?;
            rolled_out(cluster, "message-service")
        })?;
    }
    asked.stop()
}

/// A node is taken out of service as an operator does it, and put back. The example's
/// budgets leave every service a pod.
pub(crate) fn drained_under_load(cluster: &Cluster) -> Result<()> {
    let asked = Asked::start(cluster)?;
    let names = deployments(cluster)?;
    let client = cluster.ready_pods("app=echo", 3)?.remove(0);
    let node = cluster.nodes.iter().find(|node| **node != client.node).context("no other node")?;
    for round in 0..repeat(1) {
        asked.nothing_lost(&format!("{node} drained, {round}"), || {
            let answer = cluster.kubectl(&["drain", node, "--timeout=90s"])?;
            ensure!(answer.contains(&format!("node/{node} drained")), "drain said {answer}");
            let list = cluster.json(&["get", "pods", "--field-selector", &on(node)])?;
            let left = list["items"].as_array().map_or(0, Vec::len);
            ensure!(left == 0, "{left} pods are left on {node}: {list}");
            names.iter().try_for_each(|name| rolled_out(cluster, name))
        })?;
        asked.nothing_lost(&format!("{node} back in service, {round}"), || {
            cluster.kubectl(&["uncordon", node])?;
            for name in &names {
                cluster.kubectl(&["rollout", "restart", "deployment", name])?;
                rolled_out(cluster, name)?;
            }
            let list =
                cluster.json(&["get", "pods", "-l", PART_OF, "--field-selector", &on(node)])?;
            let here = list["items"].as_array().map_or(0, Vec::len);
            ensure!(here > 0, "no pod comes to {node} again");
            Ok(())
        })?;
    }
    asked.stop()
}

fn on(node: &str) -> String {
    format!("spec.nodeName={node}")
}

fn deployments(cluster: &Cluster) -> Result<Vec<String>> {
    let list = cluster.json(&["get", "deployments", "-l", PART_OF])?;
    let items = list["items"].as_array().context("no items")?.iter();
    items.map(|one| Ok(one["metadata"]["name"].as_str().context("no name")?.to_owned())).collect()
}

fn rolled_out(cluster: &Cluster, deployment: &str) -> Result<()> {
    let name = format!("deployment/{deployment}");
    cluster.kubectl(&["rollout", "status", &name, "--timeout=90s"]).map(drop)
}

/// The gateway's addresses, and its virtual ones.
fn addresses(cluster: &Cluster) -> Result<(Vec<IpAddr>, Vec<IpAddr>)> {
    let (cluster_ips, vips, _) = cluster.service("api-gateway")?;
    ensure!(vips.len() == 2 && !cluster_ips.is_empty(), "addresses: {cluster_ips:?}, {vips:?}");
    Ok((cluster_ips, vips))
}

/// Waits for an answer that every service has its part in.
fn whole(shell: &Shell, url: &str) -> Result<()> {
    wait_for(&format!("the whole tree from {url}"), LIMIT, || {
        let outcome = shell.ask("get", url, 1)?;
        outcome.none_lost(url)?;
        let hops = outcome.replies[0].hops()?.len();
        ensure!(hops >= 6, "{hops} hops");
        Ok(())
    })
}

fn message_service(cluster: &Cluster) -> Result<PodHandle> {
    let pods = cluster.pods("app.kubernetes.io/name=message-service")?;
    ensure!(
        pods.len() >= 2,
        "{} pods of the message service: the others could not go on",
        pods.len()
    );
    pods.into_iter().next().context("no pod")
}

/// The pid of a pod's first process.
fn program_of(cluster: &Cluster, pod: &PodHandle) -> Result<Pid> {
    let netns = cluster.pod_shell(pod)?.netns;
    let pid = netns.iter().nth(2).and_then(|part| part.to_str()).context("no pid in the path")?;
    Ok(Pid::from_raw(pid.parse()?))
}
