//! bgp-wire
