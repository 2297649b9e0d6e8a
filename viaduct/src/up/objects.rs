//! The objects a cluster begins with: how it speaks BGP, which addresses it gives.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::serde_json::json;
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use serde::Serialize;
use viaduct_api::v1alpha1::{
    BGPPeerSpec, CustomResource, DEFAULT_CONFIGURATION, GROUP, IPPoolSpec, VERSION, VIPPoolSpec,
};
use viaduct_net::Prefix;

use super::{
    plan::{ClusterPlan, RACK_LABEL},
    speakers,
};

/// Who writes these objects, as far as server-side apply is concerned.
pub(crate) const FIELD_MANAGER: &str = "viaduct-up";

/// The label of what `up` has written, so that the next one finds it.
const WRITTEN_BY: &str = "viaduct.dev/written-by";

/// What every node needs to know before the first one starts.
pub(crate) async fn apply_network(client: &Client, plan: &ClusterPlan) -> Result<()> {
    apply(client, DEFAULT_CONFIGURATION, &speakers::node_configuration(plan)).await?;
    let peers = speakers::node_peers(plan);
    for (name, peer) in &peers {
        apply(client, name, peer).await?;
    }
    forget_peers(client, &peers).await?;
    for (name, cidr) in named(&plan.pod_cidrs) {
        let pool = IPPoolSpec {
            cidr,
            block_size: None,
            node_selector: BTreeMap::new(),
            masquerade: false,
            disabled: false,
        };
        apply(client, &name, &pool).await?;
    }
    for (name, cidr) in named(&plan.vip_cidrs) {
        let pool =
            VIPPoolSpec { cidrs: vec![cidr], service_selector: BTreeMap::new(), auto_assign: true };
        apply(client, &name, &pool).await?;
    }
    Ok(())
}

/// Removes the nodes that an earlier `up` had and this one has not: nobody is going to come back
/// under their names. Nodes that stood in a rack then and stand in none now lose its label, which
/// their kubelets do not know.
pub(crate) async fn forget_nodes(client: &Client, plan: &ClusterPlan) -> Result<()> {
    let api = Api::<Node>::all(client.clone());
    let nodes = api.list_metadata(&ListParams::default()).await.context("list the nodes")?;
    for metadata in nodes.items.into_iter().map(|node| node.metadata) {
        let Some(name) = metadata.name else { continue };
        let known = plan.nodes.iter().find(|node| node.name == name);
        let had_rack = metadata.labels.unwrap_or_default().contains_key(RACK_LABEL);
        if known.is_some_and(|node| had_rack && node.rack.is_none()) {
            let patch = Patch::Merge(json!({"metadata": {"labels": {RACK_LABEL: null}}}));
            api.patch(&name, &PatchParams::default(), &patch)
                .await
                .with_context(|| format!("take the label of its rack from node {name}"))?;
        }
        if known.is_none() {
            api.delete(&name, &DeleteParams::default())
                .await
                .with_context(|| format!("delete node {name}, which the cluster has no more"))?;
        }
    }
    Ok(())
}

/// Removes the peers that an earlier `up` has written and this one has not. Those that somebody else
/// has made are theirs.
async fn forget_peers(client: &Client, wanted: &BTreeMap<String, BGPPeerSpec>) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &api_resource::<BGPPeerSpec>());
    let written = ListParams::default().labels(&format!("{WRITTEN_BY}={FIELD_MANAGER}"));
    let peers = api.list_metadata(&written).await.context("list the BGP peers")?;
    for name in peers.items.into_iter().filter_map(|peer| peer.metadata.name) {
        if !wanted.contains_key(&name) {
            api.delete(&name, &DeleteParams::default())
                .await
                .with_context(|| format!("delete BGP peer {name}, which is there no more"))?;
        }
    }
    Ok(())
}

/// The first pool of a family is named after it.
fn named(cidrs: &[Prefix]) -> impl Iterator<Item = (String, Prefix)> {
    cidrs.iter().map(|cidr| (format!("default-{}", cidr.family()), *cidr))
}

pub(crate) fn api_resource<T: CustomResource>() -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, VERSION, T::KIND);
    ApiResource::from_gvk_with_plural(&kind, T::PLURAL)
}

async fn apply<T: CustomResource + Serialize>(client: &Client, name: &str, spec: &T) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &api_resource::<T>());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let mut object = speakers::document(name, spec)?;
    object["metadata"]["labels"] = json!({ WRITTEN_BY: FIELD_MANAGER });
    api.patch(name, &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("apply {} {name}", T::KIND))?;
    Ok(())
}
