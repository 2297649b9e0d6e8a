//! What TCP is asked for with a peer.

use std::num::NonZeroU8;

use bgp_speaker::{Transport, Ttl};
use viaduct_api::v1alpha1::BGPPeerSpec;

use super::reader::Reader;

impl Reader<'_> {
    pub(super) fn transport(&mut self, place: &str, spec: &BGPPeerSpec) -> Transport {
        Transport {
            ttl: self.ttl(place, spec),
            md5: self.password(place, spec),
            ao: self.tcp_ao(place, spec),
        }
    }

    fn ttl(&mut self, place: &str, spec: &BGPPeerSpec) -> Ttl {
        let external = !self.is_internal(spec);
        match (spec.ttl_security, spec.ebgp_multihop) {
            (None, None) => return Ttl::Kernel,
            (Some(hops), None) => match NonZeroU8::new(hops) {
                Some(hops) if hops.get() < u8::MAX => return Ttl::Security { hops },
                _ => self.wrong(
                    format!("{place}.ttlSecurity"),
                    format!("{hops} hops: from 1, a neighbour on the link, to 254 (RFC 5082)"),
                ),
            },
            (None, Some(ttl)) => match NonZeroU8::new(ttl) {
                Some(ttl) if external => return Ttl::Send(ttl),
                Some(_) => self.wrong(
                    format!("{place}.ebgpMultihop"),
                    "the neighbour is of our own AS, where packets go as far as they must",
                ),
                None => self.wrong(format!("{place}.ebgpMultihop"), "must not be 0"),
            },
            (Some(_), Some(_)) => self.wrong(
                format!("{place}.ebgpMultihop"),
                "stands beside ttlSecurity, which says the same of both directions",
            ),
        }
        Ttl::Kernel
    }
}
