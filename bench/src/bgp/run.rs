//! One case with one daemon, once.

use std::{
    path::{Path, PathBuf},
    pin::pin,
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use tokio::{
    select,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    board::Board,
    case::{Case, Exercise},
    daemon::{Daemon, Running},
    lab::Lab,
    layout::{Layout, Sender},
    peer::Peer,
    perf::Perf,
    process::{Usages, own_cpu},
    questions::{Answers, Asking},
    table,
};
use crate::statistics::percentile;

/// Sessions that are being established at once: OpenBGPD lets five connections wait, and one that
/// finds no room tries again a second later.
const HANDSHAKES: usize = 4;
/// How often one looks whether a daemon that does not answer is still there.
const CHECK: Duration = Duration::from_millis(50);

/// What was measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// Until the receiver had what it should; of a reflector, until all clients had.
    pub wall: Duration,
    /// Until every peer had.
    pub all: Duration,
    /// Of the daemon, until every peer had; the peak since its start.
    pub usages: Usages,
    /// Of the generator, for the same time.
    pub generator: Duration,
    pub journeys: Option<Journeys>,
    /// To each question that was asked meanwhile.
    pub answers: Vec<Answers>,
}

/// From the write of an update to its arrival.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Journeys {
    pub receiver: Percentiles,
    /// At all peers but the receiver: at those that send as well.
    pub senders: Percentiles,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Percentiles {
    pub p50: Duration,
    pub p99: Duration,
}

impl Percentiles {
    fn of(took: impl IntoIterator<Item = Duration>) -> Self {
        let mut secs: Vec<f64> = took.into_iter().map(|one| one.as_secs_f64()).collect();
        if secs.is_empty() {
            return Self::default();
        }
        let mut share = |share| Duration::from_secs_f64(percentile(&mut secs, share));
        Self { p50: share(0.5), p99: share(0.99) }
    }
}

/// What the senders of a case say, encoded once for all daemons and rounds.
pub(crate) struct Tables {
    opens: Vec<Bytes>,
    pub announcements: Vec<Bytes>,
}

impl Tables {
    pub(crate) fn encode(layout: &Layout) -> Result<Self> {
        let opens = (0..layout.peers()).map(|peer| table::open(layout, peer));
        let announcements = (0..layout.senders).map(|sender| table::announcements(layout, sender));
        Ok(Self {
            opens: opens.collect::<Result<_>>()?,
            announcements: announcements.collect::<Result<_>>()?,
        })
    }
}

pub(crate) fn peers(tables: &Tables, board: &Rc<Board>) -> Vec<Peer> {
    let opens = tables.opens.iter().enumerate();
    opens.map(|(number, open)| Peer::new(number, open.clone(), board.clone())).collect()
}

/// Measures once. The calling thread is moved into the generator's namespace.
pub(crate) async fn run(
    case: &Case,
    daemon: Daemon,
    tables: &Tables,
    limit: Duration,
    perf: Option<&Path>,
) -> Result<Outcome> {
    let lab = Lab::build()?;
    lab.generator.enter()?;
    let board = Rc::new(Board::new(&case.layout));
    let peers = peers(tables, &board);
    let running = Running::start(daemon, &lab, &case.layout)?;
    let deadline = Instant::now() + limit;
    let perf = perf.map(|folder| folder.join(format!("{}-{}.data", case.name, daemon.name())));
    let mut bench = Bench { layout: case.layout, tables, board, peers, running, deadline, perf };
    let outcome = bench.exercise(case.exercise).await;
    let outcome = outcome.map_err(|error| {
        // Why the sessions broke is seen best in how the daemon ended.
        let error = match bench.running.processes.check() {
            Ok(()) => error,
            Err(ended) => error.context(ended),
        };
        let (name, limit, said) =
            (daemon.name(), limit.as_secs(), bench.running.processes.last_words());
        error.context(format!("{} with {name}, limit {limit} s{said}", case.name))
    });
    for peer in &bench.peers {
        peer.may_end(true);
    }
    bench.running.processes.kill().await?;
    outcome
}

struct Bench<'a> {
    layout: Layout,
    tables: &'a Tables,
    board: Rc<Board>,
    peers: Vec<Peer>,
    running: Running,
    deadline: Instant,
    perf: Option<PathBuf>,
}

/// What is measured, while it goes on.
struct Watch {
    begun: Instant,
    /// Counted so far, and up to where.
    usages: Usages,
    generator: Duration,
    counted_to: Reading,
    perf: Option<Perf>,
}

