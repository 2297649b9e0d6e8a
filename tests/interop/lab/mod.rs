//! Namespaces, speakers of ours, and the daemons of other makers.

pub(crate) mod bird;
pub(crate) mod exabgp;
pub(crate) mod frr;
pub(crate) mod gobgp;
pub(crate) mod netns;
pub(crate) mod node;
pub(crate) mod openbgpd;
pub(crate) mod other;
pub(crate) mod pcap;
pub(crate) mod seen;
pub(crate) mod setup;
pub(crate) mod station;
