//! BFD in the words of the admin socket, and as metrics.

use std::{collections::BTreeMap, time::Duration, time::Instant};

use bgp_bfd::{Bfd, Discard, Interval, Path, SessionStatus};
use viaduct_api::admin::{BfdSession, BfdStatus};

use super::Wanted;
use crate::{
    metrics::{Metric, heading, line},
    status::plain,
};

pub(super) fn status<'a>(
    bfd: &Bfd,
    wanted: &Wanted,
    problems: impl Iterator<Item = &'a str>,
    send_errors: u64,
) -> BfdStatus {
    let sessions = bfd.statuses(Instant::now()).into_iter().map(|status| {
        let interface = wanted.get(&status.key).and_then(|one| one.interface.as_deref());
        session(interface, status)
    });
    let discards = Discard::ALL.into_iter().map(|one| (one.name(), bfd.discards().of(one)));
    BfdStatus {
        sessions: sessions.collect(),
        discarded: discards.map(|(name, count)| (name.to_owned(), count)).collect(),
        send_errors,
        problems: problems.map(str::to_owned).collect(),
    }
}

fn session(interface: Option<&str>, status: SessionStatus) -> BfdSession {
    let micros = |time: Option<Duration>| time.map(|time| time.as_micros() as u64);
    let interval = |time: Interval| u64::from(time.micros());
    BfdSession {
        peer: plain(status.key.peer),
        interface: interface.map(str::to_owned),
        multihop: status.key.path == Path::Multihop,
        state: status.state.name().to_owned(),
        since_secs: status.since.as_secs(),
        diagnostic: status.diagnostic.to_string(),
        min_transmit_micros: interval(status.profile.min_tx()),
        min_receive_micros: interval(status.profile.min_rx()),
        multiplier: status.profile.multiplier().get(),
        remote_state: status.remote_state.map(|state| state.name().to_owned()),
        remote_diagnostic: status.remote_diagnostic.map(|one| one.to_string()),
        remote_min_transmit_micros: status.remote_min_tx.map(interval),
        remote_min_receive_micros: status.remote_min_rx.map(interval),
        remote_multiplier: status.remote_multiplier,
        remote_control_plane_independent: status.remote_control_plane_independent,
        local_discriminator: status.local_discriminator.get(),
        remote_discriminator: status.remote_discriminator.map(std::num::NonZeroU32::get),
        transmit_micros: micros(status.transmit_interval),
        detection_micros: micros(status.detection_time),
        packets_received: status.counters.received,
        packets_sent: status.counters.sent,
        ups: status.counters.ups,
        downs: status.counters.downs,
    }
}

const SESSION_METRICS: [Metric<BfdSession>; 4] = [
    Metric {
        name: "viaduct_bfd_session_up",
        kind: "gauge",
        help: "Whether the BFD session with the peer is Up.",
        value: |session| u64::from(session.state == bgp_bfd::State::Up.name()),
    },
    Metric {
        name: "viaduct_bfd_session_packets_received_total",
        kind: "counter",
        help: "BFD packets of the session that were taken.",
        value: |session| session.packets_received,
    },
    Metric {
        name: "viaduct_bfd_session_packets_sent_total",
        kind: "counter",
        help: "BFD packets of the session that were sent.",
        value: |session| session.packets_sent,
    },
    Metric {
        name: "viaduct_bfd_session_downs_total",
        kind: "counter",
        help: "How often the session was Up and is no more.",
        value: |session| session.downs,
    },
];

pub(crate) fn metrics(status: &BfdStatus) -> String {
    let mut text = String::new();
    for Metric { name, kind, help, value } in SESSION_METRICS {
        heading(&mut text, name, kind, help);
        for session in &status.sessions {
            let peer = session.name();
            line(&mut text, format_args!("{name}{{peer=\"{peer}\"}} {}", value(session)));
        }
    }
    let discarded: &BTreeMap<_, _> = &status.discarded;
    let name = "viaduct_bfd_packets_discarded_total";
    heading(&mut text, name, "counter", "BFD packets that were not taken, by the rule.");
    for (reason, count) in discarded {
        line(&mut text, format_args!("{name}{{reason=\"{reason}\"}} {count}"));
    }
    let name = "viaduct_bfd_send_errors_total";
    heading(&mut text, name, "counter", "BFD packets that the kernel has not sent.");
    line(&mut text, format_args!("{name} {}", status.send_errors));
    text
}
