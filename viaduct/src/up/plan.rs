//! The plan of a cluster: who there is, at which addresses. Pure: what was asked for gives one plan,
//! and `down` needs nothing else than what was written of it.
//!
//! Without racks every node stands on the fabric itself:
//!
//! ```text
//!   outside ── border ──┬── fabric ──┬── node-1 … node-N
//!                       └── control  └── reflector-1, reflector-2
//! ```
//!
//! With them each rack is a segment behind a router of its own:
//!
//! ```text
//!   outside ── border ──┬── fabric ──┬── rack-1 ──┬── node-1, node-3 …
//!                       └── control  │            └── reflector-1
//!                                    └── rack-2 ──┬── node-2, node-4 …
//!                                                 └── reflector-2
//! ```

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};
use viaduct_net::Prefix;

/// Beyond this a segment's /24 has no addresses left.
pub(crate) const NODES_MAX: usize = 200;
/// As many ways as one route of the border can have: the most of the speaker's multipath.
pub(crate) const RACKS_MAX: usize = 16;
const REFLECTORS: usize = 2;

pub(crate) const CLUSTER_ASN: u32 = 64512;
pub(crate) const BORDER_ASN: u32 = 64600;
/// The first rack's is one more: the private numbers of four octets (RFC 6996).
const RACK_ASN_BASE: u32 = 4_200_000_000;

/// By which label a node says its rack. It is Kubernetes' own for what fails together, so that the
/// scheduler spreads by it.
pub(crate) const RACK_LABEL: &str = "topology.kubernetes.io/zone";

pub(crate) const SEGMENT_LEN_V4: u8 = 24;
pub(crate) const SEGMENT_LEN_V6: u8 = 64;
/// The fabric's third octet; a rack's is its number.
const FABRIC: u8 = 255;

/// What was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub nodes: usize,
    /// `None`: no racks, all nodes on the fabric.
    pub racks: Option<usize>,
    pub reflectors: bool,
}

/// One machine of the plan: a network namespace on a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Host {
    pub name: String,
    pub v4: Ipv4Addr,
    pub v6: Ipv6Addr,
    /// The rack it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rack: Option<String>,
}

impl Host {
    pub(crate) fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// What the Node of this host is labelled with.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        self.rack.iter().map(|rack| (RACK_LABEL.to_owned(), rack.clone())).collect()
    }
}

/// A segment behind a router of an AS of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rack {
    /// Named after the rack; its addresses on the fabric, from which it speaks BGP.
    pub router: Host,
    pub asn: u32,
    /// The same router inside the rack: the default gateway there.
    pub gateway: Host,
    pub cidrs: Vec<Prefix>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterPlan {
    pub name: String,
    pub api_port: u16,
    /// Whether the border's BGP is spoken by us.
    pub has_border: bool,
    pub border: Host,
    pub control: Host,
    pub racks: Vec<Rack>,
    /// In place of the mesh, where there are any.
    pub reflectors: Vec<Host>,
    pub nodes: Vec<Host>,
    /// The link between the border and `outside`; the border has the first addresses.
    pub outside: Host,
    pub border_outside: Host,
    pub pod_cidrs: Vec<Prefix>,
    pub service_cidrs: Vec<Prefix>,
    pub vip_cidrs: Vec<Prefix>,
}

