//! IPv4 routes with IPv6 next hops (RFC 8950).

mod with_bird;
mod with_others;
