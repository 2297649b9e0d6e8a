//! The server: queries in, answers out, over UDP and TCP.
//!
//! Names of the cluster are answered where they are received, in microseconds; what has to be asked
//! of others is asked aside, by no more tasks than [`ASKING_MAX`].

mod tcp;
mod udp;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use domain::base::iana::Rcode;
use tokio::{sync::Semaphore, task::JoinSet};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    forward::Forwarder,
    message::{Query, Rejection, Response, Transport},
    metrics::Metrics,
    sockets::{SocketError, Sockets},
    zone::{Answer, DnsName, DomainError, Lookup, Zone, ZoneConfig},
};

/// Questions that wait for name servers of the node at one time; one more is answered with a
/// failure.
const ASKING_MAX: usize = 512;

pub struct Config {
    pub zone: ZoneConfig,
    /// The file that names the name servers for everything else.
    pub resolv_conf: PathBuf,
}

/// A running server. It reads no more queries from the token on that [`spawn`] was given, and answers
/// those that it has read.
#[derive(Clone)]
pub struct Handle(Arc<Server>);

struct Server {
    zone: RwLock<Zone>,
    forwarder: Forwarder,
    metrics: Arc<Metrics>,
    asking: Arc<Semaphore>,
    /// What may still have to answer.
    answering: TaskTracker,
    connections: tcp::Connections,
    turn: AtomicUsize,
    addresses: BTreeSet<SocketAddr>,
    /// Parts that have ended.
    ended: Mutex<Vec<String>>,
}

/// Serves the sockets until `stop`. Nothing is answered of the cluster before its zone is complete.
///
/// `fill` enters what is known already, before the first query is read: those that have waited in a
/// passed socket while nobody served it are answered from it, too.
pub fn spawn(
    config: Config,
    sockets: Sockets,
    fill: impl FnOnce(&mut Zone),
    stop: CancellationToken,
) -> Result<Handle, SpawnError> {
    let metrics = Arc::<Metrics>::default();
    let addresses = sockets.udp.iter().map(std::net::UdpSocket::local_addr);
    let addresses = addresses.chain(sockets.tcp.iter().map(std::net::TcpListener::local_addr));
    let addresses = addresses.collect::<Result<BTreeSet<_>, _>>().map_err(SocketError::Passed)?;
    let mut ours: BTreeSet<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
    ours.extend(&config.zone.addresses);
    let mut zone = Zone::new(&config.zone)?;
    fill(&mut zone);
    let forwarder = Forwarder::new(config.resolv_conf, ours.into_iter().collect(), metrics.clone());
    // Before the first query, which may be for somewhere else.
    forwarder.reread();
    let server = Arc::new(Server {
        zone: RwLock::new(zone),
        forwarder,
        metrics,
        asking: Arc::new(Semaphore::new(ASKING_MAX)),
        answering: TaskTracker::new(),
        connections: tcp::Connections::default(),
        turn: AtomicUsize::new(0),
        addresses,
        ended: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    for socket in sockets.udp {
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(SocketError::Passed)?;
        tasks.spawn(server.answering.track_future(udp::serve(
            server.clone(),
            socket,
            stop.clone(),
        )));
    }
    for listener in sockets.tcp {
        let listener = tokio::net::TcpListener::from_std(listener).map_err(SocketError::Passed)?;
        let serve = tcp::serve(server.clone(), listener, stop.clone());
        tasks.spawn(server.answering.track_future(serve));
    }
    let follower = server.clone();
    tasks.spawn(async move { follower.forwarder.follow().await });
    info!(addresses = ?server.addresses, "serving DNS");
    tokio::spawn(watch(server.clone(), tasks, stop));
    Ok(Handle(server))
}

/// None of the tasks ends by itself before `stop`; one that does has panicked, and the others go on.
async fn watch(server: Arc<Server>, mut tasks: JoinSet<()>, stop: CancellationToken) {
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                server.answering.close();
                server.answering.wait().await;
                return;
            }
            ended = tasks.join_next() => match ended {
                Some(Ok(())) => {}
                Some(Err(error)) => server.has_ended(format!("DNS: a part has ended: {error}")),
                None => return,
            },
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl Handle {
    /// Changes the names of the cluster. Queries wait meanwhile, so it is to be brief.
    pub fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut self.0.zone.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the operator should know.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.0.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        problems.extend(self.0.forwarder.problems());
        problems
    }

    /// In the text format of Prometheus.
    pub fn metrics(&self) -> String {
        self.0.metrics.text(self.0.zone().services())
    }

    /// Waits until every query has been answered that was read before the end.
    pub async fn drained(&self) {
        self.0.answering.wait().await;
    }

    /// Where it is asked.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.addresses.iter().copied()
    }

    /// How many queries have been answered.
    pub fn answered(&self) -> u64 {
        self.0.metrics.total()
    }

    /// How many services there are names for.
    pub fn services(&self) -> usize {
        self.0.zone().services()
    }
}

