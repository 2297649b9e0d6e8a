//! Events about pods: the same one again only counts up.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::pod::api::PodEvent;

/// Events on their way; one that finds no room is dropped.
const QUEUE_MAX: usize = 256;
/// Events remembered for counting up; the one not seen for longest is forgotten first.
const KNOWN_MAX: usize = 1024;
/// The API's own bound on a message.
const MESSAGE_BYTES_MAX: usize = 1024;

#[derive(Clone, Debug)]
pub(crate) struct EventSink {
    queue: mpsc::Sender<(ObjectReference, PodEvent)>,
}

#[derive(Debug)]
pub(crate) struct EventQueue {
    queue: mpsc::Receiver<(ObjectReference, PodEvent)>,
}

pub(crate) fn channel() -> (EventSink, EventQueue) {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    (EventSink { queue: sender }, EventQueue { queue: receiver })
}

impl EventSink {
    pub(crate) fn send(&self, pod: &Pod, event: PodEvent) {
        let about = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            field_path: event.container.as_ref().map(|c| format!("spec.containers{{{c}}}")),
            ..ObjectReference::default()
        };
        if let Err(error) = self.queue.try_send((about, event)) {
            debug!(%error, "event dropped");
        }
    }
}

type Key = (Option<String>, Option<String>, &'static str, String);

struct Known {
    name: String,
    count: i32,
    last: Timestamp,
}

impl EventQueue {
    /// Writes events until every sink is gone.
    pub(crate) async fn run(mut self, client: Client, node: String) {
        let mut known: BTreeMap<Key, Known> = BTreeMap::new();
        while let Some((about, event)) = self.queue.recv().await {
            let now = Timestamp::now();
            let key =
                (about.uid.clone(), about.field_path.clone(), event.reason, event.message.clone());
            let namespace = about.namespace.clone().unwrap_or_else(|| "default".to_owned());
            let api: Api<Event> = Api::namespaced(client.clone(), &namespace);
            if let Some(seen) = known.get_mut(&key) {
                seen.count = seen.count.saturating_add(1);
                seen.last = now;
                let patch = Patch::Merge(json!({
                    "count": seen.count, "lastTimestamp": Time(now) }));
                match api.patch(&seen.name, &PatchParams::default(), &patch).await {
                    Ok(_) => continue,
                    // It has expired: begin a new one.
                    Err(error) => debug!(%error, "event not counted"),
                }
            }
            let event = object(about, event, &node, now);
            let name = event.metadata.name.clone().unwrap_or_default();
            match api.create(&PostParams::default(), &event).await {
                Ok(_) => {
                    if known.len() >= KNOWN_MAX {
                        forget_oldest(&mut known);
                    }
                    known.insert(key, Known { name, count: 1, last: now });
                }
                Err(error) => {
                    known.remove(&key);
                    warn!(%error, event = name, "event not written");
                }
            }
        }
    }
}

fn forget_oldest(known: &mut BTreeMap<Key, Known>) {
    let oldest = known.iter().min_by_key(|(_, k)| k.last).map(|(key, _)| key.clone());
    if let Some(key) = oldest {
        known.remove(&key);
    }
}

fn object(about: ObjectReference, event: PodEvent, node: &str, now: Timestamp) -> Event {
    let pod = about.name.clone().unwrap_or_default();
    let mut message = event.message;
    if message.len() > MESSAGE_BYTES_MAX {
        let mut end = MESSAGE_BYTES_MAX;
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        message.truncate(end);
    }
    Event {
        metadata: ObjectMeta {
            // As clients have always named them: unique by the time.
            name: Some(format!("{pod}.{:x}", now.as_nanosecond())),
            namespace: about.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: about,
        reason: Some(event.reason.to_owned()),
        message: Some(message),
        type_: Some(if event.warning { "Warning" } else { "Normal" }.to_owned()),
        source: Some(EventSource {
            component: Some("kubelet".to_owned()),
            host: Some(node.to_owned()),
        }),
        reporting_component: Some("kubelet".to_owned()),
        reporting_instance: Some(node.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}
