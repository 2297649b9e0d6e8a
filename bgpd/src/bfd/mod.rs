//! BFD on sockets (RFC 5881, RFC 5883), on a thread of its own: neither a busy speaker nor a busy
//! runtime keeps a packet waiting. The thread starts with the first session that is configured, and a
//! socket is there only while a session needs it.

mod priority;
mod sockets;
mod status;
mod thread;
mod untold;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixStream},
    thread::Builder,
};

use bgp_bfd::{Event, Handover, SessionKey};
use bgp_speaker::BfdSessionConfig;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};
use tracing::error;
use viaduct_api::admin::BfdStatus;

pub(crate) use self::status::metrics;
use self::thread::Worker;

/// Commands that wait for the thread, which takes all whenever it wakes.
const MAX_WAITING_COMMANDS: usize = 64;
/// Events that wait for the speaker; what is beyond waits in the thread, two for each session.
const MAX_WAITING_EVENTS: usize = 1024;

type Commands = mpsc::Receiver<Command>;

/// What there shall be.
type Wanted = BTreeMap<SessionKey, BfdSessionConfig>;

#[derive(Debug)]
enum Command {
    Configure(Wanted),
    Report(oneshot::Sender<BfdStatus>),
    /// Copies of all there are.
    Sockets(oneshot::Sender<io::Result<Vec<BfdSocket>>>),
    /// Let another process go on, and repeat what was said.
    HandOver(oneshot::Sender<Watched>),
    /// Nobody has taken it.
    Resume,
    /// Say farewell and end.
    Stop(oneshot::Sender<()>),
}

/// A socket that goes to another process.
#[derive(Debug)]
pub(crate) struct BfdSocket {
    /// Whose packets are sent by it; without one packets arrive there.
    pub(crate) session: Option<SessionKey>,
    pub(crate) socket: OwnedFd,
}

/// What goes with them, at the last moment.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// As by [`bgp_bfd::Bfd::hand_over`].
    pub(crate) sessions: Vec<Vec<u8>>,
    /// What the speaker has not heard.
    pub(crate) events: Vec<Event>,
}

/// The speaker's end of the thread. When it is dropped the thread ends as by a crash.
#[derive(Debug)]
pub(crate) struct Bfd {
    running: Option<Running>,
    /// What the thread has not been told, for its queue was full.
    untold: Option<Wanted>,
    events: mpsc::Receiver<Event>,
    /// For the thread that is still to be started.
    sender: mpsc::Sender<Event>,
    problem: Option<String>,
}

#[derive(Debug)]
struct Running {
    commands: mpsc::Sender<Command>,
    waker: UnixStream,
}

impl Bfd {
    pub(crate) fn new() -> Self {
        let (sender, events) = mpsc::channel(MAX_WAITING_EVENTS);
        Self { running: None, untold: None, events, sender, problem: None }
    }

    /// Goes on with the sessions of another process, by its sockets.
    pub(crate) fn after(handover: Handover, sockets: Vec<BfdSocket>) -> Self {
        let mut bfd = Self::new();
        bfd.begin(|queue, wakes, events| Worker::after(handover, sockets, queue, wakes, events));
        bfd
    }

    pub(crate) const fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Copies of the sockets; `None` where nobody is watched.
    pub(crate) async fn sockets(&mut self) -> io::Result<Option<Vec<BfdSocket>>> {
        self.pump();
        if !self.is_running() {
            return Ok(None);
        }
        self.ask(Command::Sockets).await?.map(Some)
    }

    /// Lets another process go on with the sessions. What they have said is repeated until the end, or
    /// until [`Self::resume`].
    pub(crate) async fn hand_over(&mut self) -> io::Result<Watched> {
        if !self.is_running() {
            return Ok(Watched::default());
        }
        let Watched { sessions, events: later } = self.ask(Command::HandOver).await?;
        let mut events: Vec<_> = std::iter::from_fn(|| self.try_event()).collect();
        events.extend(later);
        Ok(Watched { sessions, events })
    }

