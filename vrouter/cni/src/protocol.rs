//! What the plugin and the daemon say to each other: one JSON object each way, ended by closing
//! the direction.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use vrouter_ipam::Owner;

use crate::{
    attachment::{Attachment, PodName},
    result::CniError,
};

/// Beyond this a message is refused: a configuration is a few hundred bytes, a GC list of a full
/// node some tens of kilobytes.
pub(crate) const MESSAGE_LIMIT: u64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "command")]
pub(crate) enum Request {
    Add { owner: Owner, netns: PathBuf, pod: Option<PodName> },
    Del { owner: Owner },
    Check { owner: Owner, netns: PathBuf },
    Gc { live: Vec<Owner> },
    Status,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Response {
    /// ADD and CHECK: the pod as it stands.
    Attachment(Attachment),
    Done,
    Error(CniError),
}

impl From<Result<Option<Attachment>, CniError>> for Response {
    fn from(result: Result<Option<Attachment>, CniError>) -> Self {
        match result {
            Ok(Some(attachment)) => Self::Attachment(attachment),
            Ok(None) => Self::Done,
            Err(error) => Self::Error(error),
        }
    }
}
