//! Where the next process asks.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

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
pub(crate) struct Offer(pub(super) Channel);

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
pub(crate) async fn listen(listener: UnixListener, offers: mpsc::Sender<Offer>) {
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
        let offers = offers.clone();
        tokio::spawn(async move {
            // Whoever connects and says nothing is nobody.
            let greeted = tokio::task::spawn_blocking(move || greet(stream.into_std()?));
            match timeout(2 * RETRY, greeted).await {
                Ok(Ok(Ok(offer))) => drop(offers.send(offer).await),
                Ok(Ok(Err(error))) => debug!(%error, "no successor"),
                Ok(Err(error)) => warn!(%error, "greeting"),
                Err(_) => debug!("a successor that says nothing"),
            }
        });
    }
}

fn greet(stream: std::os::unix::net::UnixStream) -> io::Result<Offer> {
    let mut channel = Channel::new(stream)?;
    match channel.receive()? {
        Message::Hello => Ok(Offer(channel)),
        _ => Err(super::channel::invalid("no greeting")),
    }
}
