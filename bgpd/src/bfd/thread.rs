//! The loop of the thread.

use std::{
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    os::{fd::AsFd, unix::net::UnixStream},
    time::{Duration, Instant},
};

use bgp_bfd::{Change, Event, Handover};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::time::TimeSpec,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};
use viaduct_net::Readable;

use super::{
    BfdSocket, Command, Commands, Wanted, Watched, priority, sockets::Sockets, status,
    untold::Untold,
};

/// How soon the speaker is told what it has had no room for.
const RETRY: Duration = Duration::from_millis(5);

/// Whether these sessions go on when the control plane does not: no, they live in its process. A
/// peer that is told so keeps our routes while we restart (RFC 5882 §4.3.2.2).
const CONTROL_PLANE_INDEPENDENT: bool = false;

pub(super) struct Worker {
    bfd: bgp_bfd::Bfd,
    sockets: Sockets,
    /// What there shall be.
    wanted: Wanted,
    commands: Commands,
    wakes: UnixStream,
    events: mpsc::Sender<Event>,
    /// What the speaker has had no room for.
    untold: Untold,
    problem: Option<String>,
    /// Sessions that have sockets.
    known: usize,
    /// Another process hears what arrives.
    is_deaf: bool,
}

enum Next {
    GoOn,
    /// And tell whoever waits for it, once the ports are free again.
    End(Option<oneshot::Sender<()>>),
}

impl Worker {
    pub(super) fn new(commands: Commands, wakes: UnixStream, events: mpsc::Sender<Event>) -> Self {
        Self {
            bfd: bgp_bfd::Bfd::new(CONTROL_PLANE_INDEPENDENT, seed()),
            sockets: Sockets::default(),
            wanted: Wanted::new(),
            commands,
            wakes,
            events,
            untold: Untold::default(),
            problem: None,
            known: 0,
            is_deaf: false,
        }
    }

    /// Goes on with the sessions of another process, by its sockets.
    pub(super) fn after(
        mut handover: Handover,
        sockets: Vec<BfdSocket>,
        commands: Commands,
        wakes: UnixStream,
        events: mpsc::Sender<Event>,
    ) -> Self {
        let mut worker = Self::new(commands, wakes, events);
        handover.take_events().into_iter().for_each(|event| worker.untold.push(event));
        let now = Instant::now();
        match bgp_bfd::Bfd::taken_over(handover, CONTROL_PLANE_INDEPENDENT, seed(), now) {
            Ok(bfd) => worker.bfd = bfd,
            // They begin anew, by the configuration.
            Err(error) => warn!(%error, "handed over"),
        }
        worker.sockets = Sockets::adopt(sockets);
        worker.known = worker.bfd.keys().len();
        worker
    }

    /// Runs until it is told to stop, or nobody is there any more who could.
    pub(super) fn run(mut self) {
        match priority::be_real_time() {
            Ok(()) => debug!("BFD has real-time priority"),
            Err(error) => debug!(%error, "BFD has no real-time priority"),
        }
        loop {
            if let Err(error) = self.wait()
                && error != Errno::EINTR
            {
                // Nothing that was asked for can be wrong for long: look again.
                warn!(%error, "BFD cannot wait");
                std::thread::sleep(RETRY);
            }
            if let Next::End(awaited) = self.take_commands() {
                drop(self);
                if let Some(awaited) = awaited {
                    // Nobody is there any more who could care.
                    let _gone = awaited.send(());
                }
                return;
            }
            let now = Instant::now();
            if !self.is_deaf {
                self.sockets.retry(now);
                let bfd = &mut self.bfd;
                self.sockets.receive(|received| {
                    // A wrong packet is a counted one, and concerns nobody else.
                    let _counted = bfd.handle_packet(received, now);
                });
            }
            // What has arrived while we were late counts before our being late does.
            self.bfd.handle_timeout(Instant::now());
            self.flush();
            // Sessions that have said their farewell need no sockets any more.
            if self.bfd.keys().len() < self.known {
                self.update_sockets(now);
            }
        }
    }

