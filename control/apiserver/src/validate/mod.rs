//! What an object must be before it is stored: its types, its fields, and the rules of its kind.

mod config;
mod custom;
mod decode;
mod deployment;
mod disruption_budget;
mod endpoint_slice;
mod field_error;
mod lease;
mod metadata;
pub(crate) mod names;
mod node;
mod percent;
mod pod;
mod priority_class;
pub(crate) mod quantity;
mod replica_set;
mod service;

pub(crate) use decode::{conform, decode, read_yaml};
pub(crate) use field_error::{Errors, FieldError};

pub(crate) use config::{config_map, config_map_update, secret, secret_update};
pub(crate) use custom::custom;
pub(crate) use deployment::{deployment, deployment_status, deployment_update};
pub(crate) use disruption_budget::disruption_budget;
pub(crate) use endpoint_slice::{endpoint_slice, endpoint_slice_update};
pub(crate) use lease::lease;
pub(crate) use metadata::{metadata_on_create, metadata_on_update};
pub(crate) use node::{node, node_update};
pub(crate) use pod::{pod, pod_template, pod_update, preemption_policy};
pub(crate) use priority_class::{priority_class, priority_class_update};
pub(crate) use replica_set::{replica_set, replica_set_update};
pub(crate) use service::{service, service_update};
