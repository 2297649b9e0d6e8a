//! What the generator does when no daemon is in its way: the same senders straight into the same
//! receiver, and everybody's tables straight back to every peer. Both ends are in the one thread
//! that has only one of them when a daemon is measured.

use std::{
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, tcp::OwnedWriteHalf},
    task::JoinSet,
};

use super::{
    board::Board,
    lab::Lab,
    layout::{DAEMON, Layout},
    peer::{self, BGP_PORT},
    run::{Tables, peers},
};

pub(crate) struct Ceiling {
    pub wall: Duration,
    /// Read at both ends together.
    pub prefixes: u64,
}

/// The calling thread is moved into the generator's namespace.
pub(crate) async fn measure(layout: &Layout, limit: Duration) -> Result<Ceiling> {
    // Which of overlapping paths is the best is a daemon's to find out.
    let layout = Layout { overlap: false, ..*layout };
    layout.check().context("the generator alone, with prefixes of each sender's own")?;
    let tables = Tables::encode(&layout)?;
    let lab = Lab::build()?;
    // A socket belongs to the namespace in which it was made.
    lab.daemon.enter()?;
    let listener = TcpListener::bind((DAEMON, BGP_PORT)).await;
    lab.generator.enter()?;
    let listener = listener?;
    // Whatever a case is, the daemon's end receives all of it.
    let far_layout = Layout { reflection: false, ..layout };
    let Some(receiver) = far_layout.receiver() else { bail!("nobody receives") };
    let far = Rc::new(Board::new(&far_layout));
    let near = Rc::new(Board::new(&layout));
    let peers = peers(&tables, &near);
    let mut daemon_ends = Vec::with_capacity(peers.len());
    for (number, peer) in peers.iter().enumerate() {
        peer.may_end(true);
        let (stream, accepted) = tokio::join!(peer::dial(number), listener.accept());
        peer.start(stream?, BytesMut::new());
        daemon_ends.push(accepted?.0);
    }
    let back = Bytes::from(tables.announcements.concat());
    let begun = Instant::now();
    let deadline = begun + limit;
    for (peer, table) in peers.iter().zip(&tables.announcements) {
        peer.send(table.clone());
    }
    // Ended with this function, and the connections with them.
    let mut ends = JoinSet::new();
    for stream in daemon_ends {
        let (reader, writer) = stream.into_split();
        let far = far.clone();
        ends.spawn_local(async move {
            let why = peer::read(receiver, &far, reader, BytesMut::new()).await;
            far.fail(format!("the far end: {why:#}"));
        });
        ends.spawn_local(write(writer, back.clone()));
    }
    let all_in = |board: &Board| board.is_complete(receiver);
    far.until("the far end", deadline, all_in).await?;
    near.until("the near end", deadline, Board::all_complete).await?;
    Ok(Ceiling { wall: begun.elapsed(), prefixes: far.prefixes_read() + near.prefixes_read() })
}

/// Dropped, the writer would end a connection whose other end still writes.
async fn write(mut writer: OwnedWriteHalf, octets: Bytes) {
    // Where it fails the reader has seen the same end, and tells.
    let _told_by_the_reader = writer.write_all(&octets).await;
    std::future::pending().await
}
