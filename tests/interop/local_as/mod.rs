//! RFC 7705: another AS of ours towards a peer.

mod with_bird;
mod with_frr;
