//! What has changed, or is told at first, by the tables that collectors see.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use bgp_rib::PathView;
use bgp_speaker::Config;
use bgp_wire::{AttributeSet, BgpNextHop, Nlri};
use viaduct_net::{Family, Prefix};

use super::{Monitored, updates::Updates};

/// Changes by table and peer; Loc-RIB's peer is none.
#[derive(Debug, Default)]
pub(super) struct Tables(pub(super) BTreeMap<(Monitored, Option<IpAddr>), Updates>);

impl Tables {
    fn of(&mut self, table: Monitored, peer: Option<IpAddr>) -> &mut Updates {
        self.0.entry((table, peer)).or_default()
    }

    /// A peer's path as it is now.
    pub(super) fn path(&mut self, peer: IpAddr, nlri: Nlri, path: Option<&PathView<'_>>) {
        let said = path.and_then(|path| Some((path, path.next_hop?)));
        match said {
            Some((path, next_hop)) => {
                let (attributes, came) = path.received.unwrap_or((path.attributes, next_hop));
                self.of(Monitored::AdjRibInPre, Some(peer)).announce(nlri, attributes, came);
                let post = self.of(Monitored::AdjRibInPost, Some(peer));
                if path.accepted {
                    post.announce(nlri, path.attributes, next_hop);
                } else {
                    post.withdraw(nlri);
                }
            }
            None => {
                self.of(Monitored::AdjRibInPre, Some(peer)).withdraw(nlri);
                self.of(Monitored::AdjRibInPost, Some(peer)).withdraw(nlri);
            }
        }
    }

    pub(super) fn chosen(
        &mut self,
        prefix: Prefix,
        attributes: &AttributeSet,
        next_hop: Option<BgpNextHop>,
        config: &Config,
    ) {
        let next_hop = next_hop.unwrap_or_else(|| own_next_hop(prefix.family(), config));
        self.of(Monitored::LocRib, None).announce(prefix.into(), attributes, next_hop);
    }

    pub(super) fn none_chosen(&mut self, prefix: Prefix) {
        self.of(Monitored::LocRib, None).withdraw(prefix.into());
    }
}

/// Of what we originate: ourselves.
fn own_next_hop(family: Family, config: &Config) -> BgpNextHop {
    let unspecified = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    config.addresses.of(family).unwrap_or(unspecified).into()
}
