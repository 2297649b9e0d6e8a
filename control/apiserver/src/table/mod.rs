//! `meta.k8s.io/v1` Tables: what `kubectl get` prints, computed here as Kubernetes computes it.

mod age;
mod config;
mod custom;
mod deployment;
mod endpoint_slice;
mod event;
mod lease;
mod namespace;
mod node;
mod pod;
mod pod_disruption_budget;
mod priority_class;
mod replica_set;
mod service;
mod service_account;

use serde_json::{Value, json};

use crate::kinds::Kind;

pub(crate) use age::unix_secs;
pub(crate) use config::{CONFIG_MAP, SECRET};
pub(crate) use custom::{BGP_CONFIGURATION, BGP_PEER, IP_BLOCK, IP_POOL, VIP_POOL};
pub(crate) use deployment::DEPLOYMENT;
pub(crate) use endpoint_slice::ENDPOINT_SLICE;
pub(crate) use event::EVENT;
pub(crate) use lease::LEASE;
pub(crate) use namespace::NAMESPACE;
pub(crate) use node::NODE;
pub(crate) use pod::POD;
pub(crate) use pod_disruption_budget::POD_DISRUPTION_BUDGET;
pub(crate) use priority_class::PRIORITY_CLASS;
pub(crate) use replica_set::REPLICA_SET;
pub(crate) use service::SERVICE;
pub(crate) use service_account::SERVICE_ACCOUNT;

/// The table of a kind: its columns, and the cells of one object at a time in Unix seconds.
pub(crate) struct Columns {
    pub columns: &'static [Column],
    pub cells: fn(&Value, i64) -> Vec<Value>,
}

/// The head of a column.
pub(crate) struct Column {
    pub name: &'static str,
    /// `string`, `integer`, `boolean` or `date`.
    pub r#type: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: u8,
    pub description: &'static str,
}

/// How much of each object its row carries: the `includeObject` parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IncludeObject {
    None,
    #[default]
    Metadata,
    Object,
}

impl IncludeObject {
    /// Reads the parameter; empty is the default.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "" | "Metadata" => Some(Self::Metadata),
            "None" => Some(Self::None),
            "Object" => Some(Self::Object),
            _ => None,
        }
    }
}

/// The Table of a list, of one object or of the object of one watch event, without its `rows`.
///
/// `api_version` is the one the client asked for (`meta.k8s.io/v1` or `…/v1beta1`), `metadata` the
/// list's or the object's (`resourceVersion`, `continue`), `with_columns` false for every watch
/// event after the first.
pub(crate) fn empty(kind: &Kind, api_version: &str, metadata: Value, with_columns: bool) -> Value {
    let heads: Value = if with_columns {
        kind.columns.columns.iter().map(Column::to_value).collect()
    } else {
        json!([])
    };
    json!({
        "kind": "Table",
        "apiVersion": api_version,
        "metadata": metadata,
        "columnDefinitions": heads,
        "rows": [],
    })
}

/// The row of one object, at a time in Unix seconds.
pub(crate) fn row(
    kind: &Kind,
    api_version: &str,
    item: Value,
    include: IncludeObject,
    now_secs: i64,
) -> Value {
    let cells = (kind.columns.cells)(&item, now_secs);
    debug_assert_eq!(cells.len(), kind.columns.columns.len(), "{kind:?}");
    let mut row = json!({ "cells": cells });
    match include {
        IncludeObject::None => {}
        IncludeObject::Metadata => {
            row["object"] = json!({
                "kind": "PartialObjectMetadata",
                "apiVersion": api_version,
                "metadata": item["metadata"],
            });
        }
        IncludeObject::Object => row["object"] = item,
    }
    row
}

impl Column {
    const fn new(name: &'static str, r#type: &'static str, description: &'static str) -> Self {
        Self { name, r#type, priority: 0, description }
    }

    const fn wide(name: &'static str, r#type: &'static str, description: &'static str) -> Self {
        Self { name, r#type, priority: 1, description }
    }

    fn to_value(&self) -> Value {
        let format = if self.name == "Name" { "name" } else { "" };
        json!({
            "name": self.name,
            "type": self.r#type,
            "format": format,
            "description": self.description,
            "priority": self.priority,
        })
    }
}

/// The first column of every kind.
const NAME: Column = Column::new("Name", "string", "The name, unique within its namespace.");
/// The last of the columns that are always shown.
const AGE: Column = Column::new("Age", "string", "The time since the object was created.");

fn name(item: &Value) -> Value {
    item["metadata"]["name"].clone()
}

/// The age of the object.
fn age(item: &Value, now_secs: i64) -> Value {
    age::since(&item["metadata"]["creationTimestamp"], now_secs).into()
}

/// The texts of a list joined with commas, or `<none>`.
fn joined<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.into_iter().collect();
    if texts.is_empty() { "<none>".to_owned() } else { texts.join(",") }
}

/// The text of a field, or `<none>`.
fn text_or_none(value: &Value) -> &str {
    value.as_str().filter(|text| !text.is_empty()).unwrap_or("<none>")
}

/// `a=b,c=d` of a map of labels or of a selector, sorted as Kubernetes does; or `<none>`.
fn labels_text(labels: &Value) -> String {
    let mut pairs: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    pairs.sort();
    joined(pairs.iter().map(String::as_str))
}

/// A whole label selector in words: `app=web,tier in (a,b),!old`; or `<none>`.
fn selector_text(selector: &Value) -> String {
    let mut terms: Vec<String> = selector["matchLabels"]
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    terms.sort();
    for expression in list(&selector["matchExpressions"]) {
        let key = expression["key"].as_str().unwrap_or_default();
        let mut values: Vec<&str> = list(&expression["values"]).filter_map(Value::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        terms.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    joined(terms.iter().map(String::as_str))
}

/// The items of an array; none where it is no array.
fn list(value: &Value) -> std::slice::Iter<'_, Value> {
    value.as_array().map_or_else(|| [].iter(), |items| items.iter())
}
