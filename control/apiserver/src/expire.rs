//! Events are for reading soon: old ones are removed, and the oldest where there are too many.

use std::{sync::Arc, time::Duration};

use tracing::{debug, warn};

use crate::{api::Api, clock, kinds, object, registry::Registry, status_error::StatusError, table};

/// As long as Kubernetes keeps events.
const LIFETIME_SECS: i64 = 3600;
const MAX_EVENTS: usize = 10_000;
const INTERVAL: Duration = Duration::from_secs(60);

/// Runs until the server stops.
pub(crate) async fn run(api: Arc<Api>) {
    loop {
        tokio::select! {
            () = api.stopping.cancelled() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
        match sweep(&api.registry, clock::now_secs(), MAX_EVENTS).await {
            Ok(0) => {}
            Ok(removed) => debug!(removed, "events expired"),
            Err(error) => warn!(%error, "expire events"),
        }
    }
}

/// Removes what is too old or too much; gives how many.
async fn sweep(registry: &Registry, now_secs: i64, max: usize) -> Result<usize, StatusError> {
    let Some(events) = kinds::find("", "v1", "events") else { return Ok(0) };
    let mut all: Vec<(i64, serde_json::Value)> = registry
        .all(events, "")
        .await?
        .into_iter()
        .map(|event| (last_seen(&event), event))
        .collect();
    all.sort_by_key(|(last, _)| *last);
    let surplus = all.len().saturating_sub(max);
    let mut removed = 0;
    for (index, (last, event)) in all.iter().enumerate() {
        if index >= surplus && now_secs.saturating_sub(*last) < LIFETIME_SECS {
            break;
        }
        match registry.remove(events, event).await {
            Ok(_) => removed += 1,
            // Written or removed meanwhile.
            Err(error) if matches!(error.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// When the event was last said, in Unix seconds.
fn last_seen(event: &serde_json::Value) -> i64 {
    let times = [
        &event["series"]["lastObservedTime"],
        &event["lastTimestamp"],
        &event["eventTime"],
        &event["metadata"]["creationTimestamp"],
    ];
    let seen = times.iter().filter_map(|time| time.as_str()).filter_map(table::unix_secs).max();
    debug_assert!(seen.is_some(), "{}", object::name(event));
    seen.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use control_store::{EmbeddedStore, Options};
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn old_and_surplus_events_go() {
        let folder = tempfile::tempdir().unwrap();
        let store = EmbeddedStore::open(folder.path().join("store"), Options::default()).unwrap();
        let registry = Registry::new(Arc::new(store));
        let events = kinds::find("", "v1", "events").unwrap();
        for n in 0..10 {
            let event = json!({
                "metadata": {
                    "namespace": "default",
                    "name": format!("e{n}"),
                    "creationTimestamp": clock::rfc3339(0),
                },
                "lastTimestamp": clock::rfc3339(n * 1000),
            });
            registry.create(events, event).await.unwrap();
        }
        // At 5000 s the hour reaches back to 1400 s.
        assert_eq!(sweep(&registry, 5000, 100).await.unwrap(), 2);
        assert_eq!(sweep(&registry, 5000, 5).await.unwrap(), 3);
        let left = registry.all(events, "").await.unwrap();
        let names: Vec<&str> = left.iter().map(object::name).collect();
        assert_eq!(names, ["e5", "e6", "e7", "e8", "e9"]);
        assert_eq!(sweep(&registry, 5000, 5).await.unwrap(), 0);
    }
}
