//! The objects a cluster begins with: how it speaks BGP, which addresses it gives.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::serde_json::{Value, json};
use kube::{
    Api, Client,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    core::GroupVersionKind,
    discovery::ApiResource,
};
use serde::Serialize;
use viaduct_api::v1alpha1::{
    API_VERSION, BGPConfigurationSpec, BGPPeerSpec, CustomResource, DEFAULT_CONFIGURATION, GROUP,
    IPPoolSpec, Policy, PolicyAction, PolicyRule, PrefixMatch, SourceMatch, VERSION, VIPPoolSpec,
};
use viaduct_net::{Family, Prefix};

use super::plan::{BORDER_ASN, CLUSTER_ASN, ClusterPlan};

/// Who writes these objects, as far as server-side apply is concerned.
pub(crate) const FIELD_MANAGER: &str = "viaduct-up";

/// What every node needs to know before the first one starts.
pub(crate) async fn apply_network(client: &Client, plan: &ClusterPlan) -> Result<()> {
    let configuration = BGPConfigurationSpec { asn: CLUSTER_ASN, ..Default::default() };
    apply(client, DEFAULT_CONFIGURATION, &configuration).await?;
    apply(client, "border", &border_peer(plan)).await?;
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
/// under their names.
pub(crate) async fn forget_nodes(client: &Client, plan: &ClusterPlan) -> Result<()> {
    let api = Api::<Node>::all(client.clone());
    let nodes = api.list_metadata(&ListParams::default()).await.context("list the nodes")?;
    for name in nodes.items.into_iter().filter_map(|node| node.metadata.name) {
        if !plan.nodes.iter().any(|node| node.name == name) {
            api.delete(&name, &DeleteParams::default())
                .await
                .with_context(|| format!("delete node {name}, which the cluster has no more"))?;
        }
    }
    Ok(())
}

/// The first pool of a family is named after it.
fn named(cidrs: &[Prefix]) -> impl Iterator<Item = (String, Prefix)> {
    cidrs.iter().map(|cidr| (format!("default-{}", cidr.family()), *cidr))
}

/// The border as the nodes see it: told of our own blocks and virtual IPs, and asked for nothing,
/// since a node's way out is its default route. RFC 8212 wants both said.
fn border_peer(plan: &ClusterPlan) -> BGPPeerSpec {
    BGPPeerSpec {
        node_selector: BTreeMap::new(),
        address: plan.border.v4.into(),
        port: 179,
        asn: BORDER_ASN,
        passive: false,
        hold_time_seconds: None,
        import: Some(Policy::default()),
        export: Some(Policy {
            rules: vec![PolicyRule {
                prefixes: Vec::new(),
                sources: vec![SourceMatch::Local],
                action: PolicyAction::Accept,
            }],
        }),
    }
}

/// The border's own configuration, as YAML documents for `viaduct router --config`.
pub(crate) fn border_configuration(plan: &ClusterPlan) -> Result<String> {
    let accepted = plan.pod_cidrs.iter().chain(&plan.vip_cidrs).map(|cidr| PrefixMatch {
        prefix: *cidr,
        min_length: Some(cidr.len()),
        max_length: Some(match cidr.family() {
            Family::V4 => 32,
            Family::V6 => 128,
        }),
    });
    let import = Policy {
        rules: vec![PolicyRule {
            prefixes: accepted.collect(),
            sources: Vec::new(),
            action: PolicyAction::Accept,
        }],
    };
    let configuration =
        BGPConfigurationSpec { asn: BORDER_ASN, node_to_node_mesh: false, ..Default::default() };
    let mut documents = vec![document(DEFAULT_CONFIGURATION, &configuration)?];
    for node in &plan.nodes {
        let peer = BGPPeerSpec {
            node_selector: BTreeMap::new(),
            address: node.v4.into(),
            port: 179,
            asn: CLUSTER_ASN,
            passive: false,
            hold_time_seconds: None,
            import: Some(import.clone()),
            // The nodes have a default route to the border and need to be told nothing.
            export: Some(Policy::default()),
        };
        documents.push(document(&node.name, &peer)?);
    }
    let texts: Result<Vec<String>, _> = documents.iter().map(serde_norway::to_string).collect();
    Ok(texts?.join("---\n"))
}

fn document<T: CustomResource>(name: &str, spec: &T) -> Result<Value> {
    Ok(json!({
        "apiVersion": API_VERSION,
        "kind": T::KIND,
        "metadata": {"name": name},
        "spec": serde_json::to_value(spec)?,
    }))
}

pub(crate) fn api_resource<T: CustomResource>() -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, VERSION, T::KIND);
    ApiResource::from_gvk_with_plural(&kind, T::PLURAL)
}

async fn apply<T: CustomResource + Serialize>(client: &Client, name: &str, spec: &T) -> Result<()> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &api_resource::<T>());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(document(name, spec)?))
        .await
        .with_context(|| format!("apply {} {name}", T::KIND))?;
    Ok(())
}
