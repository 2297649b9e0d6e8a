use std::{
    net::{IpAddr, Ipv6Addr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vrouter_ipam::Owner;

use crate::netns::NetnsId;

/// What the names of our host-side interfaces begin with; the rest is a hash of the owner.
pub const HOST_VETH_PREFIX: &str = "vdp";

/// The address of every host-side veth. The same everywhere, so a pod's neighbour entry for its
/// gateway outlives anything that happens on the host. Locally administered (IEEE 802 §8.4).
pub(crate) const HOST_MAC: Mac = Mac([0x02, 0x56, 0x44, 0x00, 0x00, 0x01]);

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Mac(pub(crate) [u8; 6]);

impl Mac {
    /// The link-local address that the kernel forms from it (RFC 4291 appendix A).
    pub(crate) fn link_local(self) -> Ipv6Addr {
        let [a, b, c, d, e, f] = self.0;
        let [a, b, c, d, e, f] = [a ^ 2, b, c, d, e, f].map(u16::from);
        Ipv6Addr::new(0xfe80, 0, 0, 0, a << 8 | b, c << 8 | 0xff, 0xfe00 | d, e << 8 | f)
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

/// Which pod of the API an attachment is for, where the runtime said so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodName {
    pub namespace: String,
    pub name: String,
}

/// A pod on the network. All of it but the addresses and the place follows from the owner, so it
/// can be made again at any time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    #[serde(flatten)]
    pub owner: Owner,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodName>,
    /// One of each family, sorted.
    pub addresses: Vec<IpAddr>,
    /// The veth's end on the node.
    pub host_ifname: String,
    pub mtu: u32,
    /// The pod's network namespace as the runtime named it.
    pub netns: PathBuf,
    pub(crate) netns_id: NetnsId,
    pub(crate) mac: Mac,
    /// Whether ADD came to its end. What did not is rolled back at the next start.
    pub(crate) complete: bool,
}

impl Attachment {
    pub(crate) fn new(
        owner: Owner,
        pod: Option<PodName>,
        addresses: Vec<IpAddr>,
        (netns, netns_id): (PathBuf, NetnsId),
        mtu: u32,
    ) -> Self {
        let (host_ifname, mac) = identity(&owner);
        Self { owner, pod, addresses, host_ifname, mtu, netns, netns_id, mac, complete: false }
    }

    /// The pod's address on the link, as text.
    pub fn mac_address(&self) -> String {
        self.mac.to_string()
    }
}

/// The name of the host's end and the pod's Ethernet address. 48 bits each: among the pods of one
/// node a collision is not to be expected, and would be refused by the kernel as a duplicate name.
pub(crate) fn identity(owner: &Owner) -> (String, Mac) {
    let digest = Sha256::new()
        .chain_update(&owner.container_id)
        // A byte neither may hold, so that no two owners concatenate to the same text.
        .chain_update([0])
        .chain_update(&owner.ifname)
        .finalize();
    let mut name = String::from(HOST_VETH_PREFIX);
    for byte in &digest[..6] {
        name.push_str(&format!("{byte:02x}"));
    }
    // Unicast, locally administered.
    let mac =
        Mac([digest[6] & 0xfc | 0x02, digest[7], digest[8], digest[9], digest[10], digest[11]]);
    (name, mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_has_one_identity_that_fits_an_interface_name() {
        let owner = |id: &str| Owner { container_id: id.into(), ifname: "eth0".into() };
        let (name, mac) = identity(&owner("a"));
        assert_eq!(identity(&owner("a")), (name.clone(), mac));
        assert_ne!(identity(&owner("b")).0, name);
        assert!(name.len() <= 15 && name.starts_with(HOST_VETH_PREFIX), "{name}");
        assert_eq!(mac.0[0] & 3, 2);
    }

    #[test]
    fn link_local_is_what_the_kernel_forms() {
        let mac = Mac([0x02, 0x56, 0x44, 0x00, 0x00, 0x01]);
        assert_eq!(mac.link_local().to_string(), "fe80::56:44ff:fe00:1");
        assert_eq!(mac.to_string(), "02:56:44:00:00:01");
    }
}
