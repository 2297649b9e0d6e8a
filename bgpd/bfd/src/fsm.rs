//! The state machine of a session (RFC 5880 §6.2, §6.8.6), as a pure table.
//!
//! ```text
//!                         ┌──┐ received UP, ADMIN DOWN, expired
//!                         │  ▼
//!    received DOWN     ┌────────┐       received INIT
//!   ┌───────────────── │  Down  │ ─────────────────────┐
//!   │                  └────────┘                      │
//!   │   received ADMIN ▲        ▲ received ADMIN DOWN, │
//!   │   DOWN, expired  │        │ DOWN, expired        │
//!   ▼                  │        │                      ▼
//! ┌──────┐ ────────────┘        └───────────────── ┌──────┐
//! │ Init │            received INIT, UP            │  Up  │
//! └──────┘ ──────────────────────────────────────► └──────┘
//!   ▲  │ received DOWN                        received  ▲  │
//!   └──┘                                      INIT, UP  └──┘
//! ```
//!
//! From every state the operator's word leads to AdminDown, and out of it to Down.

use crate::Diagnostic;

/// RFC 5880 §4.1; the numbers are the packet's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    AdminDown,
    #[default]
    Down,
    Init,
    Up,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::AdminDown => "AdminDown",
            Self::Down => "Down",
            Self::Init => "Init",
            Self::Up => "Up",
        }
    }

    /// Only the lower two bits are looked at.
    pub const fn from_code(code: u8) -> Self {
        match code & 0b11 {
            0 => Self::AdminDown,
            1 => Self::Down,
            2 => Self::Init,
            _ => Self::Up,
        }
    }

    pub const fn code(self) -> u8 {
        match self {
            Self::AdminDown => 0,
            Self::Down => 1,
            Self::Init => 2,
            Self::Up => 3,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Input {
    /// A packet of the neighbour, which is in this state.
    Received(State),
    /// No packet has come for the Detection Time (§6.8.4).
    DetectionTimeExpired,
    /// The operator holds the session down (§6.8.16).
    Disable,
    /// The operator holds it down no more.
    Enable,
}

/// One step: the next state, and the reason that is told in [`crate::ControlPacket::diagnostic`]
/// where it is another.
pub(crate) const fn step(state: State, input: Input) -> (State, Option<Diagnostic>) {
    use Input::{Disable, Enable, Received};
    use State::{AdminDown, Down, Init, Up};
    const SIGNALED: Option<Diagnostic> = Some(Diagnostic::NeighborSignaledSessionDown);
    const EXPIRED: Option<Diagnostic> = Some(Diagnostic::ControlDetectionTimeExpired);
    const NONE: Option<Diagnostic> = Some(Diagnostic::NoDiagnostic);
    match (state, input) {
        (_, Disable) => (AdminDown, Some(Diagnostic::AdministrativelyDown)),
        (AdminDown, Enable) => (Down, NONE),
        (Down | Init | Up, Enable) => (state, None),
        // "The packet is discarded": nothing wakes a session that is held down.
        (AdminDown, Received(_) | Input::DetectionTimeExpired) => (AdminDown, None),

        (Down, Received(Down)) => (Init, NONE),
        (Down, Received(Init)) => (Up, NONE),
        (Down, Received(AdminDown | Up) | Input::DetectionTimeExpired) => (Down, None),

        (Init, Received(AdminDown)) => (Down, SIGNALED),
        (Init, Received(Down)) => (Init, None),
        (Init, Received(Init | Up)) => (Up, NONE),
        (Init, Input::DetectionTimeExpired) => (Down, EXPIRED),

        (Up, Received(AdminDown | Down)) => (Down, SIGNALED),
        (Up, Received(Init | Up)) => (Up, None),
        (Up, Input::DetectionTimeExpired) => (Down, EXPIRED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::{AdminDown, Down, Init, Up};

    const STATES: [State; 4] = [AdminDown, Down, Init, Up];

    /// The table of RFC 5880 §6.8.6, once more and in another form: rows are ours, columns theirs.
    #[test]
    fn what_the_neighbour_says() {
        let table = [
            (AdminDown, [AdminDown, AdminDown, AdminDown, AdminDown]),
            (Down, [Down, Init, Up, Down]),
            (Init, [Down, Init, Up, Up]),
            (Up, [Down, Down, Up, Up]),
        ];
        for (ours, next) in table {
            for (theirs, next) in STATES.into_iter().zip(next) {
                let step = step(ours, Input::Received(theirs));
                assert_eq!(step.0, next, "{ours:?} {theirs:?}");
                assert_eq!(step.1.is_some(), ours != next, "{ours:?} {theirs:?}");
                if ours != next && next == Down {
                    assert_eq!(step.1, Some(Diagnostic::NeighborSignaledSessionDown));
                }
            }
        }
    }

    #[test]
    fn silence_takes_down_what_was_coming_or_up() {
        for state in [Init, Up] {
            let expired = Some(Diagnostic::ControlDetectionTimeExpired);
            assert_eq!(step(state, Input::DetectionTimeExpired), (Down, expired));
        }
        for state in [AdminDown, Down] {
            assert_eq!(step(state, Input::DetectionTimeExpired), (state, None));
        }
    }

    #[test]
    fn the_operator_holds_down_from_everywhere_and_lets_go() {
        for state in STATES {
            let told = Some(Diagnostic::AdministrativelyDown);
            assert_eq!(step(state, Input::Disable), (AdminDown, told));
        }
        assert_eq!(step(AdminDown, Input::Enable).0, Down);
        assert_eq!(step(Up, Input::Enable), (Up, None));
    }

    #[test]
    fn codes_are_the_packets() {
        for (code, state) in (0..).zip(STATES) {
            assert_eq!((State::from_code(code), state.code()), (state, code));
        }
    }
}
