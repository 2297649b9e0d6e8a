//! The pod's status on its way to the API.

use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::warn;

use super::{Worker, api::ApiError};

/// How long the API may show something else before it is told again.
const REPEAT: Duration = Duration::from_secs(10);

/// The fields that are the node's to set, and so to remove.
const OWN_FIELDS: [&str; 12] = [
    "phase",
    "conditions",
    "reason",
    "message",
    "hostIP",
    "hostIPs",
    "podIP",
    "podIPs",
    "startTime",
    "containerStatuses",
    "initContainerStatuses",
    "qosClass",
];

#[derive(Debug, Default)]
pub(super) struct Reported {
    last: Option<(Map<String, Value>, Instant)>,
}

impl Worker {
    /// Tells the API what it does not know yet; `false` where it could not be told.
    pub(super) async fn report(&mut self) -> bool {
        if self.gone || self.observed == crate::core::Observed::default() {
            return true;
        }
        let wanted = object(serde_json::to_value(self.status()));
        let shown = object(serde_json::to_value(&self.pod.status));
        let patch = difference(&wanted, &shown);
        if patch.is_empty() {
            return true;
        }
        if let Some((last, at)) = &self.reported.last
            && *last == wanted
            && at.elapsed() < REPEAT
        {
            return true;
        }
        match self.node.api.patch_status(&self.pod, Value::Object(patch)).await {
            Ok(()) => {
                self.reported.last = Some((wanted.clone(), Instant::now()));
                // Until the watch brings it back, so that times of transitions stay.
                let mut merged = shown;
                for field in OWN_FIELDS {
                    merged.remove(field);
                }
                merged.extend(wanted);
                if let Ok(status) = serde_json::from_value(Value::Object(merged)) {
                    self.pod.status = Some(status);
                }
                true
            }
            // The watch will say so.
            Err(ApiError::Gone) => true,
            Err(error) => {
                warn!(pod = self.uid, %error, "status not reported");
                false
            }
        }
    }
}

fn object(value: Result<Value, serde_json::Error>) -> Map<String, Value> {
    match value {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

/// The merge patch that leads from one to the other.
fn difference(wanted: &Map<String, Value>, shown: &Map<String, Value>) -> Map<String, Value> {
    let mut patch = Map::new();
    for field in OWN_FIELDS {
        match (wanted.get(field), shown.get(field)) {
            (Some(value), present) if present != Some(value) => {
                patch.insert(field.to_owned(), value.clone());
            }
            (None, Some(_)) => {
                patch.insert(field.to_owned(), Value::Null);
            }
            _ => {}
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_differs_is_sent_and_only_what_is_ours() {
        let wanted = object(Ok(json!({ "phase": "Running", "podIP": "10.0.0.1" })));
        let shown = object(Ok(json!({
            "phase": "Pending", "podIP": "10.0.0.1", "message": "old", "nominatedNodeName": "n" })));
        let patch = Value::Object(difference(&wanted, &shown));
        assert_eq!(patch, json!({ "phase": "Running", "message": null }));
    }
}
