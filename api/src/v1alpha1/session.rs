//! What is agreed with a neighbour beside routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A value of a Secret in the namespace [`SECRET_NAMESPACE`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    #[schemars(length(min = 1))]
    pub name: String,
    #[serde(default = "password_key")]
    #[schemars(length(min = 1))]
    pub key: String,
}

/// Where the Secrets stand that resources of ours name: these are of no namespace, and nodes are to
/// read no others.
pub const SECRET_NAMESPACE: &str = "kube-system";

fn password_key() -> String {
    "password".to_owned()
}