/// What had been used by a moment.
#[derive(Default)]
struct Reading {
    usages: Usages,
    generator: Duration,
}

impl Bench<'_> {
    async fn exercise(&mut self, exercise: Exercise) -> Result<Outcome> {
        self.connect(|_| {}).await?;
        if exercise != Exercise::Spread {
            self.spread().await?;
        }
        match exercise {
            Exercise::Spread => {
                let watch = self.begin().await?;
                self.spread().await?;
                self.end(watch, None).await
            }
            Exercise::Withdraw => self.withdraw().await,
            Exercise::Churn { updates, gap } => self.churn(updates, gap).await,
            Exercise::Flap { times } => self.flap(times).await,
            Exercise::Restart => self.restart().await,
            Exercise::Ask { times } => self.ask(times).await,
        }
    }

    /// Establishes all sessions; each peer does something as soon as its own is.
    async fn connect(&mut self, then: impl Fn(&Peer)) -> Result<()> {
        {
            // The first finds out when the daemon listens.
            let mut first = pin!(self.peers[0].connect(self.deadline));
            loop {
                select! {
                    connected = &mut first => break connected?,
                    () = sleep(CHECK) => self.running.processes.check()?,
                }
            }
        }
        then(&self.peers[0]);
        stream::iter(&self.peers[1..])
            .map(Ok::<_, anyhow::Error>)
            .try_for_each_concurrent(HANDSHAKES, async |peer| {
                peer.connect(self.deadline).await?;
                then(peer);
                Ok(())
            })
            .await?;
        self.board.until("sessions", self.deadline, Board::all_established).await
    }

    async fn spread(&self) -> Result<()> {
        for (peer, table) in self.peers.iter().zip(&self.tables.announcements) {
            peer.send(table.clone());
        }
        self.board.until("the tables", self.deadline, Board::all_complete).await
    }

    async fn begin(&self) -> Result<Watch> {
        let perf = match &self.perf {
            Some(file) => Some(Perf::record(file, &self.running.processes.pids()).await?),
            None => None,
        };
        let (usages, generator) = Default::default();
        let counted_to = self.read()?;
        Ok(Watch { usages, generator, counted_to, perf, begun: Instant::now() })
    }

    fn read(&self) -> Result<Reading> {
        Ok(Reading { usages: self.running.processes.usages()?, generator: own_cpu()? })
    }

    /// What has been used since the last count counts.
    fn count(&self, watch: &mut Watch) -> Result<()> {
        let now = self.read()?;
        for (name, usage) in &now.usages {
            let before = watch.counted_to.usages.get(name).copied().unwrap_or_default();
            let counted = watch.usages.entry(name.clone()).or_default();
            counted.cpu += usage.cpu.saturating_sub(before.cpu);
            counted.peak_kib = usage.peak_kib;
        }
        watch.generator += now.generator.saturating_sub(watch.counted_to.generator);
        watch.counted_to = now;
        Ok(())
    }

    /// What has been used since the last count does not count.
    fn skip(&self, watch: &mut Watch) -> Result<()> {
        watch.counted_to = self.read()?;
        Ok(())
    }

    /// `took` where the time is not simply the time since the beginning.
    async fn end(&self, mut watch: Watch, took: Option<Duration>) -> Result<Outcome> {
        self.count(&mut watch)?;
        if let Some(perf) = watch.perf {
            perf.end().await?;
        }
        let since = |at: Instant| took.unwrap_or_else(|| at.saturating_duration_since(watch.begun));
        let all = since(self.board.all_complete_at().context("a case without peers")?);
        let receiver = self.layout.receiver();
        let wall = receiver.map_or(all, |peer| since(self.board.complete_at(peer)));
        let Watch { usages, generator, .. } = watch;
        let (journeys, answers) = Default::default();
        Ok(Outcome { wall, all, usages, generator, journeys, answers })
    }

    async fn withdraw(&mut self) -> Result<Outcome> {
        let mut messages = Vec::with_capacity(self.layout.senders);
        for sender in 0..self.layout.senders {
            let (octets, indices) = table::withdrawals(&self.layout, sender)?;
            self.board.expect(&self.layout, &indices, false);
            messages.push(octets);
        }
        let watch = self.begin().await?;
        for (peer, octets) in self.peers.iter().zip(messages) {
            peer.send(octets);
        }
        self.board.until("the withdrawals", self.deadline, Board::all_complete).await?;
        self.end(watch, None).await
    }

    async fn ask(&mut self, times: usize) -> Result<Outcome> {
        let withdrawals = (0..self.layout.senders)
            .map(|sender| table::withdrawals(&self.layout, sender))
            .collect::<Result<Vec<_>>>()?;
        let asking = Asking::begin(self.running.admin_socket(), &self.layout)?;
        let watch = self.begin().await?;
        for _ in 0..times {
            for (peer, (octets, indices)) in self.peers.iter().zip(&withdrawals) {
                self.board.expect(&self.layout, indices, false);
                peer.send(octets.clone());
            }
            self.board.until("the withdrawals", self.deadline, Board::all_complete).await?;
            for (_, indices) in &withdrawals {
                self.board.expect(&self.layout, indices, true);
            }
            self.spread().await?;
        }
        let mut outcome = self.end(watch, None).await?;
        outcome.answers = asking.end()?;
        Ok(outcome)
    }

    async fn churn(&mut self, updates: usize, gap: Duration) -> Result<Outcome> {
        let messages = (0..updates).map(|number| table::churn(&self.layout, number));
        let messages = messages.collect::<Result<Vec<_>>>()?;
        self.board.follow(updates);
        let watch = self.begin().await?;
        let begun = watch.begun;
        let deadline = self.deadline + gap * updates as u32;
        let mut ticks = interval(gap);
        // What was late by itself must not be spared the daemon.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        for (number, (sender, octets)) in messages.into_iter().enumerate() {
            ticks.tick().await;
            self.board.departs(number);
            self.peers[sender].send(octets);
        }
        self.board.until("the updates", deadline, Board::all_arrived).await?;
        let mut outcome = self.end(watch, Some(begun.elapsed())).await?;
        let at_receiver = self.layout.receiver().into_iter();
        let senders = 0..self.layout.senders;
        outcome.journeys = Some(Journeys {
            receiver: Percentiles::of(at_receiver.flat_map(|peer| self.board.journeys(peer))),
            senders: Percentiles::of(senders.flat_map(|peer| self.board.journeys(peer))),
        });
        Ok(outcome)
    }

    /// Each time it is another client, for daemons make whoever flaps again wait ever longer. What
    /// counts is until all others have lost the client's routes, and from its new session until
    /// everybody has everything again; not for how long a daemon refuses it between.
    async fn flap(&mut self, times: usize) -> Result<Outcome> {
        let own = |client: usize| -> Vec<usize> {
            let is_own = |index: &usize| self.layout.winner(*index) == client as Sender;
            (0..self.layout.prefixes()).filter(is_own).collect()
        };
        let mut took = Duration::ZERO;
        let mut watch = self.begin().await?;
        for client in 0..times {
            self.board.expect(&self.layout, &own(client), false);
            self.skip(&mut watch)?;
            let begun = Instant::now();
            self.peers[client].close().await;
            let gone = |board: &Board| board.complete_but(0..client + 1);
            self.board.until("the client's routes to go", self.deadline, gone).await?;
            self.count(&mut watch)?;
            took += begun.elapsed();
        }
        for client in 0..times {
            self.board.expect(&self.layout, &own(client), true);
            self.peers[client].connect(self.deadline).await?;
            self.skip(&mut watch)?;
            let begun = Instant::now();
            self.peers[client].send(self.tables.announcements[client].clone());
            let back = |board: &Board| board.complete_but(client + 1..times);
            self.board.until("the client's routes to return", self.deadline, back).await?;
            self.count(&mut watch)?;
            took += begun.elapsed();
        }
        self.end(watch, Some(took)).await
    }

    /// The time is that from the start of the new process, its reading of the configuration and all
    /// handshakes included.
    async fn restart(&mut self) -> Result<Outcome> {
        self.peers.iter().for_each(|peer| peer.may_end(true));
        self.running.processes.kill().await?;
        self.board.until("the sessions to end", self.deadline, Board::none_established).await?;
        self.peers.iter().for_each(|peer| peer.may_end(false));
        let (begun, (usages, generator, perf)) = (Instant::now(), Default::default());
        let counted_to = Reading { usages: Usages::new(), generator: own_cpu()? };
        let watch = Watch { begun, usages, generator, counted_to, perf };
        self.running.run()?;
        let tables = self.tables;
        self.connect(|peer| peer.send(tables.announcements[peer.number()].clone())).await?;
        self.board.until("the tables", self.deadline, Board::all_complete).await?;
        self.end(watch, None).await
    }
}
