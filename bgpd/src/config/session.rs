//! What is agreed with a peer beside routes.

use std::time::Duration;

use bgp_speaker::{LimitAction, PeerTimes, PrefixLimits};
use bgp_wire::HoldTime;
use viaduct_api::v1alpha1::{BGPPeerSpec, MaxPrefixes, MaxPrefixesAction};

use super::reader::Reader;

/// The longest message that a shutdown can carry, in octets of UTF-8 (RFC 9003 §2).
const MAX_SHUTDOWN_MESSAGE: usize = 255;

/// Ten minutes, as other makers have it.
const MAX_ADVERTISEMENT_INTERVAL: Duration = Duration::from_secs(600);

impl Reader<'_> {
    pub(super) fn times(&mut self, place: &str, spec: &BGPPeerSpec, hold: HoldTime) -> PeerTimes {
        let default = PeerTimes::default();
        let mut secs = |field: &str, value: Option<u16>| {
            if value == Some(0) {
                self.wrong(format!("{place}.{field}"), "must not be 0");
            }
            value.filter(|secs| *secs > 0).map(|secs| Duration::from_secs(secs.into()))
        };
        let times = PeerTimes {
            connect_retry: secs("connectRetrySeconds", spec.connect_retry_seconds)
                .unwrap_or(default.connect_retry),
            keepalive: secs("keepaliveSeconds", spec.keepalive_seconds),
            idle_hold: secs("idleHoldSeconds", spec.idle_hold_seconds).unwrap_or(default.idle_hold),
            send_hold: secs("sendHoldSeconds", spec.send_hold_seconds),
            advertisement: spec
                .advertisement_interval_milliseconds
                .map_or(default.advertisement, |millis| Duration::from_millis(millis.into())),
        };
        if times.advertisement > MAX_ADVERTISEMENT_INTERVAL {
            let problem = format!("{} ms: at most 600000", times.advertisement.as_millis());
            self.wrong(format!("{place}.advertisementIntervalMilliseconds"), problem);
        }
        if let (Some(send), Some(hold)) = (times.send_hold, hold.duration())
            && send <= hold
        {
            let problem = format!("not longer than the hold time, {} s (RFC 9687)", hold.as_secs());
            self.wrong(format!("{place}.sendHoldSeconds"), problem);
        }
        times
    }

    pub(super) fn prefix_limits(&mut self, place: &str, spec: &MaxPrefixes) -> PrefixLimits {
        let field = |name: &str| format!("{place}.maxPrefixes.{name}");
        if spec.v4.is_none() && spec.v6.is_none() {
            self.wrong(format!("{place}.maxPrefixes"), "limits neither v4 nor v6");
        }
        if !(1..=100).contains(&spec.warning_percent) {
            let problem = format!("{} is no share of a limit: 1 to 100", spec.warning_percent);
            self.wrong(field("warningPercent"), problem);
        }
        let action = match (spec.action, spec.restart_seconds) {
            (MaxPrefixesAction::Warn, None) => LimitAction::Warn,
            (MaxPrefixesAction::Close, None) => LimitAction::Close,
            (MaxPrefixesAction::Close, Some(secs)) if secs > 0 => {
                LimitAction::CloseFor(Duration::from_secs(secs.into()))
            }
            (MaxPrefixesAction::Close, Some(_)) => {
                self.wrong(field("restartSeconds"), "must not be 0");
                LimitAction::Close
            }
            (MaxPrefixesAction::Warn, Some(_)) => {
                self.wrong(
                    field("restartSeconds"),
                    "a session that is not closed does not restart",
                );
                LimitAction::Warn
            }
        };
        let warning_percent = spec.warning_percent;
        PrefixLimits { v4: spec.v4, v6: spec.v6, warning_percent, action }
    }

    /// The words with which a session is held down.
    pub(super) fn shutdown_message(&mut self, place: &str, spec: &BGPPeerSpec) -> Option<String> {
        let message = spec.shutdown.as_ref()?.message.clone()?;
        if message.len() > MAX_SHUTDOWN_MESSAGE {
            let problem = format!("{} octets: at most 255 (RFC 9003)", message.len());
            self.wrong(format!("{place}.shutdown.message"), problem);
        }
        Some(message)
    }
}
