//! Peers of which only the interface is known.

use viaduct_api::v1alpha1::BGPPeerSpec;

use super::reader::Reader;

/// IFNAMSIZ of Linux, less the zero at the end.
const MAX_NAME_LEN: usize = 15;

/// What is wrong with the name of an interface (`dev_valid_name` of Linux).
pub(super) fn interface_problem(name: &str) -> Option<String> {
    let strange = |octet: u8| octet.is_ascii_whitespace() || matches!(octet, b'/' | b':' | 0);
    if name.is_empty() {
        Some("is empty".to_owned())
    } else if name.len() > MAX_NAME_LEN {
        Some(format!("{} octets: names of interfaces have {MAX_NAME_LEN} at most", name.len()))
    } else if name.bytes().any(strange) || matches!(name, "." | "..") {
        Some(format!("`{name}` is no name that an interface can have"))
    } else {
        None
    }
}

impl Reader<'_> {
    /// The neighbour is at the other end of a link, and cannot be further away.
    pub(super) fn on_link_only(&mut self, place: &str, spec: &BGPPeerSpec) {
        if spec.ebgp_multihop.is_some() {
            self.wrong(format!("{place}.ebgpMultihop"), "the neighbour of an interface is on link");
        }
        if spec.bfd.as_ref().is_some_and(|bfd| bfd.multihop) {
            self.wrong(format!("{place}.bfd.multihop"), "the neighbour of an interface is on link");
        }
    }
}
