//! One process goes on in another's place: see `docs/restart.md`.

use std::{
    env,
    ffi::OsStr,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use bgpd::{Predecessor, TakeoverError};
use tokio::{
    process::Command,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};
use tracing::{error, info, warn};
use viaduct_net::Underlay;

const FLAG: &str = "--takeover";
/// How long a successor waits for the kernel's routes, without which no next hop leads anywhere.
const UNDERLAY_WAIT: Duration = Duration::from_secs(10);

/// Where the next process asks.
pub(super) fn socket_in(run_dir: &Path) -> PathBuf {
    run_dir.join("bgp-handover.sock")
}

/// The speaker that answers in the folder, once there is all that its successor needs; `None` where
/// there is none, or none that can be taken over, and an ordinary start follows.
pub(super) async fn predecessor(
    run_dir: &Path,
    underlay: &watch::Receiver<Underlay>,
) -> Result<Option<Predecessor>> {
    let mut underlay = underlay.clone();
    let known = underlay.wait_for(|routes| !routes.is_empty());
    if timeout(UNDERLAY_WAIT, known).await.is_err() {
        warn!("no route in the kernel: what is taken over leads nowhere");
    }
    match Predecessor::find(&socket_in(run_dir)).await {
        Ok(predecessor) => Ok(predecessor),
        Err(error @ TakeoverError::Handover(_)) => {
            warn!(%error, "an ordinary restart");
            Ok(None)
        }
        Err(error @ (TakeoverError::Io(_) | TakeoverError::Refused(_))) => Err(error.into()),
    }
}

/// Starts this program's file, which may be another by now, with our own arguments to go on in our
/// place whenever SIGUSR2 says so. Ends when the speaker does.
pub(super) async fn follow(speaker: bgpd::Handle) -> Result<()> {
    let mut wanted = signal(SignalKind::user_defined2())?;
    loop {
        tokio::select! {
            Some(()) = wanted.recv() => {}
            () = speaker.ended() => return parted(&speaker),
        }
        let mut child = match start() {
            Ok(child) => child,
            Err(error) => {
                error!(%error, "no successor");
                continue;
            }
        };
        let pid = child.id();
        info!(pid, "a successor is on its way");
        tokio::select! {
            ended = child.wait() => error!(?ended, "the successor has ended; this one goes on"),
            () = speaker.ended() => {
                if let Some(pid) = pid.filter(|_| speaker.was_handed_over()) {
                    notify(&format!("MAINPID={pid}\n"));
                }
                return parted(&speaker);
            }
        }
    }
}

fn parted(speaker: &bgpd::Handle) -> Result<()> {
    if !speaker.was_handed_over() {
        bail!("the BGP speaker has ended; its log says why");
    }
    info!("another goes on");
    Ok(())
}

fn start() -> Result<tokio::process::Child> {
    let program = env::current_exe().context("the name of this program")?;
    // What the kernel adds to the name of a file that was replaced.
    let name = program.as_os_str().as_bytes();
    let name = OsStr::from_bytes(name.strip_suffix(b" (deleted)").unwrap_or(name));
    let mut command = Command::new(name);
    command.args(env::args_os().skip(1).filter(|argument| argument != FLAG)).arg(FLAG);
    command.spawn().with_context(|| format!("start {}", name.display()))
}

/// Tells the service manager, where one wants to be told (sd_notify(3)).
fn notify(state: &str) {
    let Some(socket) = env::var_os("NOTIFY_SOCKET") else { return };
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&socket),
    };
    let sent = address
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        warn!(%error, "the service manager was not told");
    }
}
