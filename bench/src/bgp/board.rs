//! What every peer has been told by the daemon, against what it should have been told.

use std::{
    cell::{Cell, RefCell},
    ops::Range,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use tokio::{sync::Notify, time::timeout_at};

use super::{
    layout::{self, Layout, Sender},
    table::churn_number,
    walk::{Broken, Ends, Nlri, Sink, walk},
};

/// Held or to be held from nobody.
const NOBODY: Sender = Sender::MAX;

/// One peer's view: from which sender it holds each prefix.
#[derive(Debug)]
struct Ledger {
    held: Vec<Sender>,
    /// Whose prefixes do not count, the peer's own: some daemons tell a peer what it has said
    /// itself. The receiver's number is no sender's.
    own: Sender,
    /// Prefixes that are not held from whom they should be.
    wrong: usize,
    complete_at: Instant,
    established: bool,
    /// Prefixes read, announced and withdrawn, repeats included.
    read: u64,
}

impl Ledger {
    fn count_anew(&mut self, target: &[Sender]) {
        let both = self.held.iter().zip(target);
        self.wrong = both.filter(|(held, target)| held != target && **target != self.own).count();
        self.complete_at = Instant::now();
    }
}

/// Times of updates that are told apart.
#[derive(Debug, Default)]
pub(crate) struct Journeys {
    sent: Vec<Option<Instant>>,
    /// For each peer and update how long it took to get there.
    took: Vec<Vec<Option<Duration>>>,
    /// Those that have yet to arrive somewhere: nobody is told its own.
    missing: usize,
}

impl Journeys {
    fn arrives(&mut self, number: usize, peer: usize, now: Instant) {
        if let Some(sent) = self.sent.get(number).copied().flatten()
            && self.took[peer][number].is_none()
        {
            self.took[peer][number] = Some(now - sent);
            self.missing -= 1;
        }
    }
}

/// The views of all peers.
#[derive(Debug)]
pub(crate) struct Board {
    /// From whom each prefix should be held.
    target: RefCell<Vec<Sender>>,
    ledgers: Vec<RefCell<Ledger>>,
    incomplete: Cell<usize>,
    established: Cell<usize>,
    journeys: RefCell<Journeys>,
    failure: RefCell<Option<String>>,
    changed: Notify,
}

impl Board {
    /// Nothing is held, and everything should be.
    pub(crate) fn new(layout: &Layout) -> Self {
        let count = layout.prefixes();
        let target: Vec<Sender> = (0..count).map(|index| layout.winner(index)).collect();
        let ledgers: Vec<_> = (0..layout.peers())
            .map(|peer| {
                RefCell::new(Ledger {
                    held: vec![NOBODY; count],
                    own: peer as Sender,
                    wrong: 0,
                    complete_at: Instant::now(),
                    established: false,
                    read: 0,
                })
            })
            .collect();
        let board = Self {
            target: RefCell::new(target),
            incomplete: Cell::new(0),
            established: Cell::new(0),
            ledgers,
            journeys: RefCell::default(),
            failure: RefCell::new(None),
            changed: Notify::new(),
        };
        board.count_anew();
        board
    }

    /// These prefixes should be held by nobody, or again from whom the layout says.
    pub(crate) fn expect(&self, layout: &Layout, indices: &[usize], present: bool) {
        let mut target = self.target.borrow_mut();
        for &index in indices {
            target[index] = if present { layout.winner(index) } else { NOBODY };
        }
        drop(target);
        self.count_anew();
    }

    fn count_anew(&self) {
        let target = self.target.borrow();
        let mut incomplete = 0;
        for ledger in &self.ledgers {
            let mut ledger = ledger.borrow_mut();
            ledger.count_anew(&target);
            incomplete += usize::from(ledger.wrong > 0);
        }
        self.incomplete.set(incomplete);
    }

    pub(crate) fn established(&self, peer: usize) {
        self.ledgers[peer].borrow_mut().established = true;
        self.established.set(self.established.get() + 1);
        self.changed.notify_one();
    }

    /// What a lost session has told is held no more.
    pub(crate) fn lost(&self, peer: usize) {
        let mut ledger = self.ledgers[peer].borrow_mut();
        if std::mem::replace(&mut ledger.established, false) {
            self.established.set(self.established.get() - 1);
        }
        ledger.held.fill(NOBODY);
        let was_complete = ledger.wrong == 0;
        ledger.count_anew(&self.target.borrow());
        if was_complete && ledger.wrong > 0 {
            self.incomplete.set(self.incomplete.get() + 1);
        }
        self.changed.notify_one();
    }

    pub(crate) fn fail(&self, why: String) {
        self.failure.borrow_mut().get_or_insert(why);
        self.changed.notify_one();
    }

    /// Reads what has come for a peer; how many octets of it were whole messages.
    pub(crate) fn read(&self, peer: usize, octets: &[u8]) -> Result<usize, Broken> {
        let mut ledger = self.ledgers[peer].borrow_mut();
        let before = ledger.wrong;
        let mut reading = Reading {
            peer,
            ledger: &mut ledger,
            target: &self.target.borrow(),
            journeys: &mut self.journeys.borrow_mut(),
            strange: None,
            now: Instant::now(),
        };
        let taken = walk(octets, &mut reading)?;
        let Reading { strange, now, journeys, .. } = reading;
        if !journeys.sent.is_empty() && journeys.missing == 0 {
            self.changed.notify_one();
        }
        match (before, ledger.wrong) {
            (1.., 0) => {
                ledger.complete_at = now;
                self.incomplete.set(self.incomplete.get() - 1);
                self.changed.notify_one();
            }
            (0, 1..) => self.incomplete.set(self.incomplete.get() + 1),
            _ => {}
        }
        if let Some(strange) = strange {
            self.fail(format!("peer {peer} was told {strange}"));
        }
        Ok(taken)
    }

    pub(crate) fn is_complete(&self, peer: usize) -> bool {
        self.ledgers[peer].borrow().wrong == 0
    }

    pub(crate) fn all_complete(&self) -> bool {
        self.incomplete.get() == 0
    }

    /// Whether all are but these, which may be or not.
    pub(crate) fn complete_but(&self, peers: Range<usize>) -> bool {
        self.incomplete.get() == peers.filter(|peer| !self.is_complete(*peer)).count()
    }

    pub(crate) fn all_established(&self) -> bool {
        self.established.get() == self.ledgers.len()
    }

    pub(crate) fn none_established(&self) -> bool {
        self.established.get() == 0
    }

    pub(crate) fn complete_at(&self, peer: usize) -> Instant {
        self.ledgers[peer].borrow().complete_at
    }

    /// When the last of all peers was complete.
    pub(crate) fn all_complete_at(&self) -> Option<Instant> {
        self.ledgers.iter().map(|ledger| ledger.borrow().complete_at).max()
    }

    /// Prefixes read by all peers together.
    pub(crate) fn prefixes_read(&self) -> u64 {
        self.ledgers.iter().map(|ledger| ledger.borrow().read).sum()
    }

    /// Starts to follow so many updates.
    pub(crate) fn follow(&self, count: usize) {
        let peers = self.ledgers.len();
        *self.journeys.borrow_mut() = Journeys {
            sent: vec![None; count],
            took: vec![vec![None; count]; peers],
            missing: count * (peers - 1),
        };
    }

    pub(crate) fn departs(&self, number: usize) {
        self.journeys.borrow_mut().sent[number] = Some(Instant::now());
    }

    pub(crate) fn all_arrived(&self) -> bool {
        self.journeys.borrow().missing == 0
    }

    /// How long those took that have arrived at a peer.
    pub(crate) fn journeys(&self, peer: usize) -> Vec<Duration> {
        let journeys = self.journeys.borrow();
        journeys.took.get(peer).into_iter().flatten().copied().flatten().collect()
    }

    /// Waits until something is so. What fails meanwhile, or takes too long, is told with how far
    /// everybody has come.
    pub(crate) async fn until(
        &self,
        what: &str,
        deadline: Instant,
        reached: impl Fn(&Self) -> bool,
    ) -> Result<()> {
        loop {
            if let Some(why) = self.failure.borrow().as_ref() {
                bail!("waiting for {what}: {why}; {}", self.standing());
            }
            if reached(self) {
                return Ok(());
            }
            if timeout_at(deadline.into(), self.changed.notified()).await.is_err() {
                bail!("waiting for {what}: not within the time limit; {}", self.standing());
            }
        }
    }

    /// How far everybody has come.
    fn standing(&self) -> String {
        let wanted = self.target.borrow().iter().filter(|target| **target != NOBODY).count();
        let count = self.ledgers.len();
        let mut text = format!(
            "{} of {count} sessions are established, {} of {count} peers hold exactly what they \
             should of {wanted} prefixes",
            self.established.get(),
            count - self.incomplete.get(),
        );
        let mut worst: Vec<_> = self.ledgers.iter().map(RefCell::borrow).enumerate().collect();
        worst.sort_by_key(|(peer, ledger)| (std::cmp::Reverse(ledger.wrong), *peer));
        // The receiver first, which is the last peer; then the furthest behind.
        let last = count - 1;
        worst.sort_by_key(|(peer, _)| *peer != last);
        for (peer, ledger) in worst.iter().take(3).filter(|(_, ledger)| ledger.wrong > 0) {
            let held = ledger.held.iter().filter(|held| **held != NOBODY).count();
            let (wrong, read) = (ledger.wrong, ledger.read);
            text +=
                &format!("; peer {peer} holds {held}, {wrong} are wrong or missing, {read} read");
        }
        let journeys = self.journeys.borrow();
        if !journeys.sent.is_empty() {
            let all = journeys.sent.len() * (count - 1);
            text += &format!("; {} of {all} updates seen", all - journeys.missing);
        }
        text
    }
}

/// A ledger while its peer's octets are walked.
struct Reading<'a> {
    peer: usize,
    ledger: &'a mut Ledger,
    target: &'a [Sender],
    journeys: &'a mut Journeys,
    /// The first thing that nobody has sent.
    strange: Option<String>,
    now: Instant,
}

