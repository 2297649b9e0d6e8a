//! The watches, one for each kind.

use std::{fmt::Debug, time::Duration};

use futures::StreamExt;
use kube::{
    Api, Client, Resource,
    runtime::{
        WatchStreamExt,
        utils::Backoff,
        watcher::{self, watcher},
    },
};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};
use tracing::{debug, warn};

use crate::kinds::{Key, Kind, Object, Ref};

/// What a watch says, of any kind.
pub(super) enum Event {
    Applied(Object),
    /// With the uid of what is gone: there may be another of the same name by now.
    Deleted(Ref, String),
    /// All objects of the kind.
    Listed(Kind, Vec<Object>),
}

pub(super) fn follow_all(client: &Client, events: &mpsc::Sender<Event>, tasks: &mut JoinSet<()>) {
    macro_rules! follow {
        ($($kind:ident),*; custom $($custom:ident),*) => {
            // No `_` arm: a kind that is added must be followed, or no controller would start.
            for kind in Kind::ALL {
                match kind {
                    $(Kind::$kind => {
                        tasks.spawn(follow(Api::all(client.clone()), *kind, Object::$kind, events.clone()));
                    })*
                    $(Kind::$custom => {
                        let api = Api::all_with(client.clone(), &kind.api_resource());
                        tasks.spawn(follow(api, *kind, Object::$custom, events.clone()));
                    })*
                }
            }
        };
    }
    follow!(
        Namespace, Node, Pod, Service, Deployment, ReplicaSet, EndpointSlice, PodDisruptionBudget,
        Lease, ConfigMap, Secret,
        ServiceAccount;
        custom IPPool, IPBlock, VIPPool
    );
}

/// Soon at first: the server that is started with us is there in a moment.
#[derive(Debug)]
struct Retry(Duration);

impl Retry {
    const FIRST: Duration = Duration::from_millis(50);
    const LONGEST: Duration = Duration::from_secs(5);
}

impl Iterator for Retry {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.0;
        self.0 = (delay * 2).min(Self::LONGEST);
        Some(delay)
    }
}

impl Backoff for Retry {
    fn reset(&mut self) {
        self.0 = Self::FIRST;
    }
}

async fn follow<K>(
    api: Api<K>,
    kind: Kind,
    wrap: fn(std::sync::Arc<K>) -> Object,
    events: mpsc::Sender<Event>,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let mut listing = Vec::new();
    let mut stream = watcher(api, watcher::Config::default()).backoff(Retry(Retry::FIRST)).boxed();
    while let Some(event) = stream.next().await {
        let event = match event {
            Ok(watcher::Event::Init) => {
                listing.clear();
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listing.push(wrap(object.into()));
                continue;
            }
            Ok(watcher::Event::InitDone) => Event::Listed(kind, std::mem::take(&mut listing)),
            Ok(watcher::Event::Apply(object)) => Event::Applied(wrap(object.into())),
            Ok(watcher::Event::Delete(object)) => {
                let metadata = object.meta();
                let reference = Ref { kind, key: Key::of(metadata) };
                Event::Deleted(reference, metadata.uid.clone().unwrap_or_default())
            }
            Err(watcher::Error::WatchError(error)) if error.code == 410 => {
                debug!(kind = kind.name(), "watch too old; listing anew");
                continue;
            }
            Err(error) => {
                warn!(kind = kind.name(), %error, "watch lost; trying again");
                continue;
            }
        };
        if events.send(event).await.is_err() {
            return;
        }
    }
}
