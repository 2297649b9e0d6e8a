//! The finite state machine of one connection (RFC 4271 §8.2.2), as a pure table.
//!
//! ```text
//!                 Start            TcpConnected                BgpOpen              KeepAliveMsg
//!   ┌──────┐ ───────────► ┌─────────┐ ───────► ┌──────────┐ ──────────► ┌─────────────┐ ────────► ┌─────────────┐
//!   │ Idle │              │ Connect │          │ OpenSent │             │ OpenConfirm │           │ Established │
//!   └──────┘ ──────┐      └─────────┘          └──────────┘             └─────────────┘           └─────────────┘
//!      ▲    Start  │   fails │   ▲ ConnectRetry      ▲  │ fails               │                         │
//!      │    Passive│         ▼   │ TimerExpires      │  │                     │                         │
//!      │           │      ┌────────┐  TcpConnected   │  │                     │                         │
//!      │           └────► │ Active │ ────────────────┘  │                     │                         │
//!      │                  └────────┘ ◄──────────────────┘                     │                         │
//!      └───────── Stop, errors, timers, NOTIFICATION: from every state ───────┴─────────────────────────┘
//! ```
//!
//! What differs from the letter of RFC 4271:
//! - DelayOpen is not offered, so NotifMsgVerErr needs no row of its own.
//! - IdleHoldTimer with back-off stands for DampPeerOscillations (§8.1.1), and is always on.
//! - A keepalive that arrives before its time is an FSM error with the subcode of RFC 6608.

/// RFC 4271 §8.2.2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    #[default]
    Idle,
    Connect,
    Active,
    OpenSent,
    OpenConfirm,
    Established,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "Idle",
            Self::Connect => "Connect",
            Self::Active => "Active",
            Self::OpenSent => "OpenSent",
            Self::OpenConfirm => "OpenConfirm",
            Self::Established => "Established",
        }
    }
}

/// RFC 4271 §8.1; the numbers are the RFC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// 1, 3, 13: ManualStart, AutomaticStart, IdleHoldTimer_Expires.
    Start,
    /// 4, 5: the same, waiting for the peer to connect.
    StartPassive,
    /// 2, 8: ManualStop, AutomaticStop.
    Stop,
    /// 8: AutomaticStop by BFD (RFC 9384 §3), after which the machine starts again.
    BfdDown,
    /// 9
    ConnectRetryTimerExpires,
    /// 10
    HoldTimerExpires,
    /// 11
    KeepaliveTimerExpires,
    /// 29 (RFC 9687)
    SendHoldTimerExpires,
    /// 16, 17: Tcp_CR_Acked, TcpConnectionConfirmed.
    TcpConnected,
    /// 18
    TcpConnectionFails,
    /// 19: an OPEN that was found acceptable.
    BgpOpen,
    /// 21, 22, 28: BGPHeaderErr, BGPOpenMsgErr, UpdateMsgErr.
    MessageError,
    /// 23
    OpenCollisionDump,
    /// 24, 25: NotifMsgVerErr, NotifMsg.
    NotifMsg,
    /// 26
    KeepAliveMsg,
    /// 27, and ROUTE-REFRESH, which is bound to the same states (RFC 2918 §4).
    UpdateMsg,
}

/// What the machine wants done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    StartConnectRetryTimer,
    StopConnectRetryTimer,
    /// Begin a TCP connection to the peer.
    Connect,
    /// Drop the TCP connection, or give up the attempt.
    Drop,
    /// Send OPEN and wait for the peer's with a large hold timer.
    SendOpen,
    SendKeepalive,
    /// Send the NOTIFICATION that the event brought with it.
    SendNotification,
    /// Send the NOTIFICATION of an FSM error (RFC 6608) for the state.
    SendFsmError,
    /// Hold and keepalive timers take their negotiated times.
    StartSessionTimers,
    RestartHoldTimer,
    RestartKeepaliveTimer,
    /// Stop every timer and start IdleHoldTimer, which starts the machine again.
    Hold,
    /// Stop every timer for good.
    Rest,
    SessionUp,
    /// While the connection is still there to be asked what was agreed on it.
    SessionDown,
    ReceiveUpdate,
}

