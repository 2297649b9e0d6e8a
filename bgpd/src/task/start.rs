//! How the task begins: from nothing, or in another's place.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Instant,
};

use bgp_speaker::{Adopted, Config, Speaker, Successor};
use bytes::Bytes;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};

use super::{Ends, Task};
use crate::{
    Inputs, Replay,
    bfd::Bfd,
    connection::{Ears, Paused},
    events::LinkNames,
    handover::{Committed, Predecessor, TakeoverError, commit, decline},
    intake::{Input, MAX_WAITING_INPUTS, Pace},
    listener::Listeners,
    monitor::Monitors,
    mrt,
    network::Network,
    outbox::Taken,
    readings::Readings,
    tcp::Means,
    unnumbered::Unnumbered,
};

/// What is begun with before a task is one.
struct Parts {
    means: Means,
    speaker: Speaker,
    network: Network,
    bfd: Bfd,
    listeners: Listeners,
    unnumbered: Unnumbered,
    effective: watch::Sender<Arc<Config>>,
}

/// Where the task hears what [`Ears`] have been told.
type Mouths = (mpsc::Receiver<Input>, mpsc::UnboundedReceiver<Taken>);

fn channels() -> (Ears, Mouths) {
    let (inputs, waiting) = mpsc::channel(MAX_WAITING_INPUTS);
    let (told, taken) = mpsc::unbounded_channel();
    (Ears { inputs, taken: told }, (waiting, taken))
}

impl Task {
    pub(crate) fn new(outside: Inputs, ends: Ends) -> Self {
        let Inputs { mut config, mut originations, mut underlay, routes } = outside;
        let (ears, mouths) = channels();
        let now = Instant::now();
        let first = config.borrow_and_update().clone();
        let mut unnumbered = Unnumbered::default();
        unnumbered.update(&first);
        let means = Means::probe();
        let first = unnumbered.links().configure(&means.hold_down(&first));
        let (effective, followed) = watch::channel(first.clone());
        let mut listeners = Listeners::new(ears.inputs.clone(), followed);
        listeners.update(&first);
        let mut speaker = Speaker::new(first.clone(), seed(&first), now);
        if routes.is_none() {
            speaker.without_fib();
        }
        speaker.handle_underlay(&underlay.borrow_and_update(), now);
        speaker.handle_originations(&originations.borrow_and_update(), now);
        let network = Network::new(ears.clone());
        let outside = Inputs { config, originations, underlay, routes };
        let bfd = Bfd::new();
        let parts = Parts { means, speaker, network, bfd, listeners, unnumbered, effective };
        Self::assemble(parts, (ears.inputs, mouths), outside, ends)
    }

    fn assemble(
        parts: Parts,
        (sender, (inputs, taken)): (mpsc::Sender<Input>, Mouths),
        outside: Inputs,
        ends: Ends,
    ) -> Self {
        let Parts { means, speaker, network, bfd, listeners, unnumbered, effective } = parts;
        let Inputs { config, originations, underlay, routes } = outside;
        let Ends { queries, offers, sessions, lost, events } = ends;
        Self {
            speaker,
            network,
            monitors: Monitors::new(sender.clone()),
            replays: mrt::Replays::new(sender),
            bfd,
            listeners,
            unnumbered,
            inputs,
            taken,
            heard: Instant::now(),
            pace: Pace::default(),
            means,
            offers,
            queries,
            sessions,
            lost,
            events,
            link_names: LinkNames::default(),
            readings: Readings::default(),
            config,
            effective,
            originations,
            underlay,
            routes,
        }
    }

    /// Goes on in another's place.
    pub(crate) async fn after(
        predecessor: Predecessor,
        outside: Inputs,
        replays: Vec<Replay>,
        ends: Ends,
    ) -> Result<Self, TakeoverError> {
        let Inputs { mut config, mut originations, mut underlay, routes } = outside;
        let (ears, mouths) = channels();
        let now = Instant::now();
        let Predecessor {
            channel,
            listeners: listening,
            neighbours,
            watching,
            connections,
            handover,
            // Whoever wants them has taken them.
            beside: _,
        } = predecessor;
        let mut unnumbered = Unnumbered::default();
        unnumbered.take_over(&config.borrow_and_update(), neighbours)?;
        let means = Means::probe();
        let first = unnumbered.links().configure(&means.hold_down(&config.borrow()));
        let (effective, followed) = watch::channel(first.clone());
        let mut network = Network::new(ears.clone());
        let (mut adopted, mut paused) = (BTreeMap::new(), Vec::new());
        for (peer, received) in connections {
            let conn = network.reserve();
            received.stream.set_nonblocking(true)?;
            let unwritten: VecDeque<Bytes> =
                received.unwritten.into_iter().map(Bytes::from).collect();
            let count = unwritten.iter().map(Bytes::len).sum();
            adopted.insert(peer, Adopted { conn, unwritten: count });
            let stream = TcpStream::from_std(received.stream)?;
            paused.push((peer, conn, Paused { stream, unwritten }));
        }
        let first_underlay = unnumbered.links().lie_under(&underlay.borrow_and_update());
        let first_originations = originations.borrow_and_update().clone();
        let successor = Successor {
            config: first.clone(),
            underlay: &first_underlay,
            originations: &first_originations,
            sources: replays.iter().map(Replay::source).collect(),
            forwards: routes.is_some(),
            connections: adopted,
            seed: seed(&first),
        };
        let mut speaker = match Speaker::taken_over(handover, successor, now) {
            Ok(speaker) => speaker,
            Err(error) => return Err(decline(channel, error).await),
        };
        let Committed { channel, mut said, watched } = commit(channel).await?;
        // From here on it is all ours.
        let bfd = match watching {
            Some(sockets) => Bfd::after(watched, sockets),
            None => Bfd::new(),
        };
        drop(channel);
        let mut listeners = Listeners::new(ears.inputs.clone(), followed);
        listeners.adopt(listening)?;
        listeners.update(&first);
        let now = Instant::now();
        for (peer, conn, mut paused) in paused {
            if let Some(said) = said.remove(&peer) {
                speaker.handle_written(conn, said.written, now);
                said.leave(&mut paused.unwritten);
            }
            network.resume(conn, paused);
        }
        // It has taken a while to get here.
        speaker.handle_resume(now);
        let outside = Inputs { config, originations, underlay, routes };
        let parts = Parts { means, speaker, network, bfd, listeners, unnumbered, effective };
        let mut task = Self::assemble(parts, (ears.inputs, mouths), outside, ends);
        task.replays.set(replays, &mut task.speaker);
        Ok(task)
    }
}

/// Every RandomState has keys of its own: a seed without another dependency.
fn seed(config: &Config) -> u64 {
    RandomState::new().hash_one(config.router_id)
}
