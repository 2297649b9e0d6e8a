//! The way of a packet between pods, beside plain kernel forwarding: both in one run, in turn, so
//! that whatever else the machine does meets both.

use std::{
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    process::{Child, Stdio},
};

use anyhow::{Context, Result, ensure};
use viaduct_lab::{Cluster, PodHandle, Shell};

use crate::{
    reference::Reference,
    statistics::{median, median_within},
};

const PORT: u16 = 9090;
const ROUNDS: usize = 41;
const CONNECTS: usize = 200;
const STREAM_ROUNDS: usize = 5;
const STREAM_MILLIS: u64 = 700;

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: bench, namespace: default}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: echo, bench: target}
  ports: [{name: bench, port: 90, targetPort: 9090, protocol: TCP}]
";

/// A target, and the place from which it is asked.
struct Way {
    name: &'static str,
    from: Shell,
    to: SocketAddr,
}

/// A `serve` inside a namespace; ended when dropped.
struct Server(Child);

impl Server {
    fn start(shell: &Shell) -> Result<Self> {
        let mut child = shell
            .command(std::env::current_exe()?)
            .args(["serve", &format!("[::]:{PORT}")])
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        let stdout = child.stdout.take().context("the server has no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line.trim() == "ready", "the server did not start: {line}");
        Ok(Self(child))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends by nothing else.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn measure(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let (client, target) = (&pods[0], &pods[1]);
    ensure!(client.node != target.node, "two pods are on one node");
    cluster.kubectl(&["label", "pod", &target.name, "bench=target"])?;
    cluster.apply(SERVICE)?;
    let reference = Reference::build()?;
    let (plain, plain_addresses) = reference.server();
    let _servers = [Server::start(&cluster.pod_shell(target)?)?, Server::start(&plain)?];
    for v6 in [false, true] {
        let ways = ways(cluster, client, target, &reference, plain_addresses, v6)?;
        await_all(&ways)?;
        let family = if v6 { "IPv6" } else { "IPv4" };
        connects(&ways, family)?;
        streams(&ways, family)?;
    }
    cluster.kubectl(&["delete", "service", "bench"])?;
    Ok(())
}

fn ways(
    cluster: &Cluster,
    client: &PodHandle,
    target: &PodHandle,
    reference: &Reference,
    plain_addresses: [IpAddr; 2],
    v6: bool,
) -> Result<[Way; 3]> {
    let of_family = |all: &[IpAddr]| all.iter().copied().find(|ip| ip.is_ipv6() == v6);
    let pod = cluster.pod_shell(client)?;
    let service = of_family(&cluster.service("bench")?.0).context("the service has no address")?;
    let plain = of_family(&plain_addresses).context("no address")?;
    Ok([
        Way { name: "plain forwarding", from: reference.client(), to: (plain, PORT).into() },
        Way { name: "pod to pod", from: pod.clone(), to: (target.address(v6)?, PORT).into() },
        Way { name: "pod to service", from: pod, to: (service, 90).into() },
    ])
}

/// Every target answers, the service's after the nodes have heard of it.
fn await_all(ways: &[Way]) -> Result<()> {
    for way in ways {
        let limit = std::time::Duration::from_secs(20);
        viaduct_lab::wait_for(way.name, limit, || ask(way, "connects", "1"))?;
    }
    Ok(())
}

fn connects(ways: &[Way; 3], family: &str) -> Result<()> {
    let count = CONNECTS.to_string();
    let mut nanos: [Vec<f64>; 3] = Default::default();
    for _ in 0..ROUNDS {
        for (way, all) in ways.iter().zip(&mut nanos) {
            all.push(ask(way, "connects", &count)?);
        }
    }
    println!("CONNECT, {family}, median of {ROUNDS} x {CONNECTS} in turn (µs)");
    let [plain, pod, service] = &nanos;
    println!("{:>8.1}  {}", median(plain) / 1e3, ways[0].name);
    for (way, all, beside, what) in
        [(&ways[1], pod, plain, "plain forwarding"), (&ways[2], service, pod, "pod to pod")]
    {
        let added: Vec<f64> = all.iter().zip(beside).map(|(all, beside)| all - beside).collect();
        let (added, low, high) = median_within(&added);
        let ratio = median(all) / median(beside);
        println!(
            "{:>8.1}  {}: {added:+.0} ns ({low:+.0} to {high:+.0}) beside {what}, ratio {ratio:.2}",
            median(all) / 1e3,
            way.name,
        );
    }
    Ok(())
}

fn streams(ways: &[Way; 3], family: &str) -> Result<()> {
    let millis = STREAM_MILLIS.to_string();
    let mut rates: [Vec<f64>; 3] = Default::default();
    for _ in 0..STREAM_ROUNDS {
        for (way, all) in ways.iter().zip(&mut rates) {
            all.push(ask(way, "stream", &millis)?);
        }
    }
    println!("THROUGHPUT, {family}, one TCP stream, median of {STREAM_ROUNDS} in turn (Gbit/s)");
    let plain = median(&rates[0]);
    for (way, all) in ways.iter().zip(&rates) {
        let rate = median(all);
        println!("{:>8.2}  {}, ratio {:.2}", rate * 8.0 / 1e9, way.name, rate / plain);
    }
    Ok(())
}

fn ask(way: &Way, what: &str, amount: &str) -> Result<f64> {
    let program = std::env::current_exe()?;
    let program = program.to_str().context("the program's path is not UTF-8")?;
    let printed = way.from.run(program, &[what, amount, &way.to.to_string()])?;
    Ok(printed.trim().parse()?)
}
