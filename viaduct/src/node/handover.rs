//! What becomes of everything but the sessions when another process goes on in our place: see
//! `docs/restart.md`.
//!
//! ```text
//! before Go  the next process reads the API, loads its programs, looks at the kernel, and changes nothing
//! Go         sessions change hands, and with them copies of the sockets of CNI, the admin socket and DNS
//! then       we let nobody in any more, stop changing the kernel, answer the requests of CNI, and leave
//!            our turn to the next process, which takes pods, routes and maps as they are and lets in
//!            whoever has waited in the sockets meanwhile
//! ```

use std::{os::fd::AsFd, path::Path, time::Duration};

use anyhow::{Context, Result};
use tokio::{net::UnixListener, time::timeout};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::dns::Dns;
use crate::{passed, successor, turn::Turn};

/// The names under which a successor is given sockets, [`passed::DNS`] beside them.
pub(super) const ADMIN: &str = "admin";
pub(super) const CNI: &str = "cni";
/// For how long whoever goes answers those that it has let in.
pub(super) const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// The speaker of a process that goes on in another's place, or is still to be started.
pub(super) enum Begun {
    Speaks(bgpd::Handle),
    Waits(bgpd::Inputs),
}

/// Lets another process go on in our place, with copies of our sockets: who asks while neither of us
/// answers waits there.
pub(super) fn offer(
    speaker: &bgpd::Handle,
    run_dir: &Path,
    listeners: [(&'static str, &UnixListener); 2],
    dns: Dns,
) -> Result<()> {
    let mut copies = Vec::new();
    for (name, listener) in listeners {
        copies.push((name, listener.as_fd().try_clone_to_owned()?));
    }
    let beside = move || {
        let mut all = bgpd::BesideSockets::new();
        for (name, listener) in &copies {
            all.push(((*name).to_owned(), listener.try_clone()?));
        }
        all.extend(dns.sockets()?.into_iter().map(|socket| (passed::DNS.to_owned(), socket)));
        Ok(all)
    };
    speaker.offer_beside(&successor::socket_in(run_dir), beside).context("listen for a successor")
}

/// Ends what changes the kernel, and leaves that to the process that goes on. Gives whether it has it
/// already; otherwise it is left to it by the end of this process.
pub(super) async fn give_way(
    parts: CancellationToken,
    (vrouter, balancer): (vrouter::Handle, lb::Handle),
    cni: impl Future<Output = Result<(), vrouter_cni::ServeError>>,
    turn: Turn,
) -> bool {
    parts.cancel();
    let answered = timeout(ANSWER_WAIT, cni);
    let ((), (), answered) = tokio::join!(vrouter.ended(), balancer.ended(), answered);
    match answered {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "socket of CNI"),
        Err(_elapsed) => {
            // It may still be at work. The runtime asks again, and the successor takes back what is half
            // made.
            warn!("a request of CNI gets no answer");
            return false;
        }
    }
    turn.give_up();
    true
}
