//! What a rule asks of a route.

use bgp_speaker::{Matches, PrefixMatch, Source, policy::AsPathPattern};
use bgp_wire::Origin;
use viaduct_api::v1alpha1 as api;
use viaduct_net::{Asn, Prefix};

use super::{MAX_AS_PATHS, MAX_POLICY_ENTRIES, MAX_POLICY_PREFIXES, Reader};

impl Reader<'_> {
    pub(super) fn matches(&mut self, place: &str, rule: &api::PolicyRule) -> Matches {
        let field = |name: &str| format!("{place}.{name}");
        let max = MAX_POLICY_ENTRIES;
        let within = |prefix: Prefix| PrefixMatch::or_longer(prefix);
        let peers = self.peers(&field("peers"), &rule.peers);
        let asns = self.list(&field("neighborAsns"), &rule.neighbor_asns, max, |number| {
            let asn = Asn::new(*number);
            if asn.is_zero() { Err("0 names no AS") } else { Ok(asn) }
        });
        Matches {
            prefixes: self.prefixes(&field("prefixes"), &rule.prefixes).into(),
            sources: rule.sources.iter().copied().map(source).collect(),
            peers: peers.into_iter().map(within).collect(),
            next_hops: self
                .list(&field("nextHops"), &rule.next_hops, max, |hop| Ok::<_, &str>(within(*hop)))
                .into(),
            neighbor_asns: asns,
            as_paths: self.list(&field("asPaths"), &rule.as_paths, MAX_AS_PATHS, |text| {
                AsPathPattern::new(text)
            }),
            origins: rule.origins.iter().copied().map(origin).collect(),
            communities: self
                .communities(&field("communities"), &rule.communities, max)
                .into_iter()
                .collect(),
            large_communities: self
                .communities(&field("largeCommunities"), &rule.large_communities, max)
                .into_iter()
                .collect(),
            extended_communities: self
                .communities(&field("extendedCommunities"), &rule.extended_communities, max)
                .into_iter()
                .collect(),
        }
    }

    /// Peers by name, address, or a prefix around it.
    fn peers(&mut self, place: &str, peers: &[String]) -> Vec<Prefix> {
        let names = std::mem::take(&mut self.peer_names);
        let found = self.list(place, peers, MAX_POLICY_ENTRIES, |text| {
            let named = || names.get(text.as_str()).copied();
            text.parse().ok().or_else(named).ok_or_else(|| {
                format!("`{text}` is neither an address or prefix nor the name of a BGPPeer")
            })
        });
        self.peer_names = names;
        found
    }

    fn prefixes(&mut self, place: &str, list: &[api::PrefixMatch]) -> Vec<PrefixMatch> {
        if list.len() > MAX_POLICY_PREFIXES {
            let problem = format!("{} entries, more than {MAX_POLICY_PREFIXES}", list.len());
            self.wrong(place.to_owned(), problem);
            return Vec::new();
        }
        let mut prefixes = Vec::with_capacity(list.len());
        for (index, matcher) in list.iter().enumerate() {
            prefixes.extend(self.prefix_match(&format!("{place}[{index}]"), matcher));
        }
        prefixes
    }

    fn prefix_match(&mut self, place: &str, matcher: &api::PrefixMatch) -> Option<PrefixMatch> {
        let prefix = matcher.prefix;
        let bits = prefix.family().bits();
        let min_len = matcher.min_length.unwrap_or(prefix.len());
        let max_len = matcher.max_length.unwrap_or(prefix.len());
        let field = |name: &str| format!("{place}.{name}");
        if min_len < prefix.len() {
            let problem = format!("{min_len} is shorter than {prefix} itself");
            self.wrong(field("minLength"), problem);
            return None;
        }
        if max_len > bits {
            let problem = format!("{max_len} is beyond the {bits} bits of {}", prefix.family());
            self.wrong(field("maxLength"), problem);
            return None;
        }
        if min_len > max_len {
            let problem = format!("{max_len} is less than the minimum of {min_len}");
            self.wrong(field("maxLength"), problem);
            return None;
        }
        Some(PrefixMatch { prefix, min_len, max_len })
    }
}

fn source(source: api::SourceMatch) -> Source {
    match source {
        api::SourceMatch::Local => Source::Local,
        api::SourceMatch::Internal => Source::Internal,
        api::SourceMatch::External => Source::External,
    }
}

fn origin(origin: api::OriginMatch) -> Origin {
    match origin {
        api::OriginMatch::Igp => Origin::Igp,
        api::OriginMatch::Egp => Origin::Egp,
        api::OriginMatch::Incomplete => Origin::Incomplete,
    }
}
