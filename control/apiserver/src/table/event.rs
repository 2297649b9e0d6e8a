//! Event.

use serde_json::Value;

use super::age::since;
use super::{Column, Columns, NAME};

pub(crate) const EVENT: Columns = Columns {
    columns: &[
        Column::new("Last Seen", "string", "The time since the event was last seen."),
        Column::new("Type", "string", "Normal or Warning."),
        Column::new("Reason", "string", "A word for machines."),
        Column::new("Object", "string", "What the event is about."),
        Column::wide("Subobject", "string", "The part of the object."),
        Column::wide("Source", "string", "Who saw it."),
        Column::new("Message", "string", "What happened."),
        Column::wide("First Seen", "string", "The time since the event was first seen."),
        Column::wide("Count", "string", "How often it was seen."),
        Column { priority: 1, ..NAME },
    ],
    cells: |event, now| {
        let involved = &event["involvedObject"];
        let object = format!(
            "{}/{}",
            involved["kind"].as_str().unwrap_or_default().to_lowercase(),
            involved["name"].as_str().unwrap_or_default()
        );
        let text = |value: &Value| Value::from(value.as_str().unwrap_or_default());
        vec![
            since(last_seen(event), now).into(),
            text(&event["type"]),
            text(&event["reason"]),
            object.into(),
            text(&involved["fieldPath"]),
            source(event).into(),
            event["message"].as_str().unwrap_or_default().trim().into(),
            since(first_seen(event), now).into(),
            count(event).into(),
            event["metadata"]["name"].clone(),
        ]
    },
};

fn last_seen(event: &Value) -> &Value {
    [&event["series"]["lastObservedTime"], &event["lastTimestamp"]]
        .into_iter()
        .find(|time| time.is_string())
        .unwrap_or_else(|| first_seen(event))
}

fn first_seen(event: &Value) -> &Value {
    [&event["firstTimestamp"], &event["eventTime"]]
        .into_iter()
        .find(|time| time.is_string())
        .unwrap_or(&Value::Null)
}

fn count(event: &Value) -> i64 {
    let seen = |value: &Value| value.as_i64().filter(|count| *count > 0);
    seen(&event["series"]["count"]).or_else(|| seen(&event["count"])).unwrap_or(1)
}

fn source(event: &Value) -> String {
    let pick = |old: &str, new: &str| {
        let old = event["source"][old].as_str().filter(|text| !text.is_empty());
        old.or_else(|| event[new].as_str()).unwrap_or_default().to_owned()
    };
    let (component, host) =
        (pick("component", "reportingComponent"), pick("host", "reportingInstance"));
    if host.is_empty() { component } else { format!("{component}, {host}") }
}
