//! Speakers, wires and a clock in memory.

mod handover;
mod harness;

mod attempts;
mod bad_peer;
mod bfd;
mod coalesce;
mod collision;
mod confederation;
mod damage;
mod dynamic;
mod events;
mod exchange;
mod graceful_restart;
mod held_down;
mod limits;
mod link_local;
mod long_lived;
mod neighbours;
mod passive;
mod reconfigure;
mod reflection;
mod session;
mod stopped;
mod watch;