impl ClusterPlan {
    pub(crate) fn new(name: &str, shape: Shape, api_port: u16) -> Result<Self> {
        let Shape { nodes, racks, reflectors } = shape;
        if !(1..=NODES_MAX).contains(&nodes) {
            bail!("--nodes {nodes}: between 1 and {NODES_MAX} nodes fit on one machine");
        }
        if let Some(count) = racks
            && !(1..=nodes.min(RACKS_MAX)).contains(&count)
        {
            bail!("--racks {count}: between 1 and {RACKS_MAX}, and no more than there are nodes");
        }
        let prefix = |text: &str| -> Result<Prefix> { Ok(text.parse()?) };
        let link = |name: &str, last: u8| Host {
            name: name.to_owned(),
            v4: Ipv4Addr::new(198, 51, 100, last),
            v6: Ipv6Addr::new(0x2001, 0xdb8, 0x51, 0, 0, 0, 0, last.into()),
            rack: None,
        };
        let racks: Vec<Rack> = (1..=racks.unwrap_or(0)).map(|number| rack(number as u8)).collect();
        // Round robin: the host of an index, and how many stand in its rack before it.
        let place = |name: String, index: usize, first: u8, first_on_fabric: u8| match racks.len() {
            0 => on_segment(&name, FABRIC, first_on_fabric + index as u8),
            count => {
                let number = index % count + 1;
                let host = on_segment(&name, number as u8, first + (index / count) as u8);
                Host { rack: Some(rack_name(number as u8)), ..host }
            }
        };
        let reflectors = (0..if reflectors { REFLECTORS } else { 0 })
            .map(|index| place(format!("reflector-{}", index + 1), index, 2, 3));
        let nodes = (0..nodes).map(|index| place(format!("node-{}", index + 1), index, 11, 11));
        Ok(Self {
            name: name.to_owned(),
            api_port,
            has_border: true,
            border: on_segment("border", FABRIC, 1),
            control: on_segment("control", FABRIC, 2),
            reflectors: reflectors.collect(),
            nodes: nodes.collect(),
            racks,
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

    /// Every namespace of the cluster; `underlay` holds the segments themselves.
    pub(crate) fn namespaces(&self) -> Vec<String> {
        ["underlay", "outside"]
            .into_iter()
            .chain(self.fabric().chain(self.edge()).map(|host| host.name.as_str()))
            .map(|host| self.netns(host))
            .collect()
    }

    /// The hosts whose place is the fabric in every plan, the racks' routers among them.
    pub(crate) fn fabric(&self) -> impl Iterator<Item = &Host> {
        [&self.border, &self.control].into_iter().chain(self.racks.iter().map(|rack| &rack.router))
    }

    /// The hosts that stand in a rack where there are racks.
    pub(crate) fn edge(&self) -> impl Iterator<Item = &Host> {
        self.nodes.iter().chain(&self.reflectors)
    }

    pub(crate) fn rack_of(&self, host: &Host) -> Option<&Rack> {
        self.racks.iter().find(|rack| host.rack.as_ref() == Some(&rack.router.name))
    }

    /// Where a host sends what is not on link; the border has the whole world behind it.
    pub(crate) fn gateway_of(&self, host: &Host) -> Option<&Host> {
        if host.name == self.border.name {
            return None;
        }
        Some(self.rack_of(host).map_or(&self.border, |rack| &rack.gateway))
    }
}

fn rack_name(number: u8) -> String {
    format!("rack-{number}")
}

fn rack(number: u8) -> Rack {
    let name = rack_name(number);
    let gateway = on_segment(&name, number, 1);
    Rack {
        router: on_segment(&name, FABRIC, 10 + number),
        asn: RACK_ASN_BASE + u32::from(number),
        cidrs: vec![
            Prefix::host(gateway.v4.into()).truncate(SEGMENT_LEN_V4),
            Prefix::host(gateway.v6.into()).truncate(SEGMENT_LEN_V6),
        ],
        gateway,
    }
}

/// 172.30.SEGMENT.LAST and fd00:172:30:SEGMENT::LAST; the fabric is fd00:172:30::.
fn on_segment(name: &str, segment: u8, last: u8) -> Host {
    let fourth = if segment == FABRIC { 0 } else { segment.into() };
    Host {
        name: name.to_owned(),
        v4: Ipv4Addr::new(172, 30, segment, last),
        v6: Ipv6Addr::new(0xfd00, 0x172, 0x30, fourth, 0, 0, 0, last.into()),
        rack: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn plan(nodes: usize, racks: Option<usize>, reflectors: bool) -> ClusterPlan {
        ClusterPlan::new("test", Shape { nodes, racks, reflectors }, 8080).unwrap()
    }

    fn shapes() -> impl Iterator<Item = ClusterPlan> {
        let racks = [None, Some(1), Some(2), Some(3), Some(RACKS_MAX)];
        let all = racks.into_iter().flat_map(|racks| [false, true].map(|one| (racks, one)));
        all.map(|(racks, reflectors)| plan(NODES_MAX, racks, reflectors))
    }

    #[test]
    fn no_address_and_no_name_is_given_twice() {
        for plan in shapes() {
            let gateways = plan.racks.iter().map(|rack| &rack.gateway);
            let hosts = plan.fabric().chain(plan.edge()).chain(gateways);
            let addresses: Vec<IpAddr> = hosts.flat_map(Host::addresses).collect();
            assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len());
            let namespaces = plan.namespaces();
            assert_eq!(namespaces.iter().collect::<BTreeSet<_>>().len(), namespaces.len());
            assert_eq!(plan.fabric().count() + plan.edge().count() + 2, namespaces.len());
            let asns: BTreeSet<u32> = plan.racks.iter().map(|rack| rack.asn).collect();
            assert_eq!(asns.len(), plan.racks.len());
        }
    }

    #[test]
    fn every_host_is_on_link_with_its_gateway() {
        for plan in shapes() {
            let fabric: [Prefix; 2] =
                ["172.30.255.0/24", "fd00:172:30::/64"].map(|text| text.parse().unwrap());
            for host in plan.fabric().chain(plan.edge()) {
                let segment = plan.rack_of(host).map_or(&fabric[..], |rack| &rack.cidrs);
                let gateway = plan.gateway_of(host).unwrap_or(host);
                for (cidr, address) in segment.iter().zip(host.addresses()) {
                    assert!(cidr.contains(address), "{host:?}");
                }
                for (cidr, address) in segment.iter().zip(gateway.addresses()) {
                    assert!(cidr.contains(address), "{host:?} by {gateway:?}");
                }
            }
        }
    }

    #[test]
    fn nodes_and_reflectors_are_spread_over_the_racks() {
        let spread = plan(5, Some(2), true);
        let racks = |hosts: &[Host]| -> Vec<String> {
            hosts.iter().filter_map(|host| host.rack.clone()).collect()
        };
        assert_eq!(racks(&spread.nodes), ["rack-1", "rack-2", "rack-1", "rack-2", "rack-1"]);
        assert_eq!(racks(&spread.reflectors), ["rack-1", "rack-2"]);
        assert_eq!(racks(&plan(1, Some(1), true).reflectors), ["rack-1", "rack-1"]);
        assert_eq!(spread.nodes[2].labels()[RACK_LABEL], "rack-1");
        assert!(plan(5, None, true).nodes[0].labels().is_empty());
    }

    #[test]
    fn without_racks_the_nodes_are_where_they_always_were() {
        let plan = plan(3, None, false);
        assert_eq!(plan.nodes[0].v4, Ipv4Addr::new(172, 30, 255, 11));
        assert_eq!(plan.nodes[2].v6.to_string(), "fd00:172:30::d");
        assert!(plan.racks.is_empty() && plan.reflectors.is_empty());
    }

    #[test]
    fn a_plan_has_room_for_what_is_asked() {
        let new = |nodes, racks| {
            ClusterPlan::new("viaduct", Shape { nodes, racks, reflectors: false }, 8080).map(drop)
        };
        for wrong in [0, NODES_MAX + 1, usize::MAX] {
            assert!(new(wrong, None).is_err(), "{wrong}");
        }
        for wrong in [0, 3, RACKS_MAX + 1, usize::MAX] {
            assert!(new(2, Some(wrong)).is_err(), "{wrong}");
        }
        assert!(new(RACKS_MAX, Some(RACKS_MAX)).is_ok());
    }
}
