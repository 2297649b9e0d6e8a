//! Who watches a speaker, and what it replays.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Policy;

/// A table that a collector is told of by BMP.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum BMPTable {
    /// What neighbours tell, as they do.
    AdjRibInPre,
    /// What import has let pass of it.
    AdjRibInPost,
    /// The best paths (RFC 9069).
    LocRib,
    /// What neighbours are told, after policy (RFC 8671).
    AdjRibOut,
}

/// A collector that is told by BMP (RFC 7854) what the speaker learns, chooses and tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BMPCollector {
    #[schemars(with = "String")]
    pub address: IpAddr,
    #[schemars(range(min = 1))]
    pub port: u16,
    /// Only sessions and numbers are told where empty.
    #[serde(default = "pre_policy")]
    #[schemars(length(max = 4))]
    pub monitor: Vec<BMPTable>,
    /// How often the numbers of each neighbour are told; never where 0.
    #[serde(default = "minute")]
    pub statistics_seconds: u32,
}

/// A file of all that neighbours send, and of the states of their sessions (BGP4MP, RFC 6396).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MRTRecording {
    /// On the machine of the speaker; what is in it is kept. It is put aside when it is full, with the
    /// seconds since 1970 behind its name.
    pub updates_file: String,
    /// When it is full; never for its age where 0.
    #[serde(default)]
    pub rotate_seconds: u32,
    /// When it is full; never for its size where 0.
    #[serde(default)]
    pub rotate_bytes: u64,
}

/// A file of MRT as a source of routes, of a speaker that is no node of a cluster: a table
/// (TABLE_DUMP_V2) or a log of sessions (BGP4MP).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BGPReplaySpec {
    pub file: String,
    /// As whose routes they are taken: with our own AS an internal neighbour's, which is told on to
    /// all, else an external one's.
    #[schemars(range(min = 1))]
    pub asn: u32,
    /// In place of the next hops in the file, for routes of its family.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub next_hop: Option<IpAddr>,
    /// What is taken of it. Without it nothing is of an external neighbour (RFC 8212) and all of an
    /// internal one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Policy>,
}

impl BGPReplaySpec {
    pub const KIND: &str = "BGPReplay";
}

fn pre_policy() -> Vec<BMPTable> {
    vec![BMPTable::AdjRibInPre]
}

const fn minute() -> u32 {
    60
}
