//! One `viaduct node` goes on in another's place, and nobody notices: neither peers nor pods, nor whoever
//! asks it for something meanwhile.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use viaduct_lab::{Cluster, Shell, program, repeat, wait_for};

use crate::restart::{Monitor, Traffic, established};

const SOON: Duration = Duration::from_secs(30);

/// Everything that passes the node, every session with it as both ends see it, and its admin socket.
pub(crate) fn under_traffic(cluster: &Cluster) -> Result<()> {
    let rounds = repeat(5);
    let pods = cluster.ready_pods("app=echo", 3)?;
    let node = &pods[0].node;
    let process = format!("{node}.node");
    established(cluster, node)?;
    let flaps = flaps(cluster)?;
    let traffic = Traffic::start(cluster)?;
    let monitor = Monitor::start(cluster, node)?;
    let over = AtomicBool::new(false);
    let (restarts, answers) = std::thread::scope(|scope| -> Result<_> {
        let asking = scope.spawn(|| ask_without_pause(cluster, node, &over));
        let restarts = (0..rounds).try_for_each(|_| -> Result<()> {
            cluster.replace(&process)?;
            let status = cluster.node_json(node, &["status"])?;
            let pid = cluster.pid(&process)?;
            ensure!(status["pid"] == pid.as_raw(), "{pid} has gone on, and the status is {status}");
            established(cluster, node)?;
            traffic.flows()
        });
        over.store(true, Ordering::Relaxed);
        let Ok(answers) = asking.join() else { bail!("whoever asks panicked") };
        Ok((restarts, answers))
    })?;
    restarts?;
    let answers = answers?;
    ensure!(answers.len() > rounds, "{} processes have answered: {answers:?}", answers.len());
    let deleted = monitor.deletions()?;
    ensure!(deleted.is_empty(), "the kernel lost {} entries: {deleted:?}", deleted.len());
    let sent = traffic.stop()?;
    let now = self::flaps(cluster)?;
    ensure!(now == flaps, "sessions have flapped: {flaps:?}, then {now:?}");
    let asked: usize = answers.values().sum();
    println!(
        "viaduct node replaced {rounds} times under {sent} requests: none lost, nothing removed from \
         the kernel, no session has flapped; {asked} questions to the admin socket were answered"
    );
    Ok(())
}

/// By node and neighbour.
fn flaps(cluster: &Cluster) -> Result<BTreeMap<(String, String), u64>> {
    let mut all = BTreeMap::new();
    for node in &cluster.nodes {
        let peers = cluster.node_json(node, &["bgp", "peers"])?;
        for peer in peers.as_array().context("no peers")? {
            let address = peer["address"].as_str().context("a peer has an address")?;
            let flaps = peer["flaps"].as_u64().context("no count of flaps")?;
            all.insert((node.clone(), address.to_owned()), flaps);
        }
    }
    Ok(all)
}

/// Asks the admin socket again and again, and fails where it is refused or not answered. How many
/// answers came from each process.
fn ask_without_pause(
    cluster: &Cluster,
    node: &str,
    over: &AtomicBool,
) -> Result<BTreeMap<u64, usize>> {
    let socket = cluster.run_dir().join("nodes").join(node).join("admin.sock");
    let mut answers = BTreeMap::new();
    while !over.load(Ordering::Relaxed) {
        let mut stream = UnixStream::connect(&socket).context("connect to the admin socket")?;
        stream.set_read_timeout(Some(SOON))?;
        write!(stream, "GET /v1/status HTTP/1.0\r\nhost: viaduct\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).context("read from the admin socket")?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.0 200"), "{answer}");
        let status: Value = serde_json::from_str(body)?;
        *answers.entry(status["pid"].as_u64().context("no pid")?).or_default() += 1;
    }
    Ok(answers)
}

