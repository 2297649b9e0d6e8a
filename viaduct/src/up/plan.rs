//! The plan of a cluster: who there is, at which addresses. Pure: a name and a count of nodes give
//! one plan, and `down` needs nothing else than what was written of it.
//!
//! ```text
//!   outside ── border ──┬── underlay (one segment) ──┬── node-1 … node-N
//!                       └── control                  ┘
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use viaduct_net::Prefix;

/// Beyond this the underlay's /24 has no addresses left.
pub(crate) const NODES_MAX: usize = 200;

pub(crate) const CLUSTER_ASN: u32 = 64512;
pub(crate) const BORDER_ASN: u32 = 64600;

const UNDERLAY_V4: Ipv4Addr = Ipv4Addr::new(172, 30, 255, 0);
const UNDERLAY_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x172, 0x30, 0, 0, 0, 0, 0);
pub(crate) const UNDERLAY_LEN_V4: u8 = 24;
pub(crate) const UNDERLAY_LEN_V6: u8 = 64;

/// One machine of the plan: a network namespace on the underlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub name: String,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
}

impl Host {
    pub(crate) fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterPlan {
    pub name: String,
    pub api_port: u16,
    /// Whether the border's BGP is spoken by us.
    pub has_border: bool,
    pub border: Host,
    pub control: Host,
    pub nodes: Vec<Host>,
    /// The link between the border and `outside`; the border has the first addresses.
    pub outside: Host,
    pub border_outside: Host,
    pub pod_cidrs: Vec<Prefix>,
    pub service_cidrs: Vec<Prefix>,
    pub vip_cidrs: Vec<Prefix>,
}

impl ClusterPlan {
    pub(crate) fn new(name: &str, nodes: usize, api_port: u16) -> Result<Self> {
        if !(1..=NODES_MAX).contains(&nodes) {
            bail!("--nodes {nodes}: between 1 and {NODES_MAX} nodes fit on one underlay");
        }
        let prefix = |text: &str| -> Result<Prefix> { Ok(text.parse()?) };
        let link = |name: &str, last: u8| Host {
            name: name.to_owned(),
            v4: Ipv4Addr::new(198, 51, 100, last),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, last.into()),
        };
        Ok(Self {
            name: name.to_owned(),
            api_port,
            has_border: true,
            border: on_underlay("border", 1),
            control: on_underlay("control", 2),
            nodes: (1..=nodes)
                .map(|number| on_underlay(&format!("node-{number}"), 10 + number as u8))
                .collect(),
            border_outside: link("border", 1),
            outside: link("outside", 2),
            pod_cidrs: vec![prefix("10.244.0.0/16")?, prefix("fd00:10:244::/64")?],
            service_cidrs: vec![prefix("10.96.0.0/16")?, prefix("fd00:10:96::/112")?],
            vip_cidrs: vec![prefix("203.0.113.0/24")?, prefix("2001:db8:113::/112")?],
        })
    }

    /// The network namespace of a host: `NAME.HOST`, as `ip netns` lists it.
    pub(crate) fn netns(&self, host: &str) -> String {
        format!("{}.{host}", self.name)
    }

    /// Every namespace of the cluster; `underlay` holds the segment itself.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        ["underlay", "border", "control", "outside"]
            .into_iter()
            .chain(self.nodes.iter().map(|node| node.name.as_str()))
            .map(|host| self.netns(host))
            .collect()
    }
}

fn on_underlay(name: &str, last: u8) -> Host {
    let [a, b, c, _] = UNDERLAY_V4.octets();
    let mut segments = UNDERLAY_V6.segments();
    segments[7] = last.into();
    Host { name: name.to_owned(), v4: Ipv4Addr::new(a, b, c, last), v6: segments.into() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_address_is_given_twice() {
        let plan = ClusterPlan::new("test", NODES_MAX, 8080).unwrap();
        let hosts = plan.nodes.iter().chain([&plan.border, &plan.control]);
        let addresses: Vec<IpAddr> = hosts.flat_map(Host::addresses).collect();
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len());
        let v4 = Prefix::new(UNDERLAY_V4.into(), UNDERLAY_LEN_V4).unwrap();
        let v6 = Prefix::new(UNDERLAY_V6.into(), UNDERLAY_LEN_V6).unwrap();
        assert!(addresses.iter().all(|address| v4.contains(*address) || v6.contains(*address)));
    }

    #[test]
    fn a_plan_has_room_for_its_nodes() {
        for wrong in [0, NODES_MAX + 1, usize::MAX] {
            assert!(ClusterPlan::new("viaduct", wrong, 8080).is_err(), "{wrong}");
        }
    }
}
