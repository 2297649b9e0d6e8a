//! The decision among the usable paths of one prefix (RFC 4271 §9.1.2.2, RFC 4456 §9).
//!
//! It eliminates step by step and never orders paths: MED compares only within one neighbouring
//! AS, so "better than" is not transitive and any sorting by it would depend on the order of
//! arrival.

use std::net::IpAddr;

use bgp_wire::Origin;
use viaduct_net::Asn;

use crate::Reason;

/// What an operator may have otherwise in the decision. The default compares MED among the paths of one
/// neighbouring AS, always to the same end whatever came first ("deterministic MED"), and takes
/// paths through different ASes for equal where they are equally long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionRules {
    /// MED compares between all paths, whoever told them (RFC 4271 §9.1.2.2 c, "MAY").
    pub always_compare_med: bool,
    /// The most next hops of one route; one turns multipath off. Bounded by
    /// [`crate::MAX_MULTIPATH`].
    pub multipath: usize,
    /// Whether paths that are as good as the best may have another AS_PATH to be used beside it.
    pub multipath_relax: bool,
}

impl DecisionRules {
    pub const DEFAULT: Self =
        Self { always_compare_med: false, multipath: crate::MAX_MULTIPATH, multipath_relax: true };
}

impl Default for DecisionRules {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A usable path, as numbers. Smaller is better but for `local_pref`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    /// The caller's own number for the path.
    pub(crate) path: u32,
    /// RFC 9494 §4.3: used only where there is nothing else.
    pub(crate) long_lived_stale: bool,
    pub(crate) local: bool,
    pub(crate) internal: bool,
    pub(crate) local_pref: u32,
    pub(crate) as_path_len: u32,
    pub(crate) origin: Origin,
    /// The AS within which MEDs compare; `None` is our own.
    pub(crate) neighbor_as: Option<Asn>,
    pub(crate) med: u32,
    pub(crate) metric: u32,
    /// ORIGINATOR_ID where there is one.
    pub(crate) router_id: u32,
    pub(crate) cluster_list_len: u32,
    pub(crate) peer_address: IpAddr,
    /// Among those of one peer.
    pub(crate) path_id: u32,
}

/// Working memory and result of decisions, kept over many of them.
#[derive(Debug, Default)]
pub(crate) struct Decision {
    /// What became of each candidate: best, or the step that it lost by.
    pub(crate) reasons: Vec<Reason>,
    /// The candidates that only tie-breaks tell apart, best first: those of a multipath route.
    pub(crate) equal: Vec<usize>,
    lowest_med: Vec<(Option<Asn>, u32)>,
}

impl Decision {
    pub(crate) fn run(&mut self, candidates: &[Candidate]) {
        self.reasons.clear();
        self.reasons.resize(candidates.len(), Reason::Undecided);
        self.keep_lowest(candidates, Reason::LongLivedStale, |path| path.long_lived_stale);
        self.keep_lowest(candidates, Reason::LocallyOriginated, |path| !path.local);
        self.keep_lowest(candidates, Reason::LocalPref, |path| u32::MAX - path.local_pref);
        self.keep_lowest(candidates, Reason::AsPathLength, |path| path.as_path_len);
        self.keep_lowest(candidates, Reason::Origin, |path| path.origin);
        self.keep_lowest_med_of_each_neighbor(candidates);
        self.keep_lowest(candidates, Reason::ExternalOverInternal, |path| path.internal);
        self.keep_lowest(candidates, Reason::IgpMetric, |path| path.metric);
        self.break_ties(candidates);
    }

    fn keep_lowest<K: Ord>(
        &mut self,
        candidates: &[Candidate],
        reason: Reason,
        key: impl Fn(&Candidate) -> K,
    ) {
        let undecided = |reasons: &[Reason], i: usize| reasons[i] == Reason::Undecided;
        let alive = (0..candidates.len()).filter(|&i| undecided(&self.reasons, i));
        let Some(lowest) = alive.map(|i| key(&candidates[i])).min() else {
            return;
        };
        for (i, candidate) in candidates.iter().enumerate() {
            if undecided(&self.reasons, i) && key(candidate) > lowest {
                self.reasons[i] = reason;
            }
        }
    }

    /// Step c: of every neighbouring AS those with its lowest MED stay.
    fn keep_lowest_med_of_each_neighbor(&mut self, candidates: &[Candidate]) {
        self.lowest_med.clear();
        for (candidate, reason) in candidates.iter().zip(&self.reasons) {
            if *reason != Reason::Undecided {
                continue;
            }
            let known = self.lowest_med.iter_mut().find(|(asn, _)| *asn == candidate.neighbor_as);
            match known {
                Some((_, lowest)) => *lowest = candidate.med.min(*lowest),
                None => self.lowest_med.push((candidate.neighbor_as, candidate.med)),
            }
        }
        for (candidate, reason) in candidates.iter().zip(&mut self.reasons) {
            let lower = |(asn, lowest): &(Option<Asn>, u32)| {
                *asn == candidate.neighbor_as && *lowest < candidate.med
            };
            if *reason == Reason::Undecided && self.lowest_med.iter().any(lower) {
                *reason = Reason::MultiExitDisc;
            }
        }
    }

