use std::net::IpAddr;

use viaduct_net::{Family, IfIndex, Prefix, Underlay, UnderlayRoute};

/// The kernel's routes that are not ours, searched by longest match.
#[derive(Debug)]
pub(crate) struct UnderlayTable {
    /// Sorted by prefix.
    routes: Underlay,
    /// The lengths that occur, longest first, of each family.
    lengths_v4: Vec<u8>,
    lengths_v6: Vec<u8>,
}

impl Default for UnderlayTable {
    fn default() -> Self {
        Self::new(Underlay::from([]))
    }
}

impl UnderlayTable {
    pub(crate) fn new(routes: Underlay) -> Self {
        let routes = if routes.is_sorted() {
            routes
        } else {
            let mut sorted = routes.to_vec();
            sorted.sort_unstable();
            sorted.into()
        };
        let lengths = |family| {
            let of_family = routes.iter().filter(|route| route.prefix.family() == family);
            let mut lengths: Vec<_> = of_family.map(|route| route.prefix.len()).collect();
            lengths.sort_unstable_by(|a, b| b.cmp(a));
            lengths.dedup();
            lengths
        };
        let (lengths_v4, lengths_v6) = (lengths(Family::V4), lengths(Family::V6));
        Self { routes, lengths_v4, lengths_v6 }
    }

    pub(crate) fn routes(&self) -> &Underlay {
        &self.routes
    }

    /// The routes of the longest prefix around the address that have its lowest metric: several
    /// where the underlay itself is multipath. Never empty.
    pub(crate) fn lookup(&self, address: IpAddr) -> Option<Vec<UnderlayRoute>> {
        let lengths = match Family::of(address) {
            Family::V4 => &self.lengths_v4,
            Family::V6 => &self.lengths_v6,
        };
        let host = Prefix::host(address);
        lengths.iter().find_map(|&len| {
            let prefix = host.truncate(len);
            let start = self.routes.partition_point(|route| route.prefix < prefix);
            let same = self.routes[start..].iter().take_while(|route| route.prefix == prefix);
            let metric = same.clone().map(|route| route.metric).min()?;
            Some(same.filter(|route| route.metric == metric).copied().collect())
        })
    }

    /// Whether the link is there to be used: some route leads over it.
    pub(crate) fn has_interface(&self, interface: IfIndex) -> bool {
        self.routes.iter().any(|route| route.interface == interface)
    }
}
