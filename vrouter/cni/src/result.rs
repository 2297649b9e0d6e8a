use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use viaduct_net::{Family, Prefix};

use crate::{
    attachment::{Attachment, HOST_MAC},
    pod::{gateway, host_prefixes},
};

/// The specification's error codes.
pub mod code {
    pub const INCOMPATIBLE_VERSION: u32 = 1;
    pub const UNKNOWN_CONTAINER: u32 = 3;
    pub const INVALID_ENVIRONMENT: u32 = 4;
    pub const IO_FAILURE: u32 = 5;
    pub const DECODING_FAILURE: u32 = 6;
    pub const INVALID_NETWORK_CONFIG: u32 = 7;
    pub const TRY_AGAIN_LATER: u32 = 11;
    /// STATUS: no ADD can be served.
    pub const NOT_AVAILABLE: u32 = 50;
    /// STATUS: no ADD can be served, and pods that are may be cut off in part.
    pub const NOT_AVAILABLE_LIMITED: u32 = 51;
    /// The first of our own: wiring a pod failed and was rolled back.
    pub const WIRING_FAILED: u32 = 100;
    /// CHECK found something that is not as ADD left it.
    pub const CHECK_FAILED: u32 = 101;
}

/// An error as the runtime reads it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{msg}{}{details}", if details.is_empty() { "" } else { ": " })]
pub struct CniError {
    /// One of [`code`].
    pub code: u32,
    pub msg: String,
    #[serde(default)]
    pub details: String,
}

impl CniError {
    pub(crate) fn new(code: u32, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    pub(crate) fn with(self, details: impl std::fmt::Display) -> Self {
        Self { details: details.to_string(), ..self }
    }

    pub(crate) fn to_json(&self, cni_version: &str) -> Value {
        json!({
            "cniVersion": cni_version,
            "code": self.code,
            "msg": self.msg,
            "details": self.details,
        })
    }
}

/// The success type of ADD, in the shape of the version asked for (SPEC §5).
pub(crate) fn success(attachment: &Attachment, cni_version: &str) -> Value {
    // "version" in an address and no "mtu" in an interface before 1.0.0 and 1.1.0.
    let old = cni_version.starts_with("0.");
    let mut interfaces = vec![
        json!({"name": attachment.host_ifname, "mac": HOST_MAC.to_string()}),
        json!({
            "name": attachment.owner.ifname,
            "mac": attachment.mac_address(),
            "sandbox": attachment.netns,
        }),
    ];
    if cni_version == "1.1.0" {
        for interface in &mut interfaces {
            interface["mtu"] = attachment.mtu.into();
        }
    }
    let prefixes: Vec<Prefix> = host_prefixes(attachment).collect();
    let ips: Vec<Value> = prefixes
        .iter()
        .map(|prefix| {
            let family = prefix.family();
            let mut ip = json!({
                "address": prefix,
                "gateway": gateway(family),
                "interface": 1,
            });
            if old {
                ip["version"] = if family == Family::V4 { "4" } else { "6" }.into();
            }
            ip
        })
        .collect();
    let routes: Vec<Value> = prefixes
        .iter()
        .map(|prefix| {
            let family = prefix.family();
            json!({"dst": Prefix::default_route(family), "gw": gateway(family)})
        })
        .collect();
    json!({
        "cniVersion": cni_version,
        "interfaces": interfaces,
        "ips": ips,
        "routes": routes,
        "dns": {},
    })
}

#[cfg(test)]
mod tests {
    use vrouter_ipam::Owner;

    use super::*;
    use crate::netns::NetnsId;

    fn attachment() -> Attachment {
        Attachment::new(
            Owner { container_id: "c1".into(), ifname: "eth0".into() },
            None,
            vec!["10.244.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
            ("/run/netns/c1".into(), NetnsId::default()),
            1450,
        )
    }

    #[test]
    fn both_families_in_the_newest_shape() {
        let result = success(&attachment(), "1.1.0");
        assert_eq!(result["ips"][0]["address"], "10.244.0.1/32");
        assert_eq!(result["ips"][0]["gateway"], "169.254.1.1");
        assert_eq!(result["ips"][1]["address"], "fd00::1/128");
        assert_eq!(result["ips"][1]["gateway"], "fe80::1");
        assert_eq!(result["routes"][1]["dst"], "::/0");
        assert_eq!(result["interfaces"][1]["sandbox"], "/run/netns/c1");
        assert_eq!(result["interfaces"][1]["mtu"], 1450);
        assert!(result["ips"][0].get("version").is_none());
    }

    #[test]
    fn older_versions_have_their_own_shape() {
        let result = success(&attachment(), "0.4.0");
        assert_eq!(result["ips"][1]["version"], "6");
        assert!(result["interfaces"][0].get("mtu").is_none());
    }
}