/// Every ADD and DEL is answered, whichever process is there, and a pod that was added is reached.
pub(crate) fn while_pods_come_and_go(cluster: &Cluster) -> Result<()> {
    let rounds = repeat(5);
    let pods = cluster.ready_pods("app=echo", 3)?;
    let process = format!("{}.node", pods[0].node);
    let plugin = Plugin::new(cluster, &pods[0].node)?;
    let other = pods[1].address(false)?.to_string();
    let over = AtomicBool::new(false);
    let added = AtomicUsize::new(0);
    let (restarts, churn) = std::thread::scope(|scope| -> Result<_> {
        let churning = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                let result = plugin.call("ADD")?;
                ensure!(result["ips"].as_array().is_some_and(|ips| ips.len() == 2), "{result}");
                plugin.shell.run("ping", &["-n", "-q", "-c", "1", "-W", "2", &other])?;
                plugin.call("DEL")?;
                added.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        });
        let restarts = (0..rounds).try_for_each(|_| -> Result<()> {
            cluster.replace(&process)?;
            let before = added.load(Ordering::Relaxed);
            wait_for("more pods", SOON, || {
                let count = added.load(Ordering::Relaxed);
                ensure!(count >= before + 3 || churning.is_finished(), "{count}, not 3 more");
                Ok(())
            })
        });
        over.store(true, Ordering::Relaxed);
        let Ok(churn) = churning.join() else { bail!("whoever adds and deletes panicked") };
        Ok((restarts, churn))
    })?;
    churn?;
    restarts?;
    let added = added.into_inner();
    println!("viaduct node replaced {rounds} times while {added} pods came and went: all answered");
    Ok(())
}

/// The plugin as a runtime calls it, for a network namespace that is no pod of the API's.
struct Plugin {
    /// Whose namespace it is: the daemon sees processes, and not what others mount.
    child: Child,
    shell: Shell,
    program: PathBuf,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Plugin {
    fn new(cluster: &Cluster, node: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let plugin = folder.path().join("viaduct-cni");
        symlink(program("viaduct")?, &plugin)?;
        let child = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn()?;
        let netns = PathBuf::from(format!("/proc/{}/ns/net", child.id()));
        wait_for("a namespace", SOON, || {
            ensure!(fs::read_link(&netns)? != fs::read_link("/proc/self/ns/net")?, "none yet");
            Ok(())
        })?;
        Ok(Self {
            child,
            shell: Shell { netns, cgroup: None },
            program: plugin,
            socket: cluster.run_dir().join("nodes").join(node).join("cni.sock"),
            _folder: folder,
        })
    }

    /// What it printed, which is nothing for DEL.
    fn call(&self, command: &str) -> Result<Value> {
        let mut child = Command::new(&self.program)
            .env("CNI_COMMAND", command)
            .env("CNI_CONTAINERID", "planned-restart")
            .env("CNI_IFNAME", "eth0")
            .env("CNI_NETNS", &self.shell.netns)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the plugin")?;
        let conf = json!({"cniVersion": "1.1.0", "name": "viaduct", "type": "viaduct-cni",
                          "socket": self.socket});
        let mut stdin = child.stdin.take().context("no stdin")?;
        stdin.write_all(conf.to_string().as_bytes())?;
        drop(stdin);
        let output = child.wait_with_output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{command}: {text}");
        if text.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&text)?) }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        // Whatever a test that failed has left there goes with the namespace.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It has been handed everything, and cannot read which pods there are: the daemon goes on as if nothing
/// had happened, and the next successor takes over.
pub(crate) fn a_successor_that_fails(cluster: &Cluster) -> Result<()> {
    let node = &cluster.ready_pods("app=echo", 3)?[0].node;
    let process = format!("{node}.node");
    let state = Path::new("/var/lib/viaduct").join(&cluster.name).join("nodes").join(node);
    let state = state.join("network/pods/pods.json");
    let log = cluster.run_dir().join("log").join(format!("{process}.log"));
    let failed = || -> Result<usize> {
        let log = fs::read_to_string(&log)?;
        Ok(log.lines().filter(|line| line.contains("the successor has ended")).count())
    };
    established(cluster, node)?;
    let (pid, flaps, before) = (cluster.pid(&process)?, flaps(cluster)?, failed()?);
    let traffic = Traffic::start(cluster)?;
    let good = fs::read(&state).with_context(|| state.display().to_string())?;
    fs::write(&state, "{")?;
    kill(pid, Signal::SIGUSR2)?;
    let ended = wait_for("the successor to fail", SOON, || {
        ensure!(failed()? == before + 1, "{} have", failed()?);
        Ok(())
    });
    fs::write(&state, good)?;
    ended?;
    traffic.flows()?;
    let status = cluster.node_json(node, &["status"])?;
    ensure!(status["pid"] == pid.as_raw(), "{pid} should have gone on, and the status is {status}");
    cluster.replace(&process)?;
    traffic.flows()?;
    established(cluster, node)?;
    traffic.stop()?;
    let now = self::flaps(cluster)?;
    ensure!(now == flaps, "sessions have flapped: {flaps:?}, then {now:?}");
    Ok(())
}