    /// Waits until something arrives or is due.
    fn wait(&self) -> nix::Result<()> {
        let now = Instant::now();
        let retry = (!self.untold.is_empty()).then(|| now + RETRY);
        let retry_at = self.sockets.retry_at().filter(|_| !self.is_deaf);
        let due = [self.bfd.poll_timeout(), retry_at, retry];
        let due = due.into_iter().flatten().min();
        let timeout = due.map(|at| TimeSpec::from(at.saturating_duration_since(now)));
        let heard = self.sockets.descriptors().filter(|_| !self.is_deaf);
        let sources = std::iter::once(self.wakes.as_fd()).chain(heard);
        let mut sources: Vec<_> =
            sources.map(|source| PollFd::new(source, PollFlags::POLLIN)).collect();
        ppoll(&mut sources, timeout, None).map(drop)
    }

    fn take_commands(&mut self) -> Next {
        let mut wakes = [0; 64];
        let orphaned = loop {
            match self.wakes.read(&mut wakes) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => break error.kind() != io::ErrorKind::WouldBlock,
            }
        };
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Configure(wanted) => self.configure(wanted),
                Command::Report(answer) => {
                    let problems = self.problem.iter().map(String::as_str);
                    let problems = problems.chain(self.sockets.problems());
                    let status =
                        status::status(&self.bfd, &self.wanted, problems, self.sockets.send_errors);
                    // Whoever has asked and gone needs no answer.
                    drop(answer.send(status));
                }
                // Whoever has asked and gone has no use for them.
                Command::Sockets(answer) => drop(answer.send(self.sockets.copies())),
                Command::HandOver(answer) => self.hand_over(answer),
                Command::Resume => self.resume(),
                Command::Stop(done) => {
                    self.configure(Wanted::new());
                    return Next::End(Some(done));
                }
            }
        }
        if orphaned { Next::End(None) } else { Next::GoOn }
    }

    fn hand_over(&mut self, answer: oneshot::Sender<Watched>) {
        self.flush();
        self.is_deaf = true;
        let sessions = self.bfd.hand_over(Instant::now());
        let events = self.untold.take();
        if let Err(Watched { events, .. }) = answer.send(Watched { sessions, events }) {
            events.into_iter().for_each(|event| self.untold.push(event));
            self.resume();
        }
    }

    fn resume(&mut self) {
        self.bfd.resume();
        self.is_deaf = false;
    }

    fn configure(&mut self, wanted: Wanted) {
        let now = Instant::now();
        self.problem = None;
        let profiles = wanted.iter().map(|(key, one)| (*key, one.profile)).collect();
        self.wanted = wanted;
        if let Err(error) = self.bfd.set_sessions(&profiles, now) {
            warn!(%error, "BFD configuration refused");
            self.problem = Some(error.to_string());
        }
        // Farewells are said before their sockets go, and new sessions heard from the start.
        self.flush();
        self.update_sockets(now);
    }

    fn update_sockets(&mut self, now: Instant) {
        let keys: Vec<_> = self.bfd.keys().collect();
        self.known = keys.len();
        self.sockets.update(&keys, &self.wanted, now);
    }

    /// Does what the sessions want.
    fn flush(&mut self) {
        while let Some(transmit) = self.bfd.poll_transmit() {
            self.sockets.send(&transmit);
        }
        while let Some(event) = self.bfd.poll_event() {
            let peer = Readable(event.session.peer);
            match event.change {
                Change::Up => info!(%peer, "BFD up"),
                Change::Down { reason, .. } => info!(%peer, reason = reason.name(), "BFD down"),
            }
            self.untold.push(event);
        }
        while let Some(event) = self.untold.first() {
            if self.events.try_send(event).is_err() {
                break;
            }
            self.untold.pop();
        }
    }
}

/// Every RandomState has keys of its own.
fn seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
