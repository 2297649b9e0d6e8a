//! Connections (RFC 7766). One task for each; its queries are answered one after another.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Server, Step};
use crate::message::Transport;

/// Connections of all clients, and of one of them: no pod keeps the others out.
const CONNECTIONS_MAX: usize = 256;
const CONNECTIONS_OF_CLIENT_MAX: usize = 32;
/// For how long a connection may stand idle, and a query take to arrive once it has begun, and an
/// answer to be taken.
const IDLE: Duration = Duration::from_secs(10);
const ARRIVAL: Duration = Duration::from_secs(2);
const WRITE: Duration = Duration::from_secs(2);
/// For how long a query may be on its way when the server ends.
const PARTING: Duration = Duration::from_millis(500);
/// Queries over one connection, after which the client makes another.
const QUERIES_MAX: usize = 10_000;
/// No query is longer.
const QUERY_BYTES_MAX: usize = 4096;

/// A listener that only fails is not asked without end.
const PAUSE: Duration = Duration::from_millis(100);

/// Who is connected.
#[derive(Clone, Default)]
pub(super) struct Connections(Arc<Mutex<BTreeMap<IpAddr, usize>>>);

/// The place of one connection, until it is dropped.
struct Place {
    connections: Connections,
    client: IpAddr,
}

impl Connections {
    fn enter(&self, client: IpAddr) -> Option<Place> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_client = all.get(&client).copied().unwrap_or(0);
        if of_client >= CONNECTIONS_OF_CLIENT_MAX || all.values().sum::<usize>() >= CONNECTIONS_MAX
        {
            return None;
        }
        all.insert(client, of_client + 1);
        Some(Place { connections: self.clone(), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.connections.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.client);
            }
        }
    }
}

pub(super) async fn serve(server: Arc<Server>, listener: TcpListener, stop: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "accept a connection");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = server.connections.enter(client.ip()) else {
            server.metrics.overloaded.add();
            continue;
        };
        server.metrics.tcp_connections.add();
        let (server, stop) = (server.clone(), stop.clone());
        server.answering.clone().spawn(async move {
            if let Err(error) = converse(&server, stream, &stop).await {
                debug!(%client, %error, "connection");
            }
            drop(place);
        });
    }
}

async fn parting(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(PARTING).await;
}

/// Ends some time after `stop`, between two queries.
async fn converse(
    server: &Server,
    mut stream: TcpStream,
    stop: &CancellationToken,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; QUERY_BYTES_MAX];
    for _ in 0..QUERIES_MAX {
        // The end of a connection, however it comes about, is no news.
        let len = tokio::select! {
            biased;
            len = timeout(IDLE, stream.read_u16()) => len,
            () = parting(stop) => return Ok(()),
        };
        let Ok(Ok(len)) = len else { return Ok(()) };
        let len = usize::from(len);
        if len > QUERY_BYTES_MAX {
            return Ok(());
        }
        timeout(ARRIVAL, stream.read_exact(&mut buffer[..len])).await??;
        let answer = match server.step(&buffer[..len], Transport::Tcp) {
            // Who sends no queries here has no business with us.
            Step::Drop => return Ok(()),
            Step::Reply(answer) => answer,
            Step::Ask(asking) => match server.asking.try_acquire() {
                Ok(_permit) => server.ask(*asking).await,
                Err(_none_left) => server.refuse(&asking),
            },
        };
        let len = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let mut framed = Vec::with_capacity(answer.len() + 2);
        framed.extend(len.to_be_bytes());
        framed.extend(answer);
        timeout(WRITE, stream.write_all(&framed)).await??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_the_places() {
        let connections = Connections::default();
        let client = |number: u8| IpAddr::from([10, 0, 0, number]);
        let mut places: Vec<Place> = Vec::new();
        for number in 0..=u8::MAX {
            places.extend((0..40).map_while(|_| connections.enter(client(number))));
        }
        assert_eq!(places.len(), CONNECTIONS_MAX);
        assert!(places.iter().take(CONNECTIONS_OF_CLIENT_MAX).all(|one| one.client == client(0)));
        assert!(places[CONNECTIONS_OF_CLIENT_MAX].client == client(1));
        drop(places);
        assert!(connections.0.lock().unwrap().is_empty());
    }
}
