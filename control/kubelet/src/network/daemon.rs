//! The daemon behind its admin socket.

use std::{path::PathBuf, sync::Arc, time::Duration};

use hyper::{Response, body::Incoming};
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, sync::Semaphore};

use super::exchange::{ExchangeError, exchange, read};

/// Questions to the daemon that are under way; most wait for an endpoint to be withdrawn.
const QUESTIONS_MAX: usize = 128;
/// Until the answer begins: a question may ask to wait for 10 s.
const HEAD_LIMIT: Duration = Duration::from_secs(15);
/// Until all of it has been read.
const BODY_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(crate) enum NetworkError {
    #[error("more than {QUESTIONS_MAX} questions to the network daemon are under way")]
    Busy,
    #[error("the network daemon does not answer on {socket}: {source}")]
    Away { socket: String, source: ExchangeError },
}

#[derive(Debug)]
pub(crate) struct NetworkDaemon {
    socket: PathBuf,
    room: Arc<Semaphore>,
}

impl NetworkDaemon {
    pub(super) fn new(socket: PathBuf) -> Self {
        Self { socket, room: Arc::new(Semaphore::new(QUESTIONS_MAX)) }
    }

    /// What it says to `GET target`, whatever its status.
    pub(crate) async fn get(&self, target: &str) -> Result<Response<Incoming>, NetworkError> {
        let permit = match Arc::clone(&self.room).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_full) => return Err(NetworkError::Busy),
        };
        let ask = async {
            let stream = UnixStream::connect(&self.socket).await?;
            exchange(stream, "viaduct", target, BODY_LIMIT, permit).await
        };
        match tokio::time::timeout(HEAD_LIMIT, ask).await {
            Ok(answer) => answer.map_err(|source| self.away(source)),
            Err(elapsed) => Err(self.away(elapsed.into())),
        }
    }

    /// The same, understood.
    pub(super) async fn ask<T: DeserializeOwned>(&self, target: &str) -> Result<T, NetworkError> {
        let answer = self.get(target).await?;
        read(answer).await.map_err(|source| self.away(source))
    }

    fn away(&self, source: ExchangeError) -> NetworkError {
        NetworkError::Away { socket: self.socket.display().to_string(), source }
    }
}
