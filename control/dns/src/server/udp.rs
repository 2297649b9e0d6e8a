//! Datagrams. One task for each socket: what it answers itself takes it microseconds.

use std::{io, sync::Arc, time::Duration};

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{Server, Step};
use crate::message::Transport;

/// No query is longer; what is, is cut here and then malformed.
const QUERY_BYTES_MAX: usize = 4096;

/// A socket that only fails is not asked without end.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn serve(server: Arc<Server>, socket: UdpSocket, stop: CancellationToken) {
    let socket = Arc::new(socket);
    let mut buffer = vec![0; QUERY_BYTES_MAX];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = stop.cancelled() => return,
        };
        let (len, client) = match received {
            Ok(received) => received,
            Err(error) if is_of_a_client(&error) => continue,
            Err(error) => {
                tracing::warn!(%error, "receive a query");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        match server.step(&buffer[..len], Transport::Udp) {
            Step::Drop => {}
            Step::Reply(answer) => send(&socket, &answer, client).await,
            Step::Ask(asking) => match server.asking.clone().try_acquire_owned() {
                Ok(permit) => {
                    let (server, socket) = (server.clone(), socket.clone());
                    let answering = server.answering.clone();
                    answering.spawn(async move {
                        let answer = server.ask(*asking).await;
                        send(&socket, &answer, client).await;
                        drop(permit);
                    });
                }
                Err(_none_left) => send(&socket, &server.refuse(&asking), client).await,
            },
        }
    }
}

/// A client that is gone is told nothing, as datagrams go.
async fn send(socket: &UdpSocket, answer: &[u8], client: std::net::SocketAddr) {
    if let Err(error) = socket.send_to(answer, client).await {
        tracing::debug!(%client, %error, "answer not sent");
    }
}

/// What the network says of an answer sent earlier.
fn is_of_a_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        ConnectionRefused | ConnectionReset | HostUnreachable | NetworkUnreachable
    )
}
