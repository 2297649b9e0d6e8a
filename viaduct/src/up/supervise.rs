//! `viaduct supervise`: starts the processes of a cluster and starts again those that end. On real
//! hosts this is the work of systemd or of a DaemonSet.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use control_dns::Sockets;
use nix::sched::{CloneFlags, setns};
use tokio::{net::UnixDatagram, task::JoinSet};
use tracing::{error, info, warn};

use super::{
    failures,
    plan::ClusterPlan,
    processes::processes,
    spawn::{self, HeldSockets, ProcessSpec},
};
use crate::{
    passed,
    paths::{ClusterPaths, create_private, write_atomically},
    successor,
};

const DELAY_MIN: Duration = Duration::from_millis(50);
const DELAY_MAX: Duration = Duration::from_secs(5);
/// A process that ran for so long is started again without delay.
const STEADY: Duration = Duration::from_secs(10);
/// No word to a service manager is longer.
const WORD_BYTES_MAX: usize = 4096;

/// Runs until it is ended from outside. The children outlive it.
pub(crate) async fn supervise(name: &str) -> Result<()> {
    let paths = ClusterPaths::new(name)?;
    // Of its own accord and first of all: whoever started it may be killed at any moment, and `down`
    // must find it.
    let cgroup = paths.cgroup.join("supervisor");
    fs::write(cgroup.join("cgroup.procs"), "0")
        .with_context(|| format!("enter cgroup {}", cgroup.display()))?;
    let plan: ClusterPlan = serde_json::from_slice(
        &fs::read(paths.plan()).with_context(|| format!("no cluster `{name}` is up here"))?,
    )?;
    // Held here rather than in the server, so that a client's connection waits for a server that
    // is being started again instead of being refused.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, plan.api_port))
        .with_context(|| format!("listen on 127.0.0.1:{}", plan.api_port))?;
    let program = std::env::current_exe().context("find this program's own file")?;
    let mut tasks = JoinSet::new();
    for spec in processes(&plan, &paths, witness()) {
        let passed = held(&spec, &listener)?;
        tasks.spawn(keep(program.clone(), spec, paths.clone(), passed));
    }
    while let Some(ended) = tasks.join_next().await {
        ended?;
    }
    Ok(())
}

/// A process by which the server sees the sockets of the namespace of the plain listener. The first
/// process of the machine is one that never ends, where it stands in the same namespace.
fn witness() -> u32 {
    let namespace = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = std::process::id();
    if namespace(1).is_some() && namespace(1) == namespace(own) { 1 } else { own }
}

/// The sockets that stay open here while the process they are for is not there.
fn held(spec: &ProcessSpec, api: &TcpListener) -> Result<Vec<spawn::Passed>> {
    match &spec.sockets {
        HeldSockets::None => Ok(Vec::new()),
        HeldSockets::Api => Ok(vec![(passed::API, api.try_clone()?.into())]),
        HeldSockets::Dns(addresses) => {
            let sockets = dns_sockets(&spec.netns, addresses)
                .with_context(|| format!("open the DNS sockets of {}", spec.name))?;
            Ok(sockets.into_descriptors().into_iter().map(|fd| (passed::DNS, fd)).collect())
        }
    }
}

fn dns_sockets(netns: &Path, addresses: &[IpAddr]) -> Result<Sockets> {
    let namespace =
        fs::File::open(netns).with_context(|| format!("open namespace {}", netns.display()))?;
    let addresses = addresses.to_vec();
    // A thread that ends here: entering a namespace cannot be undone on one that is used again.
    let opening = std::thread::spawn(move || -> Result<Sockets> {
        setns(namespace, CloneFlags::CLONE_NEWNET)?;
        Ok(control_dns::bind(&addresses)?)
    });
    match opening.join() {
        Ok(result) => result,
        Err(_panic) => bail!("the thread that opens them panicked"),
    }
}

async fn keep(
    program: PathBuf,
    spec: ProcessSpec,
    paths: ClusterPaths,
    passed: Vec<spawn::Passed>,
) {
    let mut delay = DELAY_MIN;
    let words = match spec.notify.as_deref().map(listen).transpose() {
        Ok(words) => words,
        Err(error) => {
            let error = format!("{error:#}");
            warn!(process = spec.name, error, "it cannot leave its place to another");
            None
        }
    };
    loop {
        let started = Instant::now();
        let last = match run_once(&program, &spec, &paths.pids(), &passed, words.as_ref()).await {
            Ok(status) => {
                warn!(process = spec.name, status, "ended");
                status
            }
            Err(error) => {
                let error = format!("{error:#}");
                error!(process = spec.name, error, "not started");
                error
            }
        };
        if let Err(error) = failures::note(&paths.ended(), &spec.name, last) {
            warn!(process = spec.name, %error, "not noted");
        }
        if started.elapsed() >= STEADY {
            delay = DELAY_MIN;
        }
        tokio::time::sleep(delay).await;
        delay = (delay * 2).min(DELAY_MAX);
    }
}

async fn run_once(
    program: &PathBuf,
    spec: &ProcessSpec,
    pids: &Path,
    passed: &[spawn::Passed],
    words: Option<&UnixDatagram>,
) -> Result<String> {
    let mut child = spawn::spawn(program, spec, passed)?;
    let pid = child.id().context("the process has ended already")?;
    note_pid(pids, &spec.name, pid);
    info!(process = spec.name, pid, "started");
    let mut next = None;
    let mut status = loop {
        tokio::select! {
            // What it says last is heard before its end is seen.
            biased;
            pid = heir(words) => next = Some(pid),
            status = child.wait() => break status?.to_string(),
        }
    };
    // Whoever goes on is nobody's child.
    while let Some(pid) = next.take() {
        note_pid(pids, &spec.name, pid);
        info!(process = spec.name, pid, "goes on");
        // One that has ended already cannot be watched.
        let Ok(process) = spawn::watch(pid) else { break };
        loop {
            tokio::select! {
                biased;
                pid = heir(words) => next = Some(pid),
                ended = process.readable() => {
                    drop(ended?);
                    break;
                }
            }
        }
        status = format!("process {pid}, which had gone on, has ended");
    }
    Ok(status)
}

/// The process runs in either case; a second one beside it would be worse than no pid file.
fn note_pid(pids: &Path, name: &str, pid: u32) {
    if let Err(error) = write_atomically(&pids.join(name), pid.to_string().as_bytes(), 0o644) {
        warn!(process = name, %error, "pid not written");
    }
}

/// Where a process says who goes on in its place, as it says it to systemd.
fn listen(path: &Path) -> Result<UnixDatagram> {
    create_private(path.parent().context("a socket is in a folder")?)?;
    // Left by a supervisor that was killed.
    drop(fs::remove_file(path));
    UnixDatagram::bind(path).with_context(|| format!("bind {}", path.display()))
}

/// Waits for the pid of whoever goes on.
async fn heir(words: Option<&UnixDatagram>) -> u32 {
    let Some(words) = words else { return std::future::pending().await };
    let mut word = [0; WORD_BYTES_MAX];
    loop {
        match words.recv(&mut word).await {
            Ok(len) => {
                let word = String::from_utf8_lossy(&word[..len]);
                if let Some(pid) = successor::main_pid(&word) {
                    return pid;
                }
            }
            Err(error) => {
                warn!(%error, "words of processes");
                return std::future::pending().await;
            }
        }
    }
}
