//! Whether what this node knows of the API is good enough to announce virtual IPs by. Pure.
//!
//! A node that was cut off comes back with a picture of services from before the cut. Its own pods
//! can be reached at once; but who sends it a request for a virtual IP may be led to a backend that
//! has gone meanwhile. So it announces those only when it has read the API anew and written its
//! maps, and knows the way to the other nodes' pods. Until then the others serve.
//!
//! ```text
//!           no session is left and            a session or the server is back:
//!           the server out of reach           every watch begins anew
//!   Fresh ───────────────────────▶ Isolated ─────────────────────────────────▶ Relisting
//!     ▲                               ▲                                          │    │
//!     │                               └──────── cut off again ───────────────────┘    │
//!     └──── all is read and all sessions told, or the bound; and then a pause ────────┘
//! ```
//!
//! It must be the node's own isolation. A server that is away alone changes nothing: the sessions
//! are there, or its host still answers. And when all peers are away but the server is not, what
//! is announced stays announced, for the peers may keep it over a restart of theirs.
//!
//! A link that flaps is not to make the virtual IPs flap: the pause doubles each time that the node
//! is cut off soon after the last.

use std::time::{Duration, Instant};

use bgpd::SessionCounts;

/// After this the node announces by what it has, and says so: two errors are better than nothing.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
/// A peer that has not come back by now may be gone for good. Some attempts to connect fit in.
const SESSIONS_BOUND: Duration = Duration::from_secs(15);
/// Between the last word of the last peer and the kernel's routes by it lies little; this is much.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// From one cut to the next: after so much the first is forgotten.
const CALM: Duration = Duration::from_secs(120);
const _: () = assert!(SESSIONS_BOUND.as_secs() < BOUND.as_secs());
// Otherwise a link could fail in the same rhythm for ever, and the pause would never be reached.
const _: () = assert!(BOUND.as_secs() + PAUSE_MAX.as_secs() < CALM.as_secs());

/// What is told to those who announce.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gate {
    /// No virtual IP is announced.
    pub closed: bool,
    /// What the operator should know.
    pub problem: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    Isolated,
    Relisting {
        since: Instant,
        /// Back from isolation: the ways to other nodes are waited for, too.
        returning: bool,
        /// Since when nothing is waited for but the pause.
        ready: Option<Instant>,
    },
}

impl State {
    /// For the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Isolated => "isolated",
            Self::Relisting { ready: None, .. } => "relisting",
            Self::Relisting { ready: Some(_), .. } => "pausing",
        }
    }
}

/// What is seen at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    pub sessions: SessionCounts,
    /// Whether the API server's host answers; `None` where that is not known.
    pub server: Option<bool>,
    /// Every kind has been listed since the watches were last begun, and the maps hold it.
    pub read: bool,
    pub now: Instant,
}

/// Every watch is to begin anew, over a new connection: those there are may hang until TCP's
/// back-off lets them speak again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BeginAnew;

#[derive(Debug)]
pub(crate) struct Freshness {
    state: State,
    /// There are peers, and no session with any.
    alone: bool,
    /// There was a session before that.
    had_session: bool,
    last_cut: Option<Instant>,
    /// What is waited from when all is known until it is announced.
    pause: Duration,
    /// The bound has passed, and the API has not been read since.
    overdue: bool,
}

impl Freshness {
    /// `known`: the first picture is the API's own, or that of a process that has just ended and
    /// whose announcements still stand. Otherwise it is one of an earlier life of this host.
    pub(crate) fn new(known: bool, now: Instant) -> Self {
        let state = if known {
            State::Fresh
        } else {
            State::Relisting { since: now, returning: false, ready: None }
        };
        Self {
            state,
            alone: false,
            had_session: false,
            last_cut: None,
            pause: PAUSE_MIN,
            overdue: false,
        }
    }

    pub(crate) fn state(&self) -> State {
        self.state
    }

    pub(crate) fn gate(&self) -> Gate {
        let problem = match self.state {
            State::Fresh if self.overdue => Some(format!(
                "virtual IPs are announced by what the API said before: it could not be read for \
                 {BOUND:?} after this node was back; is the server up?"
            )),
            State::Fresh => None,
            State::Isolated => Some(
                "cut off: no BGP session is left and the API server's host does not answer; \
                 virtual IPs are held back"
                    .to_owned(),
            ),
            State::Relisting { ready: None, .. } => Some(
                "virtual IPs are held back until the API is read and the BGP peers have told their \
                 routes"
                    .to_owned(),
            ),
            State::Relisting { ready: Some(_), .. } => Some(format!(
                "virtual IPs are held back for {:?} more: this node was cut off",
                self.pause
            )),
        };
        Gate { closed: self.state != State::Fresh, problem }
    }

