//! The kinds of `viaduct.dev/v1alpha1`, all cluster-scoped and without a status.

use viaduct_api::v1alpha1::{
    API_VERSION, BGPConfigurationSpec, BGPPeerSpec, CustomResource, GROUP, IPBlockSpec, IPPoolSpec,
    VERSION, VIPPoolSpec,
};

use super::{ALL_VERBS, Kind, Strategy};
use crate::table::{self, Columns};
use crate::validate;

pub(super) static BGP_CONFIGURATION: Kind = kind::<BGPConfigurationSpec>(
    "bgpconfiguration",
    "dev.viaduct.v1alpha1.BGPConfiguration",
    table::BGP_CONFIGURATION,
);

pub(super) static BGP_PEER: Kind =
    kind::<BGPPeerSpec>("bgppeer", "dev.viaduct.v1alpha1.BGPPeer", table::BGP_PEER);

pub(super) static IP_POOL: Kind =
    kind::<IPPoolSpec>("ippool", "dev.viaduct.v1alpha1.IPPool", table::IP_POOL);

pub(super) static IP_BLOCK: Kind =
    kind::<IPBlockSpec>("ipblock", "dev.viaduct.v1alpha1.IPBlock", table::IP_BLOCK);

pub(super) static VIP_POOL: Kind =
    kind::<VIPPoolSpec>("vippool", "dev.viaduct.v1alpha1.VIPPool", table::VIP_POOL);

const fn kind<T: CustomResource>(
    singular: &'static str,
    definition: &'static str,
    columns: Columns,
) -> Kind {
    Kind {
        group: GROUP,
        version: VERSION,
        api_version: API_VERSION,
        kind: T::KIND,
        plural: T::PLURAL,
        singular,
        short_names: T::SHORT_NAMES,
        namespaced: false,
        categories: &["viaduct"],
        subresources: &[],
        verbs: ALL_VERBS,
        field_selectors: &[],
        definition,
        strategy: Strategy {
            default: super::schema::default_from_schema::<T>,
            validate: validate::custom::<T>,
            ..Strategy::PLAIN
        },
        columns,
    }
}
