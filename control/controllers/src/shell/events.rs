//! Tells Events.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

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
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tracing::debug;

use crate::operation::Note;

/// The same Event about the same object is told so often at most.
const REPEAT_AFTER: Duration = Duration::from_secs(30);
/// Events that are remembered as told.
const TOLD_LIMIT: usize = 4096;

/// Events about objects without a namespace live in this one.
const DEFAULT_NAMESPACE: &str = "default";

pub(super) async fn record(client: Client, mut notes: mpsc::Receiver<Note>) {
    let mut told: BTreeMap<String, Instant> = BTreeMap::new();
    while let Some(note) = notes.recv().await {
        let name = name_of(&note);
        let now = Instant::now();
        if told.get(&name).is_some_and(|at| now.duration_since(*at) < REPEAT_AFTER) {
            continue;
        }
        if told.len() == TOLD_LIMIT {
            told.retain(|_, at| now.duration_since(*at) < REPEAT_AFTER);
        }
        if told.len() < TOLD_LIMIT {
            told.insert(name.clone(), now);
        }
        // Nothing depends on an Event: one that cannot be told is let go.
        if let Err(error) = tell(&client, &name, &note).await {
            debug!(event = name, reason = note.reason, %error, "Event not told");
        }
    }
}

/// The same for the same thing said of the same object, also by another process.
fn name_of(note: &Note) -> String {
    let about = &note.about;
    let digest = Sha256::new()
        .chain_update(about.uid.as_deref().unwrap_or_default())
        .chain_update([0])
        .chain_update(note.reason)
        .chain_update([0])
        .chain_update(&note.message)
        .finalize();
    let hash: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let object = about.name.as_deref().unwrap_or("object");
    // 253 octets for the whole name.
    let object: String = object.chars().take(230).collect();
    format!("{object}.{hash}")
}

async fn tell(client: &Client, name: &str, note: &Note) -> kube::Result<()> {
    let namespace = note.about.namespace.as_deref().unwrap_or(DEFAULT_NAMESPACE);
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let now = Time(Timestamp::now());
    let event = Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: note.about.clone(),
        reason: Some(note.reason.into()),
        message: Some(note.message.clone()),
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
    let again = json!({"count": known.count.unwrap_or(1) + 1, "lastTimestamp": now});
    api.patch(name, &PatchParams::default(), &Patch::Merge(again)).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{kinds::Object, testing::pod};

    #[test]
    fn one_thing_has_one_name() {
        let about: Object = pod("a", json!({})).into();
        let note = |message: &str| Note::normal("test", &about, "Reason", message);
        assert_eq!(name_of(&note("x")), name_of(&note("x")));
        assert_ne!(name_of(&note("x")), name_of(&note("y")));
        assert!(name_of(&note("x")).starts_with("a."));
    }
}
