//! The running speaker's part.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
    sync::mpsc::{Receiver, sync_channel},
    time::Instant,
};

use bgp_bfd::{HANDOVER_VERSION, Handover};
use bgp_speaker::ConnId;
use bytes::Bytes;
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use super::{
    Beside, BesideSockets, Offer,
    beat::{Beat, Said, Voice},
    channel::{Channel, Message, PATIENCE, invalid},
};
use crate::{
    bfd::{BfdSocket, Watched},
    connection::Paused,
    task::Task,
    unnumbered::Neighbours,
};

/// What has become of an offer to go on in our place.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing: we go on.
    Stays,
    /// The other goes on.
    HandedOver,
    /// It cannot, and waits for the end of this, and of us.
    GivesWay(Channel),
}

/// Frames of the speaker that wait to be sent, of a megabyte at most and mostly of far less.
const FRAMES_WAITING: usize = 8;

/// What goes before the speaker's frames. Descriptors are copies, so that we can still go on.
struct Parcel {
    listeners: Vec<OwnedFd>,
    beside: BesideSockets,
    neighbours: Neighbours,
    /// Where anybody is watched.
    bfd: Option<Vec<BfdSocket>>,
    connections: Vec<(IpAddr, OwnedFd, Vec<Bytes>)>,
}

impl Task {
    /// Stands still, hands everything over, and goes on if it is not taken.
    pub(crate) async fn hand_over(&mut self, offer: Offer) -> Outcome {
        let Offer { mut channel, beside } = offer;
        if let Some(answer) = self.answer_before(&mut channel) {
            // Whoever has died meanwhile needs none.
            drop(answer);
            return Outcome::Stays;
        }
        let begun = Instant::now();
        self.speaker.handle_pause(begun);
        self.pump();
        self.listeners.pause();
        let mut paused = self.pause_connections().await;
        self.pump();
        let cancelled = self.network.cancel_all();
        let given = self.give(channel, &beside, &mut paused, begun).await;
        let outcome = match given {
            Ok((mut channel, Message::Ready, said)) => match self.let_go(&mut channel, &said).await
            {
                Ok(()) => {
                    if self.bfd.is_running() {
                        other_has_begun(channel).await;
                    }
                    Outcome::HandedOver
                }
                Err(error) => {
                    warn!(%error, "the successor has gone");
                    Outcome::Stays
                }
            },
            Ok((channel, Message::Yield(reason), _)) => {
                warn!(reason, "the successor cannot take over");
                Outcome::GivesWay(channel)
            }
            Ok((_, other, _)) => {
                warn!(?other, "not handed over");
                Outcome::Stays
            }
            Err(error) => {
                warn!(%error, "not handed over");
                Outcome::Stays
            }
        };
        info!(?outcome, elapsed = ?begun.elapsed(), sessions = paused.len(), "handover");
        if !matches!(outcome, Outcome::HandedOver) {
            self.go_on(paused, cancelled);
        }
        outcome
    }

    /// What is to be said instead of a handover.
    fn answer_before(&self, channel: &mut Channel) -> Option<io::Result<()>> {
        if self.speaker.can_hand_over() {
            None
        } else if self.speaker.is_starting() {
            Some(channel.later())
        } else {
            Some(channel.refuse("it has ended"))
        }
    }

    /// Stops every connection between two octets; what was read until then is taken.
    async fn pause_connections(&mut self) -> BTreeMap<ConnId, Paused> {
        let mut stopping = self.network.pause();
        let mut paused = BTreeMap::new();
        while !stopping.is_empty() {
            tokio::select! {
                Some(stopped) = stopping.join_next() => {
                    if let Ok((conn, Some(connection))) = stopped {
                        paused.insert(conn, connection);
                    }
                }
                Some(input) = self.inputs.recv() => self.take(input, Instant::now()),
            }
        }
        // All that they have read is in there. Behind it stands what is read from files, without an end.
        for _ in 0..self.inputs.len() {
            let Ok(input) = self.inputs.try_recv() else { break };
            self.take(input, Instant::now());
        }
        self.take_taken();
        paused
    }

    /// Sends everything and waits for the answer, while every session hears that we are here. What was said
    /// is taken off what is unwritten.
    async fn give(
        &mut self,
        channel: Channel,
        beside: &Beside,
        paused: &mut BTreeMap<ConnId, Paused>,
        begun: Instant,
    ) -> io::Result<(Channel, Message, BTreeMap<ConnId, Said>)> {
        let bfd = self.bfd.sockets().await?;
        let beside = (beside.0)()?;
        let parcel = self.parcel(paused, beside, bfd)?;
        let beat = Beat::start(self.voices(paused, begun)?)?;
        let (frames, made) = sync_channel(FRAMES_WAITING);
        // What comes too late is nobody's: without our word the other touches nothing.
        let sent = spawn_blocking(move || send(channel, parcel, &made, begun));
        // Where nobody takes them any more the answer says why.
        self.speaker.hand_over(Instant::now(), &mut |frame| drop(frames.send(frame)));
        drop(frames);
        let sent = match timeout(PATIENCE.saturating_sub(begun.elapsed()), sent).await {
            Ok(sent) => sent.unwrap_or_else(|panic| Err(io::Error::other(panic))),
            Err(late) => Err(late.into()),
        };
        let said = beat.stop()?;
        let now = Instant::now();
        for (&conn, said) in &said {
            if let Some(connection) = paused.get_mut(&conn) {
                self.speaker.handle_written(conn, said.written, now);
                said.clone().leave(&mut connection.unwritten);
            }
        }
        let (channel, answer) = sent?;
        Ok((channel, answer, said))
    }

