//! Neighbours that are known by their prefix.

pub(crate) mod with_bird;
mod with_frr;
