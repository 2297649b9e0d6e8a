//! Neighbours that are known by their prefix.

use std::collections::BTreeSet;

use bgp_speaker::{MAX_PEERS, MAX_RANGES, PeerConfig, RangeAsns, RangeConfig};
use viaduct_api::v1alpha1::{BGPPeerSpec, RangeKind};
use viaduct_net::{Asn, Prefix};

use super::reader::{Reader, asn_problem};

/// AS numbers of one range; the schema of the API says the same.
const MAX_RANGE_ASNS: usize = 1000;

impl Reader<'_> {
    /// The AS of a neighbour that is named, or the ASes of those of a range.
    pub(super) fn asns(&mut self, place: &str, spec: &BGPPeerSpec) -> (Asn, Option<RangeAsns>) {
        let asn = Asn::new(spec.asn);
        // That there is none has been said, where there should be one.
        if spec.asn != 0
            && let Some(problem) = asn_problem(asn)
        {
            self.wrong(format!("{place}.asn"), problem);
        }
        if spec.address_range.is_none() {
            return (asn, None);
        }
        let own = self.own_asn(spec);
        let asns = match (spec.asn, &spec.range_asns[..], spec.range_kind) {
            (0, [], Some(RangeKind::Internal)) => RangeAsns::Internal,
            (0, [], Some(RangeKind::External)) => RangeAsns::External,
            (0, list @ [_, ..], None) => self.range_asns(place, list, own),
            (1.., [], None) => RangeAsns::Any([asn].into()),
            // That it is none of these has been said.
            _ => RangeAsns::External,
        };
        let internal = match &asns {
            RangeAsns::Internal => true,
            RangeAsns::External => false,
            RangeAsns::Any(asns) => asns.contains(&own),
        };
        // What a peer of the range is until it says its AS: of the kind that all are.
        (if internal { own } else { Asn::new(0) }, Some(asns))
    }

    fn range_asns(&mut self, place: &str, list: &[u32], own: Asn) -> RangeAsns {
        let asns: BTreeSet<_> = list.iter().map(|asn| Asn::new(*asn)).collect();
        for (index, asn) in list.iter().enumerate() {
            if let Some(problem) = asn_problem(Asn::new(*asn)) {
                self.wrong(format!("{place}.rangeAsns[{index}]"), problem);
            }
        }
        let problem = if list.len() > MAX_RANGE_ASNS {
            format!("more than {MAX_RANGE_ASNS}")
        } else if asns.len() > 1 && asns.contains(&own) {
            format!("our own {own} beside others: internal and external need ranges of their own")
        } else {
            return RangeAsns::Any(asns);
        };
        self.wrong(format!("{place}.rangeAsns"), problem);
        RangeAsns::External
    }

    /// Puts a range in its place.
    pub(super) fn insert_range(
        &mut self,
        place: &str,
        spec: &BGPPeerSpec,
        prefix: Prefix,
        mut peer: PeerConfig,
        asns: RangeAsns,
    ) {
        let field = format!("{place}.addressRange");
        if prefix.address().is_multicast() {
            return self.wrong(field, format!("{prefix} has no address of a neighbour"));
        }
        if spec.range_limit == 0 || usize::from(spec.range_limit) > MAX_PEERS {
            let problem = format!("{}: from 1 to {MAX_PEERS}", spec.range_limit);
            return self.wrong(format!("{place}.rangeLimit"), problem);
        }
        if self.config.ranges.len() >= MAX_RANGES {
            return self.wrong(field, format!("more than {MAX_RANGES} ranges"));
        }
        peer.passive = true;
        let range = RangeConfig { peer, asns, limit: spec.range_limit.into() };
        if self.config.ranges.insert(prefix, range).is_some() {
            return self.wrong(field, format!("{prefix} is already the range of another"));
        }
        self.range_names.insert(prefix, place.to_owned());
    }
}
