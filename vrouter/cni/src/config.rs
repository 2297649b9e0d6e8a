use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use vrouter_ipam::Owner;

use crate::result::{CniError, code};

pub const DEFAULT_SOCKET: &str = "/run/viaduct/cni.sock";

/// Versions of the specification whose configuration and results we know, newest last.
pub(crate) const VERSIONS: [&str; 5] = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// The network configuration that the runtime hands the plugin.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetConf {
    pub cni_version: String,
    pub name: String,
    /// The socket of the node's daemon.
    #[serde(default = "default_socket")]
    pub socket: PathBuf,
    #[serde(default)]
    pub(crate) prev_result: Option<Value>,
    /// Who is still there, given with GC. The key was renamed late in the making of 1.1.
    #[serde(default, rename = "cni.dev/valid-attachments", alias = "cni.dev/attachments")]
    pub(crate) valid_attachments: Option<Vec<ValidAttachment>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ValidAttachment {
    #[serde(rename = "containerID")]
    container_id: String,
    ifname: String,
}

impl From<ValidAttachment> for Owner {
    fn from(valid: ValidAttachment) -> Self {
        Self { container_id: valid.container_id, ifname: valid.ifname }
    }
}

fn default_socket() -> PathBuf {
    DEFAULT_SOCKET.into()
}

impl NetConf {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, CniError> {
        let raw: Value = serde_json::from_slice(text).map_err(|error| {
            CniError::new(code::DECODING_FAILURE, "the configuration on stdin is no JSON")
                .with(error)
        })?;
        // Before anything else, because another version may have other fields.
        let version = raw.get("cniVersion").and_then(Value::as_str).unwrap_or("0.1.0");
        if !VERSIONS.contains(&version) {
            return Err(CniError::new(
                code::INCOMPATIBLE_VERSION,
                format!("cniVersion {version} is not supported; use one of {VERSIONS:?}"),
            ));
        }
        serde_json::from_value(raw).map_err(|error| {
            CniError::new(code::INVALID_NETWORK_CONFIG, "the network configuration is wrong")
                .with(error)
        })
    }

    /// Whether the version asked for is `version` or newer.
    pub(crate) fn has(&self, version: &str) -> bool {
        let rank = |v: &str| VERSIONS.iter().position(|known| *known == v);
        rank(&self.cni_version) >= rank(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_runtime_gives() {
        let conf = NetConf::parse(
            br#"{"cniVersion": "1.1.0", "name": "viaduct", "type": "viaduct-cni",
                 "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "eth0"}]}"#,
        )
        .unwrap();
        assert_eq!(conf.socket, PathBuf::from(DEFAULT_SOCKET));
        assert!(conf.has("1.0.0") && conf.valid_attachments.unwrap().len() == 1);
    }

    #[test]
    fn errors_carry_the_codes_of_the_specification() {
        let refused = |text: &str| NetConf::parse(text.as_bytes()).unwrap_err().code;
        assert_eq!(refused("{"), code::DECODING_FAILURE);
        assert_eq!(refused(r#"{"cniVersion": "2.0.0", "name": "x"}"#), code::INCOMPATIBLE_VERSION);
        assert_eq!(refused(r#"{"name": "x"}"#), code::INCOMPATIBLE_VERSION);
        assert_eq!(refused(r#"{"cniVersion": "1.0.0"}"#), code::INVALID_NETWORK_CONFIG);
    }
}