    /// As if nobody had asked for them.
    pub(crate) fn resume(&mut self) {
        if let Some(running) = &self.running
            && running.send(Command::Resume).is_err()
        {
            error!("the thread of BFD takes no commands");
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> io::Result<T> {
        let gone = || io::Error::other("the thread of BFD does not answer");
        let (sender, answer) = oneshot::channel();
        let running = self.running.as_ref().ok_or_else(gone)?;
        running.send(command(sender)).map_err(|_untaken| gone())?;
        answer.await.map_err(|_untold| gone())
    }

    /// Takes over which sessions there shall be.
    pub(crate) fn configure(&mut self, wanted: BTreeMap<SessionKey, BfdSessionConfig>) {
        if self.running.is_none() && wanted.is_empty() {
            return;
        }
        self.untold = Some(wanted);
        self.pump();
    }

    /// Tells the thread what it has had no room for.
    pub(crate) fn pump(&mut self) {
        let Some(wanted) = self.untold.take() else { return };
        match self.running() {
            Some(running) => {
                if let Err(Command::Configure(wanted)) = running.send(Command::Configure(wanted)) {
                    self.untold = Some(wanted);
                }
            }
            None => self.untold = Some(wanted),
        }
    }

    /// The next event, where one waits.
    pub(crate) fn try_event(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// The next event; for ever where there is none.
    pub(crate) async fn event(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            // Not while the sender for the next thread is ours.
            None => std::future::pending().await,
        }
    }

    /// Has the thread answer; one that does not run has no sessions.
    pub(crate) fn report(&self, answer: oneshot::Sender<BfdStatus>) {
        match &self.running {
            // A full queue drops the question, and with it the one who answers.
            Some(running) => drop(running.send(Command::Report(answer))),
            None => {
                let problems = self.problem.iter().cloned().collect();
                drop(answer.send(BfdStatus { problems, ..BfdStatus::default() }));
            }
        }
    }

    /// Tells every peer that this is no failure, and ends the thread.
    pub(crate) async fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        let (done, stopped) = oneshot::channel();
        if running.send(Command::Stop(done)).is_ok() {
            // An error is the end of the thread, too.
            drop(stopped.await);
        }
    }

    fn running(&mut self) -> Option<&Running> {
        if self.running.is_none() {
            self.begin(Worker::new);
        }
        self.running.as_ref()
    }

    fn begin(&mut self, worker: impl FnOnce(Commands, UnixStream, mpsc::Sender<Event>) -> Worker) {
        match start(self.sender.clone(), worker) {
            Ok(running) => (self.running, self.problem) = (Some(running), None),
            Err(error) => {
                error!(%error, "cannot start the thread of BFD");
                self.problem = Some(format!("cannot start the thread of BFD: {error}"));
            }
        }
    }
}

impl Running {
    /// Gives back what there was no room for. Never waits.
    fn send(&self, command: Command) -> Result<(), Command> {
        let sent = self.commands.try_send(command);
        match (&self.waker).write(&[0]) {
            Ok(_) => {}
            // It has not even taken the last ones: it is awake.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => error!(%error, "the thread of BFD has ended"),
        }
        match sent {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(command) | TrySendError::Closed(command)) => Err(command),
        }
    }
}

fn start(
    events: mpsc::Sender<Event>,
    worker: impl FnOnce(Commands, UnixStream, mpsc::Sender<Event>) -> Worker,
) -> io::Result<Running> {
    let (commands, queue) = mpsc::channel(MAX_WAITING_COMMANDS);
    let (waker, wakes) = UnixStream::pair()?;
    waker.set_nonblocking(true)?;
    wakes.set_nonblocking(true)?;
    let worker = worker(queue, wakes, events);
    Builder::new().name("bfd".to_owned()).spawn(|| worker.run())?;
    Ok(Running { commands, waker })
}
