//! What the data plane does with a packet or a socket, without a kernel.
//!
//! The programs in `ebpf/program` are entry points around this crate, and the tests run the same
//! code on the host: [`Packet`] and [`State`] stand for the socket buffer and the maps. Nothing
//! here allocates, recurses or loops without a constant bound, because the verifier must follow
//! every path.
//!
//! | entry | called from | does |
//! |---|---|---|
//! | [`uplink::ingress`] | TCX ingress of an uplink | translates what clients outside send, and what backends elsewhere answer |
//! | [`uplink::egress`] | TCX egress of an uplink | translates what backends in the host's network answer |
//! | [`pod::ingress`] | TCX ingress of a pod's veth | translates what backends of this node answer |
//! | [`socket::choose`] | cgroup connect | chooses a backend once per connection |
//! | [`socket::choose_for_datagram`] | cgroup sendmsg | keeps to one backend per socket |
//! | [`socket::original`] | cgroup recvmsg, getpeername | shows the service again |
#![no_std]

#[cfg(test)]
extern crate std;

mod affinity;
mod checksum;
mod flow;
mod hash;
mod packet;
mod parse;
pub mod pod;
mod refuse;
mod rewrite;
mod select;
pub mod socket;
mod state;
pub mod uplink;
mod verdict;

pub use checksum::Difference;
pub use flow::is_open;
pub use hash::hash;
pub use packet::{Layer4Sum, Packet};
pub use parse::{Parsed, Tuple, parse};
pub use select::{Frontend, find_frontend, select};
pub use state::{Flows, Services, Stage};
pub use verdict::Verdict;
