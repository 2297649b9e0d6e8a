//! What we are to a neighbour in another AS.

use bgp_speaker::{LocalAs, RoleConfig};
use bgp_wire::Role;
use viaduct_api::v1alpha1::{self as api, BGPPeerSpec};
use viaduct_net::Asn;

use super::reader::{Reader, asn_problem};

/// More often no path is of use.
const MAX_OWN_AS: u8 = 10;

impl Reader<'_> {
    pub(super) fn role(&mut self, place: &str, spec: &BGPPeerSpec) -> Option<RoleConfig> {
        let Some(role) = spec.role else {
            if spec.strict_role {
                self.wrong(format!("{place}.strictRole"), "there is no role");
            }
            return None;
        };
        self.external_only(place, "role", spec);
        let role = match role {
            api::Role::Provider => Role::Provider,
            api::Role::RouteServer => Role::RouteServer,
            api::Role::RouteServerClient => Role::RouteServerClient,
            api::Role::Customer => Role::Customer,
            api::Role::Peer => Role::Peer,
        };
        Some(RoleConfig { role, strict: spec.strict_role })
    }

    pub(super) fn local_as(&mut self, place: &str, spec: &BGPPeerSpec) -> Option<LocalAs> {
        let local = spec.local_as.as_ref()?;
        let asn = Asn::new(local.asn);
        let same = (asn == self.asn()).then(|| format!("{asn} is our own AS anyway"));
        if let Some(problem) = asn_problem(asn).or(same) {
            self.wrong(format!("{place}.localAs.asn"), problem);
        }
        let own = self.asn().to_u32();
        if spec.asn == own || spec.range_asns.contains(&own) {
            self.wrong(format!("{place}.localAs"), "the neighbour is of our own AS");
        }
        let (prepend_received, replace_sent) = (!local.no_prepend, local.replace_as);
        Some(LocalAs { asn, prepend_received, replace_sent })
    }

    pub(super) fn allow_own_as(&mut self, place: &str, spec: &BGPPeerSpec) -> u8 {
        if spec.allow_own_as > 0 {
            self.external_only(place, "allowOwnAs", spec);
        }
        if spec.allow_own_as > MAX_OWN_AS {
            let problem = format!("{} times: at most {MAX_OWN_AS}", spec.allow_own_as);
            self.wrong(format!("{place}.allowOwnAs"), problem);
        }
        spec.allow_own_as
    }

    pub(super) fn as_override(&mut self, place: &str, spec: &BGPPeerSpec) -> bool {
        if spec.as_override {
            self.external_only(place, "asOverride", spec);
        }
        spec.as_override
    }

    fn external_only(&mut self, place: &str, field: &str, spec: &BGPPeerSpec) {
        if self.is_internal(spec) {
            let problem = format!("the neighbour is of our own AS {}", self.own_asn(spec));
            self.wrong(format!("{place}.{field}"), problem);
        }
    }
}
