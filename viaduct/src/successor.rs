//! One process goes on in another's place: see `docs/restart.md`.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    io,
    os::{
        fd::OwnedFd,
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
use bgpd::{BesideSockets, Predecessor, TakeoverError};
use nix::unistd::{Pid, getppid};
use tokio::{
    net::UnixListener,
    process::Command,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{error, info, warn};
use viaduct_net::Underlay;

use crate::{passed, turn::Turn};

const FLAG: &str = "--takeover";
/// Names to a successor the process that has started it.
const STARTER_VARIABLE: &str = "VIADUCT_SUCCESSOR_OF";
/// Names the socket of the service manager (sd_notify(3)).
pub(crate) const NOTIFY_VARIABLE: &str = "NOTIFY_SOCKET";
/// What it is told with the pid of who goes on.
const MAIN_PID: &str = "MAINPID=";
/// How long a successor waits for the kernel's routes, without which no next hop leads anywhere.
const UNDERLAY_WAIT: Duration = Duration::from_secs(10);
/// Before one that is there and does not answer yet is asked again.
const AGAIN: Duration = Duration::from_millis(100);

/// Where the next process asks.
pub(crate) fn socket_in(run_dir: &Path) -> PathBuf {
    run_dir.join("bgp-handover.sock")
}

/// The speaker that answers in the folder, once there is all that its successor needs; `None` where
/// there is none, or none that can be taken over, and an ordinary start follows.
pub(crate) async fn predecessor(
    run_dir: &Path,
    underlay: &watch::Receiver<Underlay>,
    turn: &Turn,
) -> Result<Option<Predecessor>> {
    let mut underlay = underlay.clone();
    let known = underlay.wait_for(|routes| !routes.is_empty());
    if timeout(UNDERLAY_WAIT, known).await.is_err() {
        warn!("no route in the kernel: what is taken over leads nowhere");
    }
    loop {
        match Predecessor::find(&socket_in(run_dir)).await {
            Ok(Some(predecessor)) => return Ok(Some(predecessor)),
            // Whoever has the turn will answer soon, or end.
            Ok(None) if turn.try_take()? => {
                if is_orphan(env::var(STARTER_VARIABLE).ok().as_deref(), getppid()) {
                    bail!("who has started this successor is dead: a start without it follows");
                }
                return Ok(None);
            }
            Ok(None) => sleep(AGAIN).await,
            Err(error @ TakeoverError::Handover(_)) => {
                warn!(%error, "an ordinary restart");
                return Ok(None);
            }
            Err(error @ (TakeoverError::Io(_) | TakeoverError::Refused(_))) => {
                return Err(error.into());
            }
        }
    }
}

/// Whether whoever has started this process to go on in its place has ended before that, and has told
/// nobody of it: to go on then would stand in the way of who is started by its supervisor.
fn is_orphan(starter: Option<&str>, parent: Pid) -> bool {
    starter.is_some_and(|starter| starter != parent.to_string())
}

/// Sockets that a predecessor has left to us, by their names.
#[derive(Debug, Default)]
pub(crate) struct Inherited(BTreeMap<String, Vec<OwnedFd>>);

impl Inherited {
    pub(crate) fn of(sockets: BesideSockets) -> Self {
        let mut all = Self::default();
        for (name, socket) in sockets {
            all.0.entry(name).or_default().push(socket);
        }
        all
    }

    pub(crate) fn take(&mut self, name: &str) -> Vec<OwnedFd> {
        self.0.remove(name).unwrap_or_default()
    }

    /// The listener of that name, which lets in whoever has waited meanwhile.
    pub(crate) fn listener(&mut self, name: &str) -> io::Result<Option<UnixListener>> {
        let Some(socket) = self.take(name).pop() else { return Ok(None) };
        let listener = std::os::unix::net::UnixListener::from(socket);
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Some)
    }
}

/// SIGUSR2, which asks for a successor.
#[derive(Debug)]
pub(crate) struct Wanted(Signal);

impl Wanted {
    /// To be called before anything that takes time: until then the signal would end us. One that comes
    /// before there is anything to hand over waits.
    pub(crate) fn listen() -> Result<Self> {
        Ok(Self(signal(SignalKind::user_defined2())?))
    }
}

/// Starts this program's file, which may be another by now, with our own arguments to go on in our
/// place whenever one is wanted. Ends when the speaker does.
pub(crate) async fn follow(speaker: bgpd::Handle, mut wanted: Wanted) -> Result<()> {
    loop {
        tokio::select! {
            Some(()) = wanted.0.recv() => {}
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
                    notify(&format!("{MAIN_PID}{pid}\n"));
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
    // What was passed to us is not open in our children: they have it from us.
    for variable in passed::VARIABLES {
        command.env_remove(variable);
    }
    command.env(STARTER_VARIABLE, std::process::id().to_string());
    command.spawn().with_context(|| format!("start {}", name.display()))
}

/// The pid of who goes on in place of whoever has said this to its service manager.
pub(crate) fn main_pid(state: &str) -> Option<u32> {
    state.lines().find_map(|line| line.strip_prefix(MAIN_PID)?.parse().ok())
}

/// Tells the service manager, where one wants to be told (sd_notify(3)).
fn notify(state: &str) {
    let Some(socket) = env::var_os(NOTIFY_VARIABLE) else { return };
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_starter_is_dead_is_an_orphan() {
        let parent = Pid::from_raw(17);
        assert!(!is_orphan(Some("17"), parent) && is_orphan(Some("16"), parent));
        assert!(!is_orphan(None, parent), "an operator has started it");
    }

    #[test]
    fn who_goes_on_is_told_by_its_pid() {
        assert_eq!(main_pid("STATUS=ending\nMAINPID=4711\n"), Some(4711));
        assert_eq!(main_pid("READY=1\n"), None);
        assert_eq!(main_pid("MAINPID=none"), None);
    }
}
