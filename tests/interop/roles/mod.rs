//! RFC 9234: roles, and routes that go to customers only.

mod with_bird;
mod with_frr;
mod with_openbgpd;
