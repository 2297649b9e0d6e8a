//! What a rule changes of a route.

use std::net::IpAddr;

use bgp_speaker::policy::{Change, ListChange, MedChange, NextHopChange, Ranged};
use viaduct_api::v1alpha1 as api;
use viaduct_net::Asn;

use super::{Direction, MAX_ADDED, MAX_POLICY_ENTRIES, MAX_PREPEND, Reader};

impl Reader<'_> {
    pub(super) fn change(
        &mut self,
        place: &str,
        change: &api::PolicyChange,
        direction: Direction,
        own: Asn,
    ) -> Change {
        let field = |name: &str| format!("{place}.{name}");
        Change {
            local_pref: change.local_pref,
            med: change.med.as_ref().and_then(|med| self.med(&field("med"), med)),
            communities: self.list_change(&field("communities"), &change.communities),
            large_communities: self
                .list_change(&field("largeCommunities"), &change.large_communities),
            extended_communities: self
                .list_change(&field("extendedCommunities"), &change.extended_communities),
            prepend: change.prepend.and_then(|one| self.prepend(&field("prepend"), one, own)),
            next_hop: change
                .next_hop
                .as_ref()
                .and_then(|hop| self.next_hop(field("nextHop"), hop, direction)),
        }
    }

    fn med(&mut self, place: &str, med: &api::MedChange) -> Option<MedChange> {
        match *med {
            api::MedChange { set: Some(med), add: None, remove: false } => {
                Some(MedChange::Set(med))
            }
            api::MedChange { set: None, add: Some(step), remove: false } => {
                Some(MedChange::Add(step))
            }
            api::MedChange { set: None, add: None, remove: true } => Some(MedChange::Remove),
            _ => {
                self.wrong(place.to_owned(), "one of set, add and remove is to be given");
                None
            }
        }
    }

    fn prepend(&mut self, place: &str, prepend: api::Prepend, own: Asn) -> Option<(Asn, u8)> {
        let api::Prepend { asn, count } = prepend;
        if !(1..=MAX_PREPEND).contains(&count) {
            self.wrong(format!("{place}.count"), format!("{count} times: from 1 to {MAX_PREPEND}"));
            return None;
        }
        let asn = asn.map_or(own, Asn::new);
        if asn.is_zero() {
            self.wrong(format!("{place}.asn"), "0 names no AS");
            return None;
        }
        Some((asn, count))
    }

    fn next_hop(
        &mut self,
        place: String,
        text: &str,
        direction: Direction,
    ) -> Option<NextHopChange> {
        let change = match text {
            "self" => NextHopChange::Own,
            "unchanged" => NextHopChange::Unchanged,
            text => match text.parse::<IpAddr>() {
                Ok(address) if is_next_hop(address) => NextHopChange::Address(address),
                Ok(address) => {
                    self.wrong(place, format!("{address} is no address of a router"));
                    return None;
                }
                Err(_) => {
                    self.wrong(
                        place,
                        format!("`{text}` is no address, and neither self nor unchanged"),
                    );
                    return None;
                }
            },
        };
        if direction == Direction::Import && !matches!(change, NextHopChange::Address(_)) {
            self.wrong(place, format!("{text} is for export: what comes in goes on to an address"));
            return None;
        }
        Some(change)
    }

    fn list_change<T: Ranged>(
        &mut self,
        place: &str,
        change: &Option<api::CommunityChange>,
    ) -> ListChange<T> {
        let Some(change) = change else { return ListChange::default() };
        let field = |name: &str| format!("{place}.{name}");
        let removed = self.communities(&field("remove"), &change.remove, MAX_POLICY_ENTRIES);
        ListChange {
            replace: change
                .replace
                .as_ref()
                .map(|list| self.communities(&field("replace"), list, MAX_ADDED)),
            remove: removed.into_iter().collect(),
            add: self.communities(&field("add"), &change.add, MAX_ADDED),
        }
    }
}

/// RFC 4271 §6.3: what could be a host's. Link-local addresses say nothing of which link.
fn is_next_hop(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast() && !link_local
}
