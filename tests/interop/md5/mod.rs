//! RFC 2385: segments that are signed with a password.

mod with_bird;
mod with_frr;
mod with_gobgp;
mod with_others;
