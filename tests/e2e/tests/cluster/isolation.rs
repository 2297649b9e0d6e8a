//! What a pod cannot do.

use std::{
    io::Read,
    net::IpAddr,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use viaduct_lab::{Cluster, PodHandle, Shell};

use crate::{
    routing::socket,
    services::{node_address, outside_address},
};

pub(crate) fn api_without_credentials(cluster: &Cluster) -> Result<()> {
    let pod = &cluster.ready_pods("app=echo", 3)?[0];
    let shell = cluster.pod_shell(pod)?;
    let control = &cluster.report["cluster"]["control"];
    for family in ["v4", "v6"] {
        let address: IpAddr = control[family].as_str().context("no address")?.parse()?;
        let base = format!("https://{}", socket(address, 6443));
        let ask = |path: &str| -> Result<String> {
            let url = format!("{base}{path}");
            let options = ["-sk", "--max-time", "5", "-o", "/dev/null", "-w", "%{http_code}"];
            shell.run("curl", &[&options[..], &[&url]].concat())
        };
        for open in ["/healthz", "/version"] {
            let code = ask(open)?;
            ensure!(code == "200", "{base}{open}: {code}");
        }
        for closed in ["/api/v1/pods", "/apis", "/api/v1/namespaces/default/secrets", "/metrics"] {
            let code = ask(closed)?;
            ensure!(code == "401" || code == "403", "{base}{closed} without credentials: {code}");
        }
    }
    // The plain port is on the machine's own loopback, which a pod does not have.
    let plain = format!("http://{}/", socket([127, 0, 0, 1].into(), cluster.api_port()));
    let outcome = shell.ask("get", &plain, 1)?;
    ensure!(outcome.replies.is_empty() && !outcome.failures.is_empty(), "{plain} answered a pod");
    Ok(())
}

/// BGP (179) and BFD (3784, 4784) are between routers. A listener of the test's own on a port
/// beside them shows that it is the port that is closed, not the node.
pub(crate) fn no_bgp_from_a_pod(cluster: &Cluster) -> Result<()> {
    let pod = &cluster.ready_pods("app=echo", 3)?[0];
    let shell = cluster.pod_shell(pod)?;
    for node in &cluster.nodes {
        for v6 in [false, true] {
            let address = node_address(cluster, node, v6)?;
            let connect = |port: u16| {
                let url = format!("http://{}/", socket(address, port));
                shell.run("curl", &["-s", "--max-time", "2", "-o", "/dev/null", &url])
            };
            ensure!(connect(179).is_err(), "a pod reached BGP of {node} at {address}");
            // The kubelet speaks TLS there: connected, and no HTTP.
            let kubelet = shell.run(
                "curl",
                &[
                    "-sk",
                    "--max-time",
                    "2",
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code}",
                    &format!("https://{}/healthz", socket(address, 10250)),
                ],
            );
            ensure!(kubelet.is_ok(), "a pod does not reach {node} at all: {kubelet:?}");
        }
    }
    Ok(())
}

/// A pod sees its own sockets and no other's, neither of the node nor of another pod.
pub(crate) fn sockets_of_others_are_unseen(cluster: &Cluster) -> Result<()> {
    for pod in cluster.ready_pods("app=echo", 3)? {
        let list = ["-Htuln"];
        let in_pod = cluster.pod_shell(&pod)?.run("ss", &list)?;
        let foreign: Vec<&str> = in_pod.lines().filter(|line| !line.contains(":8080")).collect();
        ensure!(foreign.is_empty() && !in_pod.is_empty(), "{} sees {in_pod}", pod.name);
        let on_node = cluster.host(&pod.node).run("ss", &list)?;
        ensure!(on_node.contains(":179") && on_node.contains(":10250"), "the node has {on_node}");
        let unix = cluster.pod_shell(&pod)?.run("ss", &["-Hxl"])?;
        ensure!(unix.trim().is_empty(), "{} sees unix sockets: {unix}", pod.name);
    }
    Ok(())
}

/// Captures ICMP that reaches a pod.
struct Capture {
    child: Child,
}

impl Capture {
    fn start(shell: &Shell, filter: &str) -> Result<Self> {
        let mut child = shell
            .command("tcpdump")
            .args(["-n", "-l", "-i", "eth0", "--immediate-mode", filter])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start tcpdump")?;
        // It says that it listens before it does anything else worth reading.
        let stderr = child.stderr.as_mut().context("tcpdump has no standard error")?;
        let mut said = Vec::new();
        let mut byte = [0];
        while !String::from_utf8_lossy(&said).contains("listening on") {
            ensure!(stderr.read(&mut byte)? == 1, "tcpdump: {}", String::from_utf8_lossy(&said));
            said.push(byte[0]);
        }
        Ok(Self { child })
    }

    fn stop(mut self) -> Result<String> {
        self.child.kill()?;
        let mut text = String::new();
        self.child.stdout.take().context("no output")?.read_to_string(&mut text)?;
        self.child.wait()?;
        Ok(text)
    }
}

pub(crate) fn source_address_is_verified(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let (from, to) = (&pods[0], &pods[1]);
    for v6 in [false, true] {
        // Another pod's address, and one that is nobody's here.
        for spoofed in [pods[2].address(v6)?, outside_address(cluster, v6)?] {
            spoof(cluster, from, to, spoofed, v6)?;
        }
    }
    Ok(())
}

fn spoof(
    cluster: &Cluster,
    from: &PodHandle,
    to: &PodHandle,
    spoofed: IpAddr,
    v6: bool,
) -> Result<()> {
    let shell = cluster.pod_shell(from)?;
    let target = cluster.pod_shell(to)?;
    let (len, family) = if v6 { ("128", "-6") } else { ("32", "-4") };
    let (own, target_address) = (from.address(v6)?, to.address(v6)?.to_string());
    let address = format!("{spoofed}/{len}");
    let mut add = vec![family, "address", "add", &address, "dev", "eth0"];
    if v6 {
        add.push("nodad");
    }
    shell.run("ip", &add)?;
    let capture = Capture::start(&target, "icmp or icmp6")?;
    let ping = |source: IpAddr| {
        let source = source.to_string();
        shell
            .run("ping", &["-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", &source, &target_address])
    };
    let honest = ping(own);
    let forged = ping(spoofed);
    shell.run("ip", &[family, "address", "delete", &address, "dev", "eth0"])?;
    std::thread::sleep(Duration::from_millis(100));
    let captured = capture.stop()?;
    ensure!(honest.is_ok(), "{own} does not reach {target_address}: {honest:?}");
    ensure!(forged.is_err(), "{spoofed} was answered");
    let seen = |source: IpAddr| captured.contains(&format!("{source} > {target_address}"));
    ensure!(seen(own), "nothing of {own} was captured: {captured}");
    ensure!(!seen(spoofed), "a packet of {spoofed} reached {target_address}: {captured}");
    Ok(())
}
