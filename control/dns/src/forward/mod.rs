//! Questions that are not about the cluster: asked of the name servers of the node.

mod cache;
mod exchange;
mod resolv_conf;

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use domain::base::{Message, Name, Rtype, iana::Rcode};
use tokio::time::{sleep, timeout_at};
use tracing::{debug, info, warn};

use self::cache::{Cache, Question};
use crate::{message::Query, metrics::Metrics, zone::DnsName};

/// One try of one name server.
const TRY: Duration = Duration::from_millis(1200);
/// All tries together: shorter than the five seconds after which a resolver asks again, so that it
/// learns of the failure.
const TOTAL: Duration = Duration::from_millis(4500);
/// How often each name server is tried.
const ROUNDS: usize = 2;
/// How often resolv.conf is read.
const REREAD: Duration = Duration::from_secs(10);
const _: () = assert!(TRY.as_millis() * 3 < TOTAL.as_millis());

/// What a probe for circles asks about; nobody has such a name.
const PROBE_DOMAIN: &str = "viaduct-loop-check";

pub(crate) struct Forwarder {
    resolv_conf: PathBuf,
    ours: Vec<IpAddr>,
    upstreams: RwLock<Arc<Vec<SocketAddr>>>,
    /// Where in the list the one stands that answered last.
    preferred: AtomicUsize,
    cache: Mutex<Cache>,
    ids: RandomState,
    asked: AtomicU64,
    /// The name that came back, if it does, from the last probe.
    probe: DnsName,
    circle: AtomicBool,
    /// Why resolv.conf is not followed.
    unread: Mutex<Option<String>>,
    metrics: Arc<Metrics>,
}

impl Forwarder {
    pub(crate) fn new(resolv_conf: PathBuf, ours: Vec<IpAddr>, metrics: Arc<Metrics>) -> Self {
        let ids = RandomState::new();
        let nonce = ids.hash_one("probe");
        let probe = Name::vec_from_str(&format!("{nonce:016x}.{PROBE_DOMAIN}"));
        Self {
            resolv_conf,
            ours,
            upstreams: RwLock::default(),
            preferred: AtomicUsize::new(0),
            cache: Mutex::default(),
            ids,
            asked: AtomicU64::new(0),
            probe: probe.unwrap_or_else(|_impossible| Name::root_vec()),
            circle: AtomicBool::new(false),
            unread: Mutex::default(),
            metrics,
        }
    }

    /// Follows resolv.conf, for ever.
    pub(crate) async fn follow(&self) {
        // Those that were read at the start have not been looked at, either.
        let mut looked_at = Arc::default();
        loop {
            self.reread();
            let upstreams = self.upstreams();
            if upstreams != looked_at {
                self.look_for_circle(&upstreams).await;
                looked_at = upstreams;
            }
            sleep(REREAD).await;
        }
    }

    pub(crate) fn reread(&self) {
        let mut unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match std::fs::read_to_string(&self.resolv_conf) {
            Ok(text) => text,
            // Those that are known stay: a file that is being written anew is there again soon.
            Err(error) => {
                *unread = Some(format!("DNS: read {}: {error}", self.resolv_conf.display()));
                return;
            }
        };
        *unread = None;
        let found = resolv_conf::upstreams(&text, &self.ours);
        let mut upstreams = self.upstreams.write().unwrap_or_else(PoisonError::into_inner);
        if **upstreams == found {
            return;
        }
        info!(upstreams = ?found, "name servers of the node");
        *upstreams = Arc::new(found);
        self.preferred.store(0, Ordering::Relaxed);
        self.circle.store(false, Ordering::Relaxed);
    }

    fn upstreams(&self) -> Arc<Vec<SocketAddr>> {
        self.upstreams.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks every name server for a name that only a question of our own can be about: if it comes
    /// in here, they ask us what we ask them.
    async fn look_for_circle(&self, upstreams: &[SocketAddr]) {
        let question = Question {
            name: self.probe.clone(),
            rtype: Rtype::HINFO,
            dnssec_ok: false,
            checking_disabled: false,
        };
        for upstream in upstreams {
            let deadline = tokio::time::Instant::now() + TRY;
            let asked = exchange::ask(*upstream, &question, self.id());
            let _ = timeout_at(deadline, asked).await;
        }
        if self.circle.load(Ordering::Relaxed) {
            warn!(?upstreams, "the node's name servers ask us what we ask them");
        }
    }

    /// Whether a query is our own, come back; from then on nothing is forwarded.
    pub(crate) fn is_circle(&self, query: &Query) -> bool {
        let is = query.name == self.probe;
        if is {
            self.circle.store(true, Ordering::Relaxed);
        }
        is
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        let unread = self.unread.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let circle = self.circle.load(Ordering::Relaxed).then(|| {
            format!(
                "DNS: a name server of {} asks this node what it is asked by it; nothing is \
                 forwarded until another is given (--resolv-conf)",
                self.resolv_conf.display()
            )
        });
        unread.into_iter().chain(circle).collect()
    }

    /// What is known of a question without asking anybody.
    pub(crate) fn remembered(&self, query: &Query, name: &DnsName) -> Option<(Arc<Vec<u8>>, u32)> {
        let found = self.cache().find(&question(query, name), Instant::now());
        if found.is_some() {
            self.metrics.cache_hits.add();
        }
        found
    }

    /// What the name servers say of `name`, for a query; `None` when all of them are gone.
    pub(crate) async fn ask(&self, query: &Query, name: &DnsName) -> Option<Arc<Vec<u8>>> {
        if self.circle.load(Ordering::Relaxed) {
            return None;
        }
        let question = question(query, name);
        self.metrics.forwarded.add();
        let said = self.ask_all(&question).await;
        match &said {
            Some(message) => self.cache().keep(question, message.clone(), Instant::now()),
            None => self.metrics.forward_failures.add(),
        }
        said
    }

    async fn ask_all(&self, question: &Question) -> Option<Arc<Vec<u8>>> {
        let upstreams = self.upstreams();
        let deadline = tokio::time::Instant::now() + TOTAL;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut refused = None;
        for turn in 0..ROUNDS * upstreams.len() {
            let index = (first + turn) % upstreams.len();
            let now = tokio::time::Instant::now();
            if now >= deadline {
                break;
            }
            let asked = exchange::ask(upstreams[index], question, self.id());
            match timeout_at(deadline.min(now + TRY), asked).await {
                Ok(Ok(message)) => {
                    if is_answer(&message) {
                        self.preferred.store(index, Ordering::Relaxed);
                        return Some(Arc::new(message));
                    }
                    // Another may know better; if none does, this is what is said.
                    refused = Some(Arc::new(message));
                }
                Ok(Err(error)) => debug!(upstream = %upstreams[index], %error, "not asked"),
                Err(_late) => debug!(upstream = %upstreams[index], "no answer"),
            }
        }
        refused
    }

    /// Numbers that nobody outside can guess, or they could answer in a name server's place.
    fn id(&self) -> u16 {
        self.ids.hash_one(self.asked.fetch_add(1, Ordering::Relaxed)) as u16
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn question(query: &Query, name: &DnsName) -> Question {
    Question {
        name: name.clone(),
        rtype: query.rtype,
        dnssec_ok: query.edns.is_some_and(|edns| edns.dnssec_ok),
        checking_disabled: query.checking_disabled,
    }
}

fn is_answer(message: &[u8]) -> bool {
    Message::from_octets(message)
        .is_ok_and(|message| matches!(message.header().rcode(), Rcode::NOERROR | Rcode::NXDOMAIN))
}
