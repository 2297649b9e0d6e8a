//! The speaker on real TCP: against itself, and against BIRD 2. Needs root for network namespaces,
//! and `bird`, `birdc` and `ip`; what is missing fails the test that needs it.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod bird;
mod netns;
mod node;
mod reflection;
mod shells;
mod with_bird;
