//! RFC 4486 §4: a peer that tells more prefixes than it may.

mod with_bird;
mod with_frr;
mod with_gobgp;
mod with_others;
