//! The speaker on real TCP: against itself and against the daemons of other makers, a folder for
//! each feature. Needs root for network namespaces, `ip` and the daemons; what is missing fails the
//! test that needs it.

#![expect(clippy::unwrap_used, reason = "all of this is tests")]

mod add_path;
mod advertisement_interval;
mod as_override;
mod bfd;
mod blackhole;
mod bmp;
mod communities;
mod confederation;
mod dynamic;
mod extended_next_hop;
mod four_octet;
mod graceful_restart;
mod gtsm;
mod lab;
mod limits;
mod local_as;
mod long_lived;
mod md5;
mod messages;
mod mrt;
mod operator;
mod planned_restart;
mod policy;
mod reflection;
mod roles;
mod route_refresh;
mod session;
mod shutdown;
mod tcp_ao;
mod unnumbered;
