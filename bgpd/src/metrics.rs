//! Metrics in the text format of Prometheus. Their number is bounded by peers.

use std::{fmt::Write, time::Instant};

use crate::status::{interface, plain};
use bgp_speaker::{PeerStatus, Speaker, State};

use crate::monitor::Counts;

pub(crate) struct Metric<T> {
    pub(crate) name: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) help: &'static str,
    pub(crate) value: fn(&T) -> u64,
}

const PEER_METRICS: [Metric<PeerStatus>; 9] = [
    Metric {
        name: "viaduct_bgp_peer_established",
        kind: "gauge",
        help: "Whether the session with the peer is Established.",
        value: |peer| u64::from(peer.state == State::Established),
    },
    Metric {
        name: "viaduct_bgp_peer_prefixes_received",
        kind: "gauge",
        help: "Prefixes the peer has told us of.",
        value: |peer| peer.prefixes_received as u64,
    },
    Metric {
        name: "viaduct_bgp_peer_prefixes_accepted",
        kind: "gauge",
        help: "Those of them that import has let pass.",
        value: |peer| peer.prefixes_accepted as u64,
    },
    Metric {
        name: "viaduct_bgp_peer_prefixes_sent",
        kind: "gauge",
        help: "Prefixes we have told the peer of.",
        value: |peer| peer.prefixes_sent as u64,
    },
    Metric {
        name: "viaduct_bgp_peer_prefixes_stale",
        kind: "gauge",
        help: "Prefixes kept from a session that was lost (RFC 4724).",
        value: |peer| peer.prefixes_stale as u64,
    },
    Metric {
        name: "viaduct_bgp_peer_messages_received_total",
        kind: "counter",
        help: "BGP messages received.",
        value: |peer| peer.messages_received,
    },
    Metric {
        name: "viaduct_bgp_peer_messages_sent_total",
        kind: "counter",
        help: "BGP messages sent.",
        value: |peer| peer.messages_sent,
    },
    Metric {
        name: "viaduct_bgp_peer_flaps_total",
        kind: "counter",
        help: "Sessions that were Established and are no more.",
        value: |peer| peer.flaps,
    },
    Metric {
        name: "viaduct_bgp_peer_prefix_limit_warnings_total",
        kind: "counter",
        help: "How often the peer has come near a limit of prefixes, or over it.",
        value: |peer| peer.limit_warnings,
    },
];

pub(crate) fn text(speaker: &Speaker, monitors: Counts, now: Instant) -> String {
    let peers = speaker.peer_statuses(now);
    let mut text = String::new();
    for Metric { name, kind, help, value } in PEER_METRICS {
        heading(&mut text, name, kind, help);
        for peer in &peers {
            let of = plain(peer.address);
            let value = value(peer);
            let mut line_of =
                |peer| line(&mut text, format_args!("{name}{{peer=\"{peer}\"}} {value}"));
            match interface(speaker.config(), peer.address) {
                Some(interface) => line_of(format_args!("{of}%{interface}")),
                None => line_of(format_args!("{of}")),
            }
        }
    }
    let counts = speaker.rib_counts();
    for (name, help, value) in [
        ("viaduct_bgp_rib_prefixes", "Prefixes in the table.", counts.prefixes),
        ("viaduct_bgp_rib_paths", "Paths in the table, of all peers and our own.", counts.paths),
    ] {
        heading(&mut text, name, "gauge", help);
        line(&mut text, format_args!("{name} {value}"));
    }
    watchers(&mut text, monitors);
    text
}

fn watchers(text: &mut String, counts: Counts) {
    let Counts { collectors, connected, cut_off, recorded, unrecorded } = counts;
    for (name, kind, help, value) in [
        ("viaduct_bmp_collectors", "gauge", "Collectors that are configured.", collectors as u64),
        ("viaduct_bmp_connected", "gauge", "Collectors that are connected.", connected as u64),
        ("viaduct_bmp_cut_off_total", "counter", "Times a collector did not read.", cut_off),
        ("viaduct_mrt_records_total", "counter", "Records of updates written.", recorded),
        ("viaduct_mrt_records_lost_total", "counter", "Records left out.", unrecorded),
    ] {
        heading(text, name, kind, help);
        line(text, format_args!("{name} {value}"));
    }
}

pub(crate) fn heading(text: &mut String, name: &str, kind: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}"));
    line(text, format_args!("# TYPE {name} {kind}"));
}

pub(crate) fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // A String takes whatever it is given.
    let _infallible = writeln!(text, "{line}");
}
