//! Tells Events.

use std::time::Instant;

use k8s_openapi::{
    api::core::v1::{Event, EventSource},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::sync::mpsc;
use tracing::debug;

use super::correlate::{Correlator, Telling};
use crate::operation::Note;

/// Events about objects without a namespace live in this one.
const DEFAULT_NAMESPACE: &str = "default";

pub(super) async fn record(client: Client, mut notes: mpsc::Receiver<Note>) {
    let started = Instant::now();
    let mut correlator = Correlator::default();
    while let Some(note) = notes.recv().await {
        let Some(telling) = correlator.telling(&note, started.elapsed()) else { continue };
        // Nothing depends on an Event: one that cannot be told is let go.
        if let Err(error) = tell(&client, &telling, &note).await {
            debug!(event = telling.name, reason = note.reason, %error, "Event not told");
        }
    }
}

async fn tell(client: &Client, telling: &Telling, note: &Note) -> kube::Result<()> {
    let namespace = note.about.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let now = Time(Timestamp::now());
    let Telling { name, message } = telling;
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: note.about.clone(),
        reason: Some(note.reason.into()),
        message: Some(message.clone()),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.into()),
        source: Some(EventSource { component: Some(note.component.into()), host: None }),
        reporting_component: Some(note.component.into()),
        first_timestamp: Some(now.clone()),
        last_timestamp: Some(now.clone()),
        count: Some(1),
        ..Event::default()
    };
    match api.create(&PostParams::default(), &event).await {
        Err(kube::Error::Api(status)) if status.code == 409 => {}
        other => return other.map(|_| ()),
    }
    let known = api.get(name).await?;
    let count = known.count.unwrap_or(1).saturating_add(1);
    let again = json!({"count": count, "lastTimestamp": now, "message": message});
    api.patch(name, &PatchParams::default(), &Patch::Merge(again)).await.map(|_| ())
}
