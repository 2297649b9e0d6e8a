//! RFC 5082: packets are taken only from so many hops away.

mod with_bird;
mod with_frr;
mod with_gobgp;
mod with_others;
