//! GoBGP.

use std::process::Command;

use anyhow::Result;

use super::{Place, neighbours, says};
use crate::bgp::{
    layout::{DAEMON, DAEMON_ASN, Layout},
    table::HOLD_TIME_SECS,
};

pub(super) fn version() -> Result<String> {
    says("gobgpd", "--version")
}

/// After a reset it waits a second, not five.
pub(super) fn configure(place: &Place, layout: &Layout) -> Result<()> {
    let mut text = format!(
        "[global.config]\nas = {DAEMON_ASN}\nrouter-id = \"{DAEMON}\"\n\
         local-address-list = [\"{DAEMON}\"]\n"
    );
    for peer in neighbours(layout) {
        text += &format!(
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {}\n\
             [neighbors.transport.config]\npassive-mode = true\n\
             [neighbors.timers.config]\nhold-time = {HOLD_TIME_SECS}\nkeepalive-interval = {}\n\
             idle-hold-time-after-reset = 1\n",
            peer.address,
            peer.asn,
            HOLD_TIME_SECS / 3,
        );
        if layout.reflection {
            text += &format!(
                "[neighbors.route-reflector.config]\nroute-reflector-client = true\n\
                 route-reflector-cluster-id = \"{DAEMON}\"\n"
            );
        }
    }
    place.write("gobgpd.toml", &text).map(drop)
}

pub(super) fn command(place: &Place) -> Command {
    let mut command = place.shell.command("gobgpd");
    command.arg("-f").arg(place.path("gobgpd.toml"));
    command.args(["-p", "-l", "warn", "--pprof-disable", "--api-hosts", "127.0.0.1:50051"]);
    command
}