    /// Whether the server's host should be asked if it is there.
    pub(crate) fn wants_probe(&self) -> bool {
        self.alone || self.state == State::Isolated
    }

    /// When to look again, if nothing happens.
    pub(crate) fn deadline(&self, now: Instant) -> Option<Instant> {
        let State::Relisting { since, ready, .. } = self.state else { return None };
        let end = ready.map(|at| at + self.pause);
        let bounds = [since + SESSIONS_BOUND, since + BOUND].into_iter().filter(|at| *at > now);
        end.into_iter().chain(bounds).min()
    }

    pub(crate) fn observe(&mut self, seen: &Seen) -> Option<BeginAnew> {
        let Seen { sessions, server, read, now } = *seen;
        let connected = sessions.established > 0;
        let is_back = self.alone && self.had_session && connected;
        self.alone = sessions.configured > 0 && !connected;
        self.had_session |= connected;
        self.overdue &= !read;
        let cut = self.alone && server == Some(false);
        match self.state {
            State::Fresh | State::Relisting { .. } if cut => {
                self.cut_off(now);
                None
            }
            // The path was broken for the hold time at least, and so were the connections.
            State::Fresh => is_back.then_some(BeginAnew),
            State::Isolated if connected || server == Some(true) => {
                self.state = State::Relisting { since: now, returning: true, ready: None };
                Some(BeginAnew)
            }
            State::Isolated => None,
            State::Relisting { since, returning, ready } => {
                self.relist(since, returning, ready, seen);
                (is_back && !read).then_some(BeginAnew)
            }
        }
    }

    fn cut_off(&mut self, now: Instant) {
        let again = self.last_cut.is_some_and(|at| now.saturating_duration_since(at) < CALM);
        self.pause = if again { (self.pause * 2).min(PAUSE_MAX) } else { PAUSE_MIN };
        self.last_cut = Some(now);
        self.state = State::Isolated;
        self.overdue = false;
    }

