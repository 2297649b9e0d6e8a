//! What one side of a session does to routes, so plainly that the model does it by itself.

use bgp_rib::{
    Action, Matches, Policy, PrefixMatch, Rule,
    policy::{Change, CommunityRange},
};
use bgp_wire::Community;
use viaduct_net::{Asn, Prefix};

use crate::{
    Dice, ModelPath, NodeId,
    address::{block_v4, block_v6},
};

const MARKS: [Community; 3] =
    [Community::new(65000, 1), Community::new(65000, 2), Community::NO_EXPORT];

/// Of one direction. The default lets everything pass as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// What has this community is refused.
    pub refuses: Option<Community>,
    /// The blocks of a node are refused.
    pub refuses_of: Option<NodeId>,
    pub adds: Option<Community>,
    /// In front of the AS path, so often; on the way to other ASes only.
    pub prepends: u8,
}

impl Filter {
    pub fn any(dice: &mut Dice, nodes: usize) -> Self {
        let mark = |dice: &mut Dice| dice.one_in(2).then(|| dice.pick(&MARKS));
        Self {
            // Refusing what nobody else is to be told is for those who are.
            refuses: mark(dice).filter(|mark| *mark != Community::NO_EXPORT),
            refuses_of: dice.one_in(3).then(|| dice.below(nodes)),
            adds: mark(dice),
            prepends: 0,
        }
    }

    /// As a speaker is told it; `asn` is what is prepended.
    pub fn policy(&self, asn: Asn) -> Policy {
        let only = |mark| [CommunityRange::from(mark)].into_iter().collect();
        let marked =
            self.refuses.map(|mark| Matches { communities: only(mark), ..Matches::default() });
        let blocks = self.refuses_of.map(|node| {
            let blocks = [block_v4(node), block_v6(node)].map(PrefixMatch::exact);
            Matches { prefixes: blocks.to_vec().into(), ..Matches::default() }
        });
        let refused = marked.into_iter().chain(blocks);
        let mut change = Change::default();
        change.communities.add.extend(self.adds);
        change.prepend = (self.prepends > 0).then_some((asn, self.prepends));
        let rest = Rule { change: change.into(), ..Rule::new(Matches::default(), Action::Accept) };
        Policy::new(refused.map(|matches| Rule::new(matches, Action::Reject)).chain([rest]))
    }

    /// The same in the model's words.
    pub(crate) fn apply(&self, prefix: Prefix, asn: u32, mut path: ModelPath) -> Option<ModelPath> {
        let is_block = |node| prefix == block_v4(node) || prefix == block_v6(node);
        if self.refuses.is_some_and(|mark| path.communities.contains(&mark))
            || self.refuses_of.is_some_and(is_block)
        {
            return None;
        }
        path.communities.extend(self.adds);
        (0..self.prepends).for_each(|_| path.as_path.insert(0, asn));
        Some(path)
    }
}