impl Reading<'_> {
    fn set(&mut self, prefix: Nlri, sender: Sender) {
        self.ledger.read += 1;
        let index = layout::index(prefix).filter(|index| *index < self.target.len());
        let Some(index) = index else {
            let address = std::net::Ipv4Addr::from(prefix.bits);
            let what = || format!("{address}/{}, which nobody has sent", prefix.len);
            self.strange.get_or_insert_with(what);
            return;
        };
        let target = self.target[index];
        let held = std::mem::replace(&mut self.ledger.held[index], sender);
        if held == sender || target == self.ledger.own {
            return;
        }
        if held == target {
            self.ledger.wrong += 1;
        } else if sender == target {
            self.ledger.wrong -= 1;
        }
    }
}

impl Sink for Reading<'_> {
    fn announced(&mut self, prefix: Nlri, path: Ends) {
        let Some(sender) = layout::sender(path) else {
            self.strange.get_or_insert_with(|| format!("a path of nobody's: {path:?}"));
            return;
        };
        self.set(prefix, sender);
        // Some daemons tell a peer what it has said itself.
        if let Some(number) = churn_number(path.last)
            && sender != self.ledger.own
        {
            self.journeys.arrives(number, self.peer, self.now);
        }
    }

    fn withdrawn(&mut self, prefix: Nlri) {
        self.set(prefix, NOBODY);
    }
}

#[cfg(test)]
mod tests;