use Effect::{
    Connect, Drop, Hold, ReceiveUpdate, Rest, RestartHoldTimer, RestartKeepaliveTimer,
    SendFsmError, SendKeepalive, SendNotification, SendOpen, SessionDown, SessionUp,
    StartConnectRetryTimer, StartSessionTimers, StopConnectRetryTimer,
};

/// One step: the next state, and what is to be done on the way.
pub(crate) const fn step(state: State, event: Event) -> (State, &'static [Effect]) {
    use Event as E;
    use State::{Active, Connect as Connecting, Established, Idle, OpenConfirm, OpenSent};
    match (state, event) {
        (Idle, E::Start) => (Connecting, &[StartConnectRetryTimer, Connect]),
        (Idle, E::StartPassive) => (Active, &[]),
        // "The state machine remains in Idle": nothing is there to be stopped or to fail.
        (Idle, E::Stop) => (Idle, &[Rest]),
        // BFD ends sessions, not attempts (RFC 5882 §4.1: connections may come up without it).
        (Idle | Connecting | Active | OpenSent | OpenConfirm, E::BfdDown) => (state, &[]),
        // A connection that comes while we hold is refused (§8.2.2, Idle state).
        (Idle, E::TcpConnected) => (Idle, &[Drop]),
        (
            Idle,
            E::ConnectRetryTimerExpires
            | E::HoldTimerExpires
            | E::KeepaliveTimerExpires
            | E::SendHoldTimerExpires
            | E::TcpConnectionFails
            | E::BgpOpen
            | E::MessageError
            | E::OpenCollisionDump
            | E::NotifMsg
            | E::KeepAliveMsg
            | E::UpdateMsg,
        ) => (Idle, &[]),

        (
            Connecting | Active | OpenSent | OpenConfirm | Established,
            E::Start | E::StartPassive,
        ) => (state, &[]),

        (Connecting, E::Stop) => (Idle, &[Drop, Rest]),
        (Connecting, E::ConnectRetryTimerExpires) => {
            (Connecting, &[Drop, StartConnectRetryTimer, Connect])
        }
        (Connecting, E::TcpConnected) => (OpenSent, &[StopConnectRetryTimer, SendOpen]),
        (Connecting, E::TcpConnectionFails) => (Active, &[StartConnectRetryTimer]),

        (Active, E::Stop) => (Idle, &[Drop, Rest]),
        (Active, E::ConnectRetryTimerExpires) => (Connecting, &[StartConnectRetryTimer, Connect]),
        (Active, E::TcpConnected) => (OpenSent, &[StopConnectRetryTimer, SendOpen]),
        (Active, E::TcpConnectionFails) => (Active, &[StartConnectRetryTimer]),

        // No connection is there that could bring these.
        (
            Connecting | Active,
            E::HoldTimerExpires
            | E::KeepaliveTimerExpires
            | E::SendHoldTimerExpires
            | E::BgpOpen
            | E::MessageError
            | E::OpenCollisionDump
            | E::NotifMsg
            | E::KeepAliveMsg
            | E::UpdateMsg,
        ) => (Idle, &[Drop, Hold]),

        (OpenSent, E::Stop) => (Idle, &[SendNotification, Drop, Rest]),
        (OpenSent, E::HoldTimerExpires | E::MessageError | E::OpenCollisionDump) => {
            (Idle, &[SendNotification, Drop, Hold])
        }
        (OpenSent, E::TcpConnectionFails) => (Active, &[Drop, StartConnectRetryTimer]),
        (OpenSent, E::BgpOpen) => (OpenConfirm, &[SendKeepalive, StartSessionTimers]),
        (OpenSent, E::NotifMsg | E::SendHoldTimerExpires) => (Idle, &[Drop, Hold]),
        (
            OpenSent,
            E::ConnectRetryTimerExpires
            | E::KeepaliveTimerExpires
            | E::TcpConnected
            | E::KeepAliveMsg
            | E::UpdateMsg,
        ) => (Idle, &[SendFsmError, Drop, Hold]),

        (OpenConfirm, E::Stop) => (Idle, &[SendNotification, Drop, Rest]),
        (OpenConfirm, E::HoldTimerExpires | E::MessageError | E::OpenCollisionDump) => {
            (Idle, &[SendNotification, Drop, Hold])
        }
        (OpenConfirm, E::KeepaliveTimerExpires) => {
            (OpenConfirm, &[SendKeepalive, RestartKeepaliveTimer])
        }
        (OpenConfirm, E::TcpConnectionFails | E::NotifMsg | E::SendHoldTimerExpires) => {
            (Idle, &[Drop, Hold])
        }
        (OpenConfirm, E::KeepAliveMsg) => (Established, &[RestartHoldTimer, SessionUp]),
        (
            OpenConfirm,
            E::ConnectRetryTimerExpires | E::TcpConnected | E::BgpOpen | E::UpdateMsg,
        ) => (Idle, &[SendFsmError, Drop, Hold]),

        (Established, E::Stop) => (Idle, &[SendNotification, SessionDown, Drop, Rest]),
        (
            Established,
            E::BfdDown | E::HoldTimerExpires | E::MessageError | E::OpenCollisionDump,
        ) => (Idle, &[SendNotification, SessionDown, Drop, Hold]),
        // The NOTIFICATION would stand behind what the peer does not read (RFC 9687 §3.3).
        (Established, E::TcpConnectionFails | E::NotifMsg | E::SendHoldTimerExpires) => {
            (Idle, &[SessionDown, Drop, Hold])
        }
        (Established, E::KeepaliveTimerExpires) => {
            (Established, &[SendKeepalive, RestartKeepaliveTimer])
        }
        (Established, E::KeepAliveMsg) => (Established, &[RestartHoldTimer]),
        (Established, E::UpdateMsg) => (Established, &[RestartHoldTimer, ReceiveUpdate]),
        (Established, E::ConnectRetryTimerExpires | E::TcpConnected | E::BgpOpen) => {
            (Idle, &[SendFsmError, SessionDown, Drop, Hold])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 6] = [
        State::Idle,
        State::Connect,
        State::Active,
        State::OpenSent,
        State::OpenConfirm,
        State::Established,
    ];
    const EVENTS: [Event; 16] = [
        Event::Start,
        Event::StartPassive,
        Event::Stop,
        Event::BfdDown,
        Event::ConnectRetryTimerExpires,
        Event::HoldTimerExpires,
        Event::KeepaliveTimerExpires,
        Event::SendHoldTimerExpires,
        Event::TcpConnected,
        Event::TcpConnectionFails,
        Event::BgpOpen,
        Event::MessageError,
        Event::OpenCollisionDump,
        Event::NotifMsg,
        Event::KeepAliveMsg,
        Event::UpdateMsg,
    ];

    #[test]
    fn the_way_up() {
        let mut state = State::Idle;
        for (event, next) in [
            (Event::Start, State::Connect),
            (Event::TcpConnectionFails, State::Active),
            (Event::ConnectRetryTimerExpires, State::Connect),
            (Event::TcpConnected, State::OpenSent),
            (Event::BgpOpen, State::OpenConfirm),
            (Event::KeepAliveMsg, State::Established),
        ] {
            state = step(state, event).0;
            assert_eq!(state, next, "{event:?}");
        }
    }

    #[test]
    fn a_session_that_ends_is_always_told_and_one_that_does_not_never() {
        for state in STATES {
            for event in EVENTS {
                let (next, effects) = step(state, event);
                let ends = state == State::Established && next != State::Established;
                assert_eq!(effects.contains(&SessionDown), ends, "{state:?} {event:?}");
                let begins = state != State::Established && next == State::Established;
                assert_eq!(effects.contains(&SessionUp), begins, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn idle_is_entered_with_a_timer_or_for_good_and_without_a_connection() {
        for state in STATES {
            for event in EVENTS {
                let (next, effects) = step(state, event);
                if state == State::Idle || next != State::Idle {
                    continue;
                }
                assert!(effects.contains(&Drop), "{state:?} {event:?}");
                let rests = effects.contains(&Rest);
                assert_eq!(rests, event == Event::Stop, "{state:?} {event:?}");
                assert_ne!(rests, effects.contains(&Hold), "{state:?} {event:?}");
            }
        }
    }
}
