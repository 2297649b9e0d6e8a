//! RFC 9003: a session that is held down with a word for the operator of the other side.

mod with_bird;
mod with_frr;
mod with_gobgp;
mod with_others;
