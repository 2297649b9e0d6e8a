//! Asks the store and every daemon once a second, for as long as a page is open.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info};
use viaduct_api::admin::{FibRoute, NodeStatus, PeerStatus, ServiceStatus};

use super::{
    link::{Link, Place},
    picture::{Objects, Report, Seen, assemble},
};
use crate::{
    api::Api, handlers::log, http::body::BoxError, kinds, object, status_error::StatusError,
};

const INTERVAL: Duration = Duration::from_secs(1);
/// Daemons that are asked at the same time.
const MAX_ASKED: usize = 32;
/// For all that one daemon is asked in a round.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same for one that was silent the last time: it must not hold up the picture of the others.
const LITTLE_PATIENCE: Duration = Duration::from_millis(500);
/// For all routes of a node, which somebody waits for.
const ROUTES_PATIENCE: Duration = Duration::from_secs(10);

/// A daemon, and what it said at last.
struct Watched {
    link: Link,
    is_node: bool,
    seen: Seen,
}

/// Runs until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    let stopping = api.stopping.clone();
    stopping.run_until_cancelled(follow(&api)).await;
}

async fn follow(api: &Api) {
    loop {
        api.ui.opened.notified().await;
        info!("a page is open, daemons are asked");
        let mut watched = BTreeMap::new();
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while api.ui.picture.receiver_count() > 0 {
            ticks.tick().await;
            match round(api, &mut watched).await {
                Ok(()) => {}
                Err(error) => debug!(error = error.message, "no picture"),
            }
        }
        // Nobody is to be shown first what is old.
        api.ui.picture.send_replace(Arc::default());
        info!("no page is open");
    }
}

async fn round(api: &Api, watched: &mut BTreeMap<String, Watched>) -> Result<(), StatusError> {
    let objects = Objects {
        nodes: all(api, "", "nodes").await?,
        pods: all(api, "", "pods").await?,
        services: all(api, "", "services").await?,
    };
    keep_watched(api, &objects.nodes, watched);
    let now = now_millis();
    let questions: Vec<BoxFuture<'_, ()>> =
        watched.values_mut().map(|one| question(one, now).boxed()).collect();
    stream::iter(questions).buffer_unordered(MAX_ASKED).collect::<Vec<()>>().await;
    let seen = watched.iter().map(|(name, one)| (name.as_str(), &one.seen)).collect();
    let sections = assemble(&objects, &seen);
    api.ui.picture.send_replace(Arc::new(sections));
    Ok(())
}

async fn all(api: &Api, group: &str, plural: &str) -> Result<Vec<Value>, StatusError> {
    let kind = kinds::find(group, "v1", plural).ok_or_else(StatusError::unknown_path)?;
    api.registry.all(kind, "").await
}

/// Every node that says where its kubelet is, and every speaker: new ones enter, others leave.
fn keep_watched(api: &Api, nodes: &[Value], watched: &mut BTreeMap<String, Watched>) {
    let mut places: BTreeMap<String, (Place, bool)> = BTreeMap::new();
    for speaker in &api.ui.speakers {
        places.insert(speaker.name.clone(), (Place::Socket(speaker.socket.clone()), false));
    }
    for node in nodes {
        if let Some(address) = log::kubelet(node) {
            places.insert(object::name(node).to_owned(), (Place::Kubelet(address), true));
        }
    }
    watched
        .retain(|name, one| places.get(name).is_some_and(|(place, _)| place == one.link.place()));
    for (name, (place, is_node)) in places {
        watched.entry(name).or_insert_with(|| {
            let link = Link::new(place, api.kubelet_tls.clone());
            Watched { link, is_node, seen: Seen::new(is_node) }
        });
    }
}

async fn question(watched: &mut Watched, now: u64) {
    let patience = if watched.seen.is_silent() { LITTLE_PATIENCE } else { PATIENCE };
    let answer = match timeout(patience, report(&mut watched.link, watched.is_node)).await {
        Ok(answer) => answer.map_err(|error| reason(&*error)),
        Err(_elapsed) => Err(format!("no answer in {} ms", patience.as_millis())),
    };
    watched.seen.update(answer, now);
}

async fn report(link: &mut Link, is_node: bool) -> Result<Report, BoxError> {
    let status: NodeStatus = link.get("v1/status").await?;
    let peers: Vec<PeerStatus> = link.get("v1/bgp/peers").await?;
    let services: Vec<ServiceStatus> =
        if is_node { link.get("v1/services").await? } else { Vec::new() };
    Ok(Report { status, peers, services })
}

/// An error with what caused it.
fn reason(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

/// All routes of a daemon: many, and asked for by who looks at one node, so that no picture has
/// them.
pub(super) async fn routes(api: &Api, name: &str) -> Result<Value, StatusError> {
    let _permit = api.ui.tables.try_acquire().map_err(|error| {
        StatusError::too_many_requests(format!("too many tables are asked for: {error}"), 1)
    })?;
    let speaker = api.ui.speakers.iter().find(|speaker| speaker.name == name);
    let place = match speaker {
        Some(speaker) => Place::Socket(speaker.socket.clone()),
        None => {
            let nodes = kinds::find("", "v1", "nodes").ok_or_else(StatusError::unknown_path)?;
            let node = api.registry.get(nodes, "", name).await?;
            let address = log::kubelet(&node).ok_or_else(|| {
                StatusError::internal(format!("node \"{name}\" has no InternalIP"))
            })?;
            Place::Kubelet(address)
        }
    };
    let mut link = Link::new(place, api.kubelet_tls.clone());
    let unavailable =
        |why: &str| StatusError::unavailable(format!("{name} does not answer: {why}"));
    let routes: Vec<FibRoute> = match timeout(ROUTES_PATIENCE, link.get("v1/routes")).await {
        Ok(answer) => answer.map_err(|error| unavailable(&reason(&*error)))?,
        Err(elapsed) => return Err(unavailable(&elapsed.to_string())),
    };
    serde_json::to_value(routes).map_err(StatusError::internal)
}

fn now_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}
