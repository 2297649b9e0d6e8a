//! OpenBGPD: a parent, an engine for sessions and one for the decision.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{Place, neighbours, says};
use crate::bgp::{
    layout::{DAEMON, DAEMON_ASN, Layout},
    table::HOLD_TIME_SECS,
};

/// Debian's FRR has a bgpd, too, outside PATH.
const BGPD: &str = "/usr/sbin/bgpd";

pub(super) fn version() -> Result<String> {
    says(BGPD, "-V")
}

pub(super) fn configure(place: &Place, layout: &Layout) -> Result<()> {
    let mut text = format!(
        "AS {DAEMON_ASN}\nrouter-id {DAEMON}\nfib-update no\nlisten on {DAEMON}\n\
         holdtime {HOLD_TIME_SECS}\nsocket \"{}\"\n",
        place.path("bgpd.sock").display(),
    );
    let client = format!("\troute-reflector {DAEMON}\n");
    let kind = if layout.reflection { client.as_str() } else { "" };
    for peer in neighbours(layout) {
        text += &format!(
            "neighbor {} {{\n\tremote-as {}\n\tpassive\n\tannounce IPv4 unicast\n{kind}}}\n",
            peer.address, peer.asn
        );
    }
    text += "allow from any\nallow to any\n";
    let path = place.write("bgpd.conf", &text)?;
    // It reads no file that others can.
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    fs::create_dir_all("/run/openbgpd").context("create /run/openbgpd")
}

pub(super) fn command(place: &Place) -> Command {
    let mut command = place.shell.command(BGPD);
    command.arg("-d").arg("-f").arg(place.path("bgpd.conf")).stdin(Stdio::null());
    command
}