    fn parcel(
        &mut self,
        paused: &mut BTreeMap<ConnId, Paused>,
        beside: BesideSockets,
        bfd: Option<Vec<BfdSocket>>,
    ) -> io::Result<Parcel> {
        // What was said while they stopped stands behind what they had.
        for (conn, connection) in paused.iter_mut() {
            connection.unwritten.extend(self.network.take_waiting(*conn));
        }
        let listeners = self.listeners.descriptors()?;
        let neighbours = self.unnumbered.links().neighbours();
        let mut connections = Vec::new();
        for (peer, conn, _) in self.speaker.handed_over() {
            if let Some(connection) = paused.get(&conn) {
                let socket = connection.stream.as_fd().try_clone_to_owned()?;
                let unwritten = connection.unwritten.iter().cloned().collect();
                connections.push((peer, socket, unwritten));
            }
        }
        Ok(Parcel { listeners, beside, neighbours, bfd, connections })
    }

    fn voices(
        &self,
        paused: &BTreeMap<ConnId, Paused>,
        now: Instant,
    ) -> io::Result<BTreeMap<ConnId, Voice>> {
        let mut voices = BTreeMap::new();
        for (_, conn, hold) in self.speaker.handed_over() {
            if let Some(connection) = paused.get(&conn) {
                let stream = connection.stream.as_fd().try_clone_to_owned()?.into();
                let unwritten = connection.unwritten.clone();
                voices.insert(conn, Voice::new(stream, unwritten, hold, now));
            }
        }
        Ok(voices)
    }

    /// The last words: it has them.
    async fn let_go(
        &mut self,
        channel: &mut Channel,
        said: &BTreeMap<ConnId, Said>,
    ) -> io::Result<()> {
        let Watched { sessions, events } = self.bfd.hand_over().await?;
        let all = events.iter().map(Handover::write_event).chain(sessions);
        let told = self.say_go(channel, all, said);
        if told.is_err() {
            self.bfd.resume();
            events.into_iter().for_each(|event| self.take_bfd(event));
        }
        told
    }

    fn say_go(
        &self,
        channel: &mut Channel,
        mut bfd: impl Iterator<Item = Vec<u8>>,
        said: &BTreeMap<ConnId, Said>,
    ) -> io::Result<()> {
        bfd.try_for_each(|frame| channel.bfd_frame(&frame))?;
        for (peer, conn, _) in self.speaker.handed_over() {
            if let Some(said) = said.get(&conn).filter(|said| **said != Said::default()) {
                channel.said(peer, said.written, &said.tail)?;
            }
        }
        channel.go()
    }

    /// As if nothing had happened.
    fn go_on(&mut self, paused: BTreeMap<ConnId, Paused>, cancelled: Vec<IpAddr>) {
        for (conn, connection) in paused {
            self.network.resume(conn, connection);
        }
        self.listeners.resume();
        let now = Instant::now();
        self.speaker.handle_resume(now);
        for peer in cancelled {
            self.speaker.handle_connect_failed(peer, "a handover came between", now);
        }
    }
}

/// Until the other speaks for BFD we do.
async fn other_has_begun(channel: Channel) {
    let closed = spawn_blocking(move || channel.closed()).await;
    if let Err(error) = closed.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        warn!(%error, "the successor has not begun with BFD");
    }
}

/// Everything in its order; frames as they are made.
fn send(
    mut channel: Channel,
    parcel: Parcel,
    frames: &Receiver<Vec<u8>>,
    begun: Instant,
) -> io::Result<(Channel, Message)> {
    for listener in &parcel.listeners {
        channel.listener(listener.as_fd())?;
    }
    for (name, socket) in &parcel.beside {
        channel.beside(name, socket.as_fd())?;
    }
    for (interface, address) in &parcel.neighbours {
        channel.neighbour(interface, *address)?;
    }
    if let Some(sockets) = &parcel.bfd {
        channel.bfd(HANDOVER_VERSION)?;
        for BfdSocket { session, socket } in sockets {
            channel.bfd_socket(*session, socket.as_fd())?;
        }
    }
    for (peer, socket, unwritten) in &parcel.connections {
        channel.connection(*peer, socket.as_fd())?;
        unwritten.iter().try_for_each(|octets| channel.unwritten(octets))?;
    }
    drop(parcel);
    for frame in frames {
        // Whoever takes little by little is not waited for, either.
        if begun.elapsed() > PATIENCE {
            return Err(io::ErrorKind::TimedOut.into());
        }
        channel.speaker(&frame)?;
    }
    channel.end()?;
    match channel.receive()? {
        answer @ (Message::Ready | Message::Yield(_)) => Ok((channel, answer)),
        _ => Err(invalid("an answer that is none")),
    }
}
