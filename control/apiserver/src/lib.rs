//! The API server of the lean control plane: the Kubernetes REST API over a [`control_store`].
//!
//! Objects travel as [`serde_json::Value`] (see [`object`] for the accessors of their metadata).
//! The pure half (kinds, tables, discovery, OpenAPI, patch, validation, selectors, Status errors)
//! knows neither HTTP nor the store; the shell (server, auth, handlers, watch, allocation) knows no
//! kind by name except where Kubernetes itself treats one specially.

mod admission;
mod allocate;
mod api;
mod auth;
mod bootstrap;
mod clock;
mod connections;
mod discovery;
mod expire;
mod handlers;
mod http;
mod kinds;
mod metrics;
mod object;
mod openapi;
mod patch;
mod protobuf;
mod registry;
mod selector;
mod server;
mod share;
mod status_error;
mod strangers;
mod table;
mod ui;
mod validate;
mod watch;
mod yaml;

pub use server::{ServeError, ServerConfig, serve};
pub use ui::Speaker;
