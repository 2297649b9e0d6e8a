//! Neighbours that are known by their prefix.

mod with_bird;
mod with_frr;