/// What becomes of a message.
enum Step {
    Drop,
    Reply(Vec<u8>),
    /// A name server has to be asked first.
    Ask(Box<Asking>),
}

/// A query whose answer goes on elsewhere.
struct Asking {
    query: Query,
    /// What is asked there: the name of the query, or the one that it is an alias of.
    name: DnsName,
    /// The aliases so far.
    response: Response,
    since: Instant,
}

impl Server {
    fn zone(&self) -> RwLockReadGuard<'_, Zone> {
        self.zone.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, bytes: &[u8], transport: Transport) -> Step {
        let since = Instant::now();
        match Query::parse(bytes, transport) {
            Ok(query) => self.answer(query, since),
            Err(Rejection::Drop) => {
                self.metrics.dropped.add();
                Step::Drop
            }
            Err(rejection) => {
                if let Rejection::Refuse { rcode, .. } = &rejection {
                    self.metrics.answered(None, rcode.rcode(), since.elapsed());
                }
                rejection.encode().map_or(Step::Drop, Step::Reply)
            }
        }
    }

    fn answer(&self, query: Query, since: Instant) -> Step {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let found = self.zone().lookup(&query.name, query.rtype, turn);
        let (name, response) = match found {
            Lookup::Found(mut answer) => match answer.chase.take() {
                Some(target) => (target, response(*answer)),
                None => return self.reply(&query, &response(*answer), since),
            },
            Lookup::NotKnown => {
                return self.reply(&query, &Response::of(Rcode::SERVFAIL), since);
            }
            Lookup::NotOurs => {
                if self.forwarder.is_circle(&query) {
                    return self.reply(&query, &Response::of(Rcode::REFUSED), since);
                }
                (query.name.clone(), Response::of(Rcode::NOERROR))
            }
        };
        if let Some((message, age)) = self.forwarder.remembered(&query, &name) {
            let response = forwarded(response, message, age);
            return self.reply(&query, &response, since);
        }
        // RFC 1034 §5.3.1: who does not want others to be asked is told what is known here.
        if !query.recursion_desired {
            let rcode = if response.answers.is_empty() { Rcode::REFUSED } else { Rcode::NOERROR };
            return self.reply(&query, &Response { rcode, ..response }, since);
        }
        Step::Ask(Box::new(Asking { query, name, response, since }))
    }

    /// Asks the name servers of the node and gives what is to be sent.
    async fn ask(&self, asking: Asking) -> Vec<u8> {
        let Asking { query, name, response, since } = asking;
        let response = match self.forwarder.ask(&query, &name).await {
            Some(message) => forwarded(response, message, 0),
            None => Response { rcode: Rcode::SERVFAIL, ..response },
        };
        self.encode(&query, &response, since)
    }

    /// For one query too many.
    fn refuse(&self, asking: &Asking) -> Vec<u8> {
        self.metrics.overloaded.add();
        self.encode(&asking.query, &Response::of(Rcode::SERVFAIL), asking.since)
    }

    fn reply(&self, query: &Query, response: &Response, since: Instant) -> Step {
        Step::Reply(self.encode(query, response, since))
    }

    fn encode(&self, query: &Query, response: &Response, since: Instant) -> Vec<u8> {
        let (bytes, cut) = response.encode(query);
        if cut {
            self.metrics.truncated.add();
        }
        self.metrics.answered(Some(query.rtype), response.rcode, since.elapsed());
        bytes
    }

    fn has_ended(&self, what: String) {
        warn!(what, "DNS");
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

fn response(answer: Answer) -> Response {
    let rcode = match (answer.endless, answer.missing) {
        (true, _) => Rcode::SERVFAIL,
        (false, true) => Rcode::NXDOMAIN,
        (false, false) => Rcode::NOERROR,
    };
    Response {
        rcode,
        authoritative: true,
        answers: answer.answers,
        authority: answer.authority,
        additional: answer.additional,
        forwarded: None,
    }
}

fn forwarded(response: Response, message: Arc<Vec<u8>>, age_secs: u32) -> Response {
    let header = domain::base::Message::from_octets(message.as_slice());
    let rcode = header.map_or(Rcode::SERVFAIL, |message| message.header().rcode());
    Response { rcode, forwarded: Some((message, age_secs)), ..response }
}
