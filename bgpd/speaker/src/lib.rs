//! A BGP speaker without I/O: every peer with its state machine and timers, graceful restart, and
//! the table of routes, in one struct that is told what happens and says what to do.
//!
//! [`Speaker`] takes inputs by its `handle_` functions, each with the time, and gives what follows
//! by its `poll_` functions. It opens no socket and reads no clock; its only randomness is a seed.
//! So a run is a function of its inputs, and can be repeated.

mod announce;
mod bfd;
mod collision;
mod config;
mod detail;
mod drive;
mod dynamic;
mod events;
mod fsm;
mod handover;
mod limits;
mod long_lived;
mod open;
mod peer;
mod receive;
mod restart;
mod rng;
mod role;
mod routing;
mod source;
mod speaker;
mod status;
mod timer;
mod times;
mod transport;
mod watch;

pub use announce::{MAX_UNWRITTEN_BYTES, SEND_BUFFER_BYTES};
pub use bfd::{BfdConfig, BfdSessionConfig};
pub use bgp_bfd::{DownReason, SessionKey};
pub use bgp_rib::{
    Action as PolicyAction, DecisionRules, MAX_MULTIPATH, Matches, Policy, PrefixMatch, Rule,
    Source, policy,
};
pub use collision::Direction;
pub use config::{
    BGP_PORT, Confederation, Config, LocalAddresses, MAX_PEERS, PeerConfig, PeerLink, RestartTime,
    RestartTimeError,
};
pub use detail::PeerDetail;
pub use dynamic::{MAX_RANGES, RangeAsns, RangeConfig};
pub use events::{Happening, MAX_WAITING_EVENTS, SpeakerEvent};
pub use fsm::State;
pub use handover::{
    Adopted, Handover, HandoverError, MAX_FRAME_BYTES, Successor, VERSION as HANDOVER_VERSION,
};
pub use limits::{LimitAction, PrefixLimits};
pub use role::{LocalAs, RoleConfig};
pub use source::{SourceConfig, SourceId};
pub use speaker::{Action, ConnId, Connected, Deadline, FibEvent, Speaker, Stop};
pub use status::{PeerStatus, SessionCounts};
pub use timer::Timer;
pub use times::{CONNECT_RETRY_TIME, IDLE_HOLD_TIME, MAX_IDLE_HOLD_TIME, PeerTimes};
pub use transport::{AoAlgorithm, AoKey, Password, PasswordError, Transport, Ttl};
pub use watch::{Observed, SessionEnd, SessionView, Watch};

#[cfg(test)]
mod tests;