    fn relist(&mut self, since: Instant, returning: bool, ready: Option<Instant>, seen: &Seen) {
        let Seen { sessions, read, now, .. } = *seen;
        let waited = now.saturating_duration_since(since);
        let told =
            sessions.told > 0 && sessions.told == sessions.configured || waited >= SESSIONS_BOUND;
        let all = read && (told || !returning) || waited >= BOUND;
        let ready = all.then(|| ready.unwrap_or(now));
        let pause = if returning { self.pause } else { Duration::ZERO };
        if ready.is_some_and(|at| now.saturating_duration_since(at) >= pause) {
            self.state = State::Fresh;
            self.overdue = !read;
        } else {
            self.state = State::Relisting { since, returning, ready };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node with three peers, in virtual time.
    struct Node {
        freshness: Freshness,
        seen: Seen,
        begun_anew: u32,
    }

    impl Node {
        fn new(known: bool) -> Self {
            let now = Instant::now();
            let sessions = SessionCounts { configured: 3, established: 0, told: 0 };
            let seen = Seen { sessions, server: None, read: known, now };
            Self { freshness: Freshness::new(known, now), seen, begun_anew: 0 }
        }

        fn running() -> Self {
            let mut node = Self::new(true);
            node.sessions(3, 3);
            assert!(!node.closed());
            node
        }

        fn isolated() -> Self {
            let mut node = Self::running();
            node.sessions(0, 0);
            node.server(false);
            assert_eq!(node.freshness.state(), State::Isolated);
            node
        }

        fn look(&mut self) {
            if self.freshness.observe(&self.seen).is_some() {
                self.begun_anew += 1;
                self.seen.read = false;
            }
        }

        fn sessions(&mut self, established: usize, told: usize) {
            self.seen.sessions = SessionCounts { established, told, ..self.seen.sessions };
            self.look();
        }

        fn server(&mut self, answers: bool) {
            self.seen.server = Some(answers);
            self.look();
        }

        fn read(&mut self) {
            self.seen.read = true;
            self.look();
        }

        fn after(&mut self, pause: Duration) {
            let end = self.seen.now + pause;
            while let Some(at) = self.freshness.deadline(self.seen.now).filter(|at| *at <= end) {
                assert!(at > self.seen.now, "a deadline that has passed");
                self.seen.now = at;
                self.look();
            }
            self.seen.now = end;
            self.look();
        }

        fn closed(&self) -> bool {
            self.freshness.gate().closed
        }
    }

    #[test]
    fn a_server_that_is_away_changes_nothing() {
        let mut node = Node::running();
        node.server(false);
        node.after(Duration::from_secs(600));
        assert!(!node.closed() && node.begun_anew == 0);
        // Nor do some lost peers beside it.
        node.sessions(1, 1);
        assert!(!node.closed() && node.begun_anew == 0);
    }

    #[test]
    fn peers_that_are_all_away_change_nothing_while_the_server_answers() {
        let mut node = Node::running();
        node.sessions(0, 0);
        assert!(node.freshness.wants_probe());
        node.server(true);
        node.after(Duration::from_secs(60));
        assert!(!node.closed());
        node.sessions(1, 0);
        // Perhaps it was us: the watches may hang, but what is announced stays.
        assert_eq!((node.closed(), node.begun_anew), (false, 1));
        assert!(!node.freshness.wants_probe());
    }

    #[test]
    fn a_node_without_peers_is_never_cut_off() {
        let mut node = Node::new(true);
        node.seen.sessions.configured = 0;
        node.server(false);
        assert!(!node.closed() && !node.freshness.wants_probe());
    }

    #[test]
    fn back_from_isolation_all_is_read_anew_before_anything_is_announced() {
        let mut node = Node::isolated();
        node.after(Duration::from_secs(600));
        assert_eq!((node.closed(), node.begun_anew), (true, 0));
        node.sessions(1, 0);
        assert_eq!((node.closed(), node.begun_anew), (true, 1));
        node.read();
        node.sessions(3, 2);
        node.after(PAUSE_MIN * 2);
        assert!(node.closed(), "one peer has not told its routes");
        node.sessions(3, 3);
        assert!(node.closed(), "the kernel may not have them yet");
        node.after(PAUSE_MIN);
        assert!(!node.closed());
        assert_eq!(node.freshness.gate(), Gate::default());
    }

    #[test]
    fn the_server_may_be_back_first_and_one_peer_never() {
        let mut node = Node::isolated();
        node.server(true);
        assert_eq!(node.begun_anew, 1);
        node.read();
        node.after(Duration::from_secs(1));
        assert!(node.closed(), "no way to any other node yet");
        node.sessions(2, 2);
        assert_eq!(node.begun_anew, 1, "what was read meanwhile is good");
        node.after(SESSIONS_BOUND);
        node.after(PAUSE_MIN);
        assert!(!node.closed());
    }

    #[test]
    fn cut_off_again_it_begins_again() {
        let mut node = Node::isolated();
        node.sessions(3, 3);
        node.after(BOUND / 2);
        node.sessions(0, 0);
        node.server(false);
        assert_eq!(node.freshness.state(), State::Isolated);
        node.after(BOUND * 2);
        assert!(node.closed());
        node.sessions(3, 3);
        node.read();
        node.after(PAUSE_MIN);
        assert!(node.closed(), "the second time it is more careful");
        node.after(PAUSE_MIN);
        assert_eq!((node.closed(), node.begun_anew), (false, 2));
    }

    #[test]
    fn a_server_that_stays_away_delays_for_the_bound_only() {
        let mut node = Node::isolated();
        node.sessions(3, 3);
        node.after(BOUND);
        assert!(node.closed());
        node.after(PAUSE_MIN);
        assert!(!node.closed());
        assert!(node.freshness.gate().problem.unwrap().contains("could not be read"));
        node.read();
        assert_eq!(node.freshness.gate(), Gate::default());
    }

    #[test]
    fn what_an_earlier_life_has_left_is_not_announced_at_once() {
        let mut node = Node::new(false);
        node.sessions(1, 1);
        assert!(node.closed());
        node.read();
        assert!(!node.closed(), "others have no reason to wait for");
        assert_eq!(node.begun_anew, 0);
        let mut alone = Node::new(false);
        alone.after(BOUND);
        assert!(!alone.closed());
    }

    #[test]
    fn a_daemon_that_is_started_again_while_cut_off_notices() {
        let mut node = Node::new(true);
        node.look();
        assert!(node.freshness.wants_probe());
        assert!(!node.closed(), "what its predecessor announced stands");
        node.server(false);
        assert_eq!(node.freshness.state(), State::Isolated);
        // As a rule the sessions are there at once, and nothing is read twice.
        let mut node = Node::new(true);
        node.look();
        node.sessions(3, 3);
        assert_eq!((node.closed(), node.begun_anew), (false, 0));
    }

    #[test]
    fn a_link_that_flaps_is_announced_a_few_times_only() {
        let mut node = Node::running();
        let mut announced = 0;
        for _ in 0..60 {
            node.sessions(0, 0);
            node.server(false);
            node.after(Duration::from_secs(5));
            node.sessions(3, 3);
            node.read();
            node.after(Duration::from_secs(5));
            announced += u32::from(!node.closed());
        }
        assert_eq!(announced, 3, "pauses of 1, 2 and 4 s fit between two cuts");
        node.after(PAUSE_MAX);
        assert!(!node.closed(), "it ends soon after the link holds");
        node.after(CALM);
        node.sessions(0, 0);
        node.server(false);
        node.sessions(3, 3);
        node.read();
        node.after(PAUSE_MIN);
        assert!(!node.closed(), "what was is forgotten");
    }
}
