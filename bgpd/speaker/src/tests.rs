//! Speakers, wires and a clock in memory.

mod harness;

mod chaos;
mod collision;
mod exchange;
mod graceful_restart;
mod reconfigure;
mod reflection;
mod session;
