//! The custom resources of `viaduct.dev/v1alpha1`. All are cluster-scoped.

mod bfd;
mod bgp;
mod fault;
mod monitoring;
mod policy;
mod pools;
mod session;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    bfd::BFDProfile,
    bgp::{AddPaths, BGPConfigurationSpec, BGPPeerSpec, ConfederationSpec, DecisionSpec},
    fault::Fault,
    monitoring::{BGPReplaySpec, BMPCollector, BMPTable, MRTRecording},
    policy::{
        CommunityChange, MedChange, OriginMatch, Policy, PolicyAction, PolicyChange, PolicyRule,
        PrefixMatch, Prepend, SourceMatch,
    },
    pools::{IPBlockSpec, IPPoolSpec, VIPPoolSpec},
    session::{
        LocalAs, MaxPrefixes, MaxPrefixesAction, RangeKind, Role, SECRET_NAMESPACE, SecretKeyRef,
        Shutdown, TCPAOAlgorithm, TCPAOKey,
    },
};

pub const GROUP: &str = "viaduct.dev";
pub const VERSION: &str = "v1alpha1";
pub const API_VERSION: &str = "viaduct.dev/v1alpha1";

/// The name of the one [`BGPConfigurationSpec`] that is read.
pub const DEFAULT_CONFIGURATION: &str = "default";

/// A kind of ours: what discovery, the client and the schema need to know of it.
pub trait CustomResource: Serialize + for<'de> Deserialize<'de> + JsonSchema {
    const KIND: &'static str;
    const PLURAL: &'static str;
    const SHORT_NAMES: &'static [&'static str];

    /// What is wrong with it by itself and is no matter of the schema.
    fn faults(&self) -> Vec<Fault> {
        Vec::new()
    }
}

macro_rules! custom_resource {
    ($spec:ty, $kind:literal, $plural:literal, $short:expr $(, $faults:expr)?) => {
        impl CustomResource for $spec {
            const KIND: &'static str = $kind;
            const PLURAL: &'static str = $plural;
            const SHORT_NAMES: &'static [&'static str] = $short;

            $(fn faults(&self) -> Vec<Fault> {
                $faults(self)
            })?
        }
    };
}

custom_resource!(BGPConfigurationSpec, "BGPConfiguration", "bgpconfigurations", &["bgpconfig"]);
custom_resource!(BGPPeerSpec, "BGPPeer", "bgppeers", &["bgppeer"], Self::faults);
custom_resource!(IPPoolSpec, "IPPool", "ippools", &["ippool"]);
custom_resource!(IPBlockSpec, "IPBlock", "ipblocks", &["ipblock"]);
custom_resource!(VIPPoolSpec, "VIPPool", "vippools", &["vippool"]);

/// Written by a node on its own Node object: its router id where that is not its IPv4 address.
pub const ROUTER_ID_ANNOTATION: &str = "viaduct.dev/router-id";

const fn yes() -> bool {
    true
}
