//! BIRD 2.

use std::process::Command;

use anyhow::Result;

use super::{Place, neighbours, says};
use crate::bgp::{
    layout::{DAEMON, DAEMON_ASN, Layout},
    table::HOLD_TIME_SECS,
};

pub(super) fn version() -> Result<String> {
    says("bird", "--version")
}

/// Next hops are on the link, so a client's are taken as they are, too (`direct`): looking each up
/// would cost BIRD more. After an error it waits a second, not a minute.
pub(super) fn configure(place: &Place, layout: &Layout) -> Result<()> {
    let reflector = format!("rr client; rr cluster id {DAEMON}; direct;");
    let kind = if layout.reflection { reflector.as_str() } else { "" };
    let mut text = format!(
        "router id {DAEMON};\n\
         log stderr {{ warning, error, fatal, bug }};\n\
         protocol device {{ }}\n\
         template bgp peer {{\n\
           local {DAEMON} as {DAEMON_ASN};\n\
           passive; {kind}\n\
           hold time {HOLD_TIME_SECS};\n\
           error wait time 1, 1;\n\
           ipv4 {{ import all; export all; }};\n\
         }}\n"
    );
    for (number, peer) in neighbours(layout).enumerate() {
        text += &format!(
            "protocol bgp p{number} from peer {{ neighbor {} as {}; }}\n",
            peer.address, peer.asn
        );
    }
    place.write("bird.conf", &text).map(drop)
}

pub(super) fn command(place: &Place) -> Command {
    let mut command = place.shell.command("bird");
    command.arg("-f").arg("-c").arg(place.path("bird.conf"));
    command.arg("-s").arg(place.path("bird.ctl")).arg("-P").arg(place.path("bird.pid"));
    command
}
