//! Whether a node uses a Secret or ConfigMap, and so may read it.

use control_store::List;
use serde_json::Value;
use viaduct_api::v1alpha1::{BGPPeerSpec, CustomResource, GROUP, SECRET_NAMESPACE, VERSION};

use crate::{
    api::Call,
    auth::node::{peers_by, uses},
    kinds::{self, Kind},
    registry,
    status_error::StatusError,
};

/// For its pods, in their namespace.
pub(super) async fn by_pods(
    call: &Call,
    node: &str,
    plural: &str,
    name: &str,
) -> Result<bool, StatusError> {
    let pods = kind("", "v1", "pods")?;
    let prefix = registry::prefix(pods, &call.path.namespace);
    let page = call.registry().list(pods, List { prefix, ..List::default() }).await?;
    // Few are the node's, and only those are worth a closer look.
    let text = Value::from(node).to_string();
    let finder = memchr::memmem::Finder::new(&text);
    for entry in page.entries.iter().filter(|entry| finder.find(&entry.value).is_some()) {
        let pod = registry::decode(entry)?;
        if pod["spec"]["nodeName"] == node && uses(&pod, plural, name) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// For its BGP sessions, whose resources name a Secret of one namespace.
pub(super) async fn by_peers(
    call: &Call,
    node: &str,
    plural: &str,
    name: &str,
) -> Result<bool, StatusError> {
    if plural != "secrets" || call.path.namespace != SECRET_NAMESPACE {
        return Ok(false);
    }
    let nodes = kind("", "v1", "nodes")?;
    let Some(object) = call.registry().find(nodes, "", node).await? else { return Ok(false) };
    let peers = kind(GROUP, VERSION, BGPPeerSpec::PLURAL)?;
    let peers = call.registry().all(peers, "").await?;
    Ok(peers.iter().any(|peer| peers_by(peer, name, node, &object)))
}

fn kind(group: &str, version: &str, plural: &str) -> Result<&'static Kind, StatusError> {
    kinds::find(group, version, plural).ok_or_else(StatusError::unknown_path)
}
