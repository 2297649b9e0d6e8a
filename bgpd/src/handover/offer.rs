//! Where the next process asks.

use std::{
    fmt, fs, io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UnixListener,
    sync::mpsc,
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use super::channel::{Channel, Message};

/// Before the next try where descriptors are short.
const RETRY: Duration = Duration::from_secs(1);

/// Somebody who wants to go on in our place.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(super) channel: Channel,
    pub(super) beside: Beside,
}

/// Sockets of the speaker's process, by their names, that change hands with its sessions.
pub type BesideSockets = Vec<(String, OwnedFd)>;

/// Gives copies of [`BesideSockets`] as they are when somebody takes over.
#[derive(Clone)]
pub(crate) struct Beside(pub(crate) Arc<dyn Fn() -> io::Result<BesideSockets> + Send + Sync>);

impl fmt::Debug for Beside {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Beside").finish_non_exhaustive()
    }
}

/// A socket for our own user. One that another process has left, or is about to leave, is replaced.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    let staged = path.with_extension("new");
    // Left by whoever died at this very place.
    drop(fs::remove_file(&staged));
    let listener = UnixListener::bind(&staged)?;
    fs::set_permissions(&staged, fs::Permissions::from_mode(0o600))?;
    fs::rename(&staged, path)?;
    Ok(listener)
}

/// Lets in whoever comes until nobody waits for them any more.
pub(crate) async fn listen(listener: UnixListener, beside: Beside, offers: mpsc::Sender<Offer>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = offers.closed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "accept");
                sleep(RETRY).await;
                continue;
            }
        };
        let (beside, offers) = (beside.clone(), offers.clone());
        tokio::spawn(async move {
            // Whoever connects and says nothing is nobody.
            let greeted = tokio::task::spawn_blocking(move || greet(stream.into_std()?, beside));
            match timeout(2 * RETRY, greeted).await {
                Ok(Ok(Ok(offer))) => drop(offers.send(offer).await),
                Ok(Ok(Err(error))) => debug!(%error, "no successor"),
                Ok(Err(error)) => warn!(%error, "greeting"),
                Err(_) => debug!("a successor that says nothing"),
            }
        });
    }
}

fn greet(stream: std::os::unix::net::UnixStream, beside: Beside) -> io::Result<Offer> {
    let mut channel = Channel::new(stream)?;
    match channel.receive()? {
        Message::Hello => Ok(Offer { channel, beside }),
        _ => Err(super::channel::invalid("no greeting")),
    }
}
