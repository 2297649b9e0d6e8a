//! Topologies as a seed makes them.

use std::net::Ipv4Addr;

use bgp_wire::{PeerKind, Role};
use viaduct_net::Prefix;

use crate::{Dice, Filter, Topology, address::address_v6};

impl Topology {
    /// One of them all, with sessions over both families, some passive at one end, and prefixes that
    /// several originate; sessions with several paths, filters and long memories.
    pub fn any(dice: &mut Dice) -> Self {
        let mut all = match dice.below(10) {
            0 => Self::mesh(2 + dice.below(5)),
            1 => Self::reflection(1, 2 + dice.below(5), false),
            2 => Self::reflection(2, 2 + dice.below(5), false),
            3 => Self::reflection(2 + dice.below(2), 2 + dice.below(4), true),
            4 => Self::hierarchy(1 + dice.below(3), 2 + dice.below(4)),
            5 => Self::ring(3 + dice.below(4)),
            6 => Self::fabric(1 + dice.below(3), 2 + dice.below(3)),
            7 => Self::borders(2 + dice.below(3)),
            _ => {
                let others: Vec<_> = (0..1 + dice.below(3)).map(|_| 1 + dice.below(3)).collect();
                Self::confederation(1 + dice.below(3), &others)
            }
        };
        all.set_sessions(dice);
        if all.confederation.is_none() {
            all.share_prefixes(dice);
        }
        all
    }

    fn set_sessions(&mut self, dice: &mut Dice) {
        let (several, filters, roles) = (dice.below(3), dice.one_in(2), dice.one_in(3));
        let count = self.nodes.len();
        let pairs: Vec<_> = self.pairs().collect();
        for (a, b) in pairs {
            let add_path = several == 2 || several == 1 && dice.one_in(2);
            let over_v6 = dice.one_in(2);
            let passive = dice.below(6);
            let role = dice.pick(&[Role::Provider, Role::Customer, Role::Peer]);
            let role = Some(role).filter(|_| roles && self.kind(a, b) == PeerKind::External);
            for (node, other, own, role) in
                [(a, b, 0, role), (b, a, 1, role.map(Role::counterpart))]
            {
                let is_external = self.kind(node, other) == PeerKind::External;
                let session = self.nodes[node].sessions.get_mut(&other).unwrap();
                (session.over_v6, session.passive) = (over_v6, passive == own);
                (session.add_path, session.long_lived) = (add_path, !dice.one_in(4));
                session.role = role;
                if filters && dice.one_in(3) {
                    session.import = Filter::any(dice, count);
                    session.export = Filter::any(dice, count);
                    session.export.prepends = if is_external { dice.below(3) as u8 } else { 0 };
                }
            }
        }
    }

    /// Prefixes that several originate.
    fn share_prefixes(&mut self, dice: &mut Dice) {
        for i in 0..dice.below(4) {
            let shared: [Prefix; 2] = [
                Prefix::new(Ipv4Addr::new(198, 51, 100, i as u8).into(), 32).unwrap(),
                Prefix::new(address_v6(0x1_0000 + i).into(), 128).unwrap(),
            ];
            for _ in 0..1 + dice.below(3) {
                let node = dice.below(self.nodes.len());
                self.nodes[node].originations.insert(shared[i % 2]);
            }
        }
    }
}