    /// Steps f and g, and between paths of one peer their identifiers: a total order.
    fn break_ties(&mut self, candidates: &[Candidate]) {
        self.equal.clear();
        let alive = (0..candidates.len()).filter(|&i| self.reasons[i] == Reason::Undecided);
        self.equal.extend(alive);
        let key = |path: &Candidate| {
            (path.router_id, path.cluster_list_len, path.peer_address, path.path_id)
        };
        self.equal.sort_unstable_by_key(|&i| key(&candidates[i]));
        let Some((&best, others)) = self.equal.split_first() else {
            return;
        };
        self.reasons[best] = Reason::Best;
        let best = &candidates[best];
        for &i in others {
            self.reasons[i] = if candidates[i].router_id != best.router_id {
                Reason::RouterId
            } else if candidates[i].cluster_list_len != best.cluster_list_len {
                Reason::ClusterListLength
            } else if candidates[i].peer_address != best.peer_address {
                Reason::PeerAddress
            } else {
                Reason::PathId
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// A path that is average in everything.
    fn path(i: u8) -> Candidate {
        Candidate {
            path: i.into(),
            long_lived_stale: false,
            local: false,
            internal: false,
            local_pref: 100,
            as_path_len: 3,
            origin: Origin::Egp,
            neighbor_as: Some(Asn::new(65001)),
            med: 10,
            metric: 10,
            router_id: 10,
            cluster_list_len: 1,
            peer_address: Ipv4Addr::new(192, 0, 2, i).into(),
            path_id: 0,
        }
    }

    fn decide(candidates: &[Candidate]) -> Vec<Reason> {
        let mut decision = Decision::default();
        decision.run(candidates);
        decision.reasons
    }

    #[test]
    fn every_step_decides_when_those_before_it_are_equal() {
        use Reason as R;
        type Better = fn(&mut Candidate);
        let steps: [(Better, Reason); 12] = [
            (|path| path.long_lived_stale = false, R::LongLivedStale),
            (|path| path.local = true, R::LocallyOriginated),
            (|path| path.local_pref = 101, R::LocalPref),
            (|path| path.as_path_len = 2, R::AsPathLength),
            (|path| path.origin = Origin::Igp, R::Origin),
            (|path| path.med = 9, R::MultiExitDisc),
            (|path| path.internal = false, R::ExternalOverInternal),
            (|path| path.metric = 9, R::IgpMetric),
            (|path| path.router_id = 9, R::RouterId),
            (|path| path.cluster_list_len = 0, R::ClusterListLength),
            (|path| path.peer_address = Ipv4Addr::new(192, 0, 2, 1).into(), R::PeerAddress),
            // Nothing better: the address was better already.
            (|_| {}, R::PeerAddress),
        ];
        for (i, (better, reason)) in steps.iter().enumerate() {
            // The loser is better in every later step but the address.
            let average = |i| Candidate { internal: true, long_lived_stale: true, ..path(i) };
            let (mut winner, mut loser) = (average(2), average(3));
            better(&mut winner);
            for (later, _) in steps.iter().skip(i + 1).filter(|(_, r)| *r != R::PeerAddress) {
                later(&mut loser);
            }
            assert_eq!(decide(&[winner, loser]), [R::Best, *reason], "{reason:?}");
            assert_eq!(decide(&[loser, winner]), [*reason, R::Best], "{reason:?}");
        }
    }

    #[test]
    fn the_last_word_has_the_path_identifier() {
        let numbered = |path_id| Candidate { path_id, ..path(2) };
        assert_eq!(decide(&[numbered(7), numbered(3)]), [Reason::PathId, Reason::Best]);
        assert_eq!(decide(&[path(3), numbered(9)]), [Reason::PeerAddress, Reason::Best]);
    }

    #[test]
    fn med_compares_within_a_neighbour_only_and_in_any_order() {
        // The textbook case: pairwise, A beats B (router id), B beats C (MED), C beats A (metric).
        let a = Candidate { neighbor_as: Some(Asn::new(1)), metric: 10, router_id: 1, ..path(1) };
        let b = Candidate { neighbor_as: Some(Asn::new(2)), med: 5, router_id: 2, ..path(2) };
        let c = Candidate {
            neighbor_as: Some(Asn::new(2)),
            med: 6,
            metric: 1,
            router_id: 3,
            ..path(3)
        };
        let all = [(a, Reason::Best), (b, Reason::RouterId), (c, Reason::MultiExitDisc)];
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let candidates = order.map(|i: usize| all[i].0);
            assert_eq!(decide(&candidates), order.map(|i| all[i].1), "{order:?}");
        }
    }

    #[test]
    fn equal_paths_are_told_apart_by_ties_only() {
        let mut decision = Decision::default();
        let far = Candidate { metric: 11, ..path(1) };
        let low_id = Candidate { router_id: 1, ..path(9) };
        decision.run(&[path(3), far, path(2), low_id]);
        assert_eq!(decision.equal, [3, 2, 0]);
        assert_eq!(
            decision.reasons,
            [Reason::RouterId, Reason::IgpMetric, Reason::RouterId, Reason::Best]
        );
        decision.run(&[]);
        assert!(decision.equal.is_empty());
    }
}
