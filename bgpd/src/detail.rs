//! One peer in full, and the policies, in the words of the admin socket.

use std::net::IpAddr;

use bgp_speaker::{Direction, LimitAction, PeerConfig, PeerDetail, Policy, Speaker, Timer};
use bgp_wire::{AfiSafi, Capability, Families, SessionParameters};
use viaduct_api::admin;
use viaduct_net::Family;

use crate::status;

pub(crate) fn peer(detail: &PeerDetail<'_>) -> admin::PeerDetail {
    let PeerDetail { status, config, .. } = detail;
    let words = |open: Option<&bgp_wire::Open>| -> Vec<String> {
        open.map(|open| open.capabilities.iter().map(capability).collect()).unwrap_or_default()
    };
    admin::PeerDetail {
        connection: detail.direction.map(|direction| match direction {
            Direction::Incoming => "incoming".to_owned(),
            Direction::Outgoing => "outgoing".to_owned(),
        }),
        port: config.port,
        passive: config.passive,
        shutdown: config.shutdown,
        reflector_client: config.reflector_client,
        capabilities_sent: words(detail.sent),
        capabilities_received: words(detail.received),
        agreed: detail.agreed.map(agreed).unwrap_or_default(),
        end_of_rib: detail.end_of_rib.iter().collect(),
        stale: detail.stale.iter().collect(),
        timers: detail
            .timers
            .iter()
            .map(|(timer, left)| (timer_name(*timer), left.as_secs_f64()))
            .collect(),
        limits: limits(config),
        updates_received: status.updates_received,
        updates_sent: status.updates_sent,
        malformed: detail.malformed,
        limit_warnings: status.limit_warnings,
        octets_unwritten: status.unwritten,
        status: status::peer(config.link.as_ref().map(|link| &*link.name), status.clone()),
    }
}

/// The policies of a peer, which are still to be put into words.
#[derive(Debug)]
pub(crate) struct Policies {
    address: IpAddr,
    interface: Option<String>,
    import: Policy,
    export: Policy,
}

/// Of all peers, or of one.
pub(crate) fn policies(speaker: &Speaker, only: Option<IpAddr>) -> Vec<Policies> {
    let all = speaker.policies(only.map(|address| status::known_as(speaker.config(), address)));
    let named = all.into_iter().map(|(address, import, export)| Policies {
        address: status::plain(address),
        interface: status::interface(speaker.config(), address).map(str::to_owned),
        import,
        export,
    });
    named.collect()
}

pub(crate) fn policy(one: Policies) -> admin::PeerPolicy {
    let Policies { address, interface, import, export } = one;
    let rules = |policy: &Policy| policy.rules().iter().map(ToString::to_string).collect();
    admin::PeerPolicy { peer: address, interface, import: rules(&import), export: rules(&export) }
}

fn family(family: AfiSafi) -> String {
    match family.family() {
        Some(family) => family.to_string(),
        None => format!("AFI {} SAFI {}", family.afi, family.safi),
    }
}

fn capability(capability: &Capability) -> String {
    let named = |name: &str, families: Vec<String>| match families.is_empty() {
        true => name.to_owned(),
        false => format!("{name} ({})", families.join(", ")),
    };
    match capability {
        Capability::Multiprotocol(one) => named("multiprotocol", vec![family(*one)]),
        Capability::RouteRefresh => "route refresh".to_owned(),
        Capability::ExtendedMessage => "extended message".to_owned(),
        Capability::GracefulRestart(restart) => {
            let mut all = vec![format!("{} s", restart.restart_time_secs)];
            for (said, what) in [
                (restart.restart_state, "has restarted"),
                (restart.notification, "also over NOTIFICATION"),
            ] {
                all.extend(said.then(|| what.to_owned()));
            }
            all.extend(restart.families.iter().map(|one| {
                let kept = if one.forwarding { ", forwarding kept" } else { "" };
                format!("{}{kept}", family(one.family))
            }));
            named("graceful restart", all)
        }
        Capability::LongLived(families) => {
            let all = families.iter();
            let all = all.map(|one| format!("{} {} s", family(one.family), one.stale_time_secs));
            named("long-lived graceful restart", all.collect())
        }
        Capability::Role(role) => format!("role {role}"),
        Capability::FourOctetAs(asn) => format!("four-octet AS {asn}"),
        Capability::EnhancedRouteRefresh => "enhanced route refresh".to_owned(),
        Capability::AddPath(families) => {
            let way = |receive, send| match (receive, send) {
                (true, true) => "both ways",
                (true, false) => "receive",
                (false, true) => "send",
                (false, false) => "neither",
            };
            let all = families.iter();
            let all =
                all.map(|one| format!("{} {}", family(one.family), way(one.receive, one.send)));
            named("ADD-PATH", all.collect())
        }
        Capability::ExtendedNextHop(families) => {
            let all = families.iter().map(|(one, afi)| format!("{} over AFI {afi}", family(*one)));
            named("extended next hop", all.collect())
        }
        Capability::Unknown { code, .. } => format!("unknown {code}"),
    }
}

/// What holds on the session.
fn agreed(parameters: &SessionParameters) -> Vec<String> {
    let mut all = vec![format!("families {}", parameters.families)];
    for (is_so, what) in [
        (parameters.four_octet_as, "four-octet AS numbers"),
        (parameters.send_extended, "extended messages to the peer"),
        (parameters.receive_extended, "extended messages from the peer"),
        (parameters.extended_next_hop, "IPv6 next hops of IPv4"),
    ] {
        all.extend(is_so.then(|| what.to_owned()));
    }
    for (families, what) in [
        (parameters.add_path_receive, "several paths from the peer"),
        (parameters.add_path_send, "several paths to the peer"),
    ] {
        if families != Families::NONE {
            all.push(format!("{what} ({families})"));
        }
    }
    all
}

fn limits(config: &PeerConfig) -> Vec<admin::PrefixLimit> {
    let action = match config.prefix_limits.action {
        LimitAction::Warn => "warn".to_owned(),
        LimitAction::Close => "close".to_owned(),
        LimitAction::CloseFor(time) => format!("close for {} s", time.as_secs()),
    };
    let of = |family: Family| {
        let limit = config.prefix_limits.of(family)?;
        let warning_percent = config.prefix_limits.warning_percent;
        Some(admin::PrefixLimit { family, limit, warning_percent, action: action.clone() })
    };
    Family::ALL.into_iter().filter_map(of).collect()
}

fn timer_name(timer: Timer) -> String {
    match timer {
        Timer::ConnectRetry => "connect retry".to_owned(),
        Timer::IdleHold => "idle hold".to_owned(),
        Timer::Hold => "hold".to_owned(),
        Timer::Keepalive => "keepalive".to_owned(),
        Timer::SendHold => "send hold".to_owned(),
        Timer::Advertisement => "advertisement".to_owned(),
        Timer::Coalesce => "coalescing".to_owned(),
        Timer::Restart => "restart".to_owned(),
        Timer::Stale => "stale routes".to_owned(),
        Timer::LongLived(family) => format!("long-lived {family}"),
        Timer::SelectionDeferral => "selection deferral".to_owned(),
    }
}
