//! Real speakers on a virtual network under a virtual clock.
//!
//! A [`Network`] runs the [`bgp_speaker::Speaker`]s of a [`Topology`]: connections with windows, delay,
//! loss and readers of any pace, links that are cut, processes that crash or hand over to the next, and
//! machines that lose their power. Sessions have filters, several paths for a prefix and long memories as
//! the seed says. Everything is an event in one queue, and every choice is made by [`Dice`]: a seed is a
//! run, octet by octet, and [`Network::trace`] says whether two runs were the same.
//!
//! [`disturb`] does to a network what happens to networks. When it has been left alone again, [`check`]
//! holds it against [`Model`], which works out by itself what every speaker must know.

#![expect(clippy::unwrap_used, reason = "a simulation fails by panicking")]

mod address;
mod check;
mod connection;
mod dice;
mod disturb;
mod filter;
mod model;
mod network;
mod node;
mod random;
mod topology;
mod trace;

pub use address::{NodeId, address_v4, address_v6, block_v4, block_v6, node_of};
pub use check::{check, check_reflection, check_without};
pub use dice::Dice;
pub use disturb::{disturb, put_right};
pub use filter::Filter;
pub use model::{Away, Known, Model, ModelPath, PathIds};
pub use network::{Link, Network};
pub use node::{Node, Pace};
pub use topology::{Session, Topology};
pub use trace::Trace;

/// How many times to do what is done `in_ci` times in CI: REPEAT as many, as in `make soak`.
pub fn repeat(in_ci: u64) -> u64 {
    in_ci * std::env::var("REPEAT").map_or(1, |text| text.parse::<u64>().unwrap())
}

/// Seeds to run: `in_ci` times REPEAT, or the one in SEED, as a failure says it.
pub fn seeds(in_ci: u64) -> Vec<u64> {
    match std::env::var("SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..repeat(in_ci)).collect(),
    }
}
