//! Viaduct: the speaker alone, from a file.

use std::process::Command;

use anyhow::Result;
use viaduct_lab::program;

use super::{Place, neighbours, says};
use crate::bgp::{
    layout::{DAEMON, DAEMON_ASN, Layout},
    table::HOLD_TIME_SECS,
};

/// An external neighbour is refused everything unless a policy says otherwise (RFC 8212).
const ACCEPT_ALL: &str = "import: {rules: [{action: Accept}]}, export: {rules: [{action: Accept}]}";

pub(super) fn version() -> Result<String> {
    says(program("viaduct")?, "--version")
}

pub(super) fn configure(place: &Place, layout: &Layout) -> Result<()> {
    let mut text = format!(
        "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec: {{asn: {DAEMON_ASN}, holdTimeSeconds: {HOLD_TIME_SECS}}}\n"
    );
    let kind = if layout.reflection { "reflectorClient: true" } else { ACCEPT_ALL };
    for (number, peer) in neighbours(layout).enumerate() {
        text += &format!(
            "---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: p{number}}}\n\
             spec: {{address: {}, asn: {}, passive: true, {kind}}}\n",
            peer.address, peer.asn,
        );
    }
    place.write("viaduct.yaml", &text).map(drop)
}

pub(super) fn command(place: &Place) -> Result<Command> {
    let mut command = place.shell.command(program("viaduct")?);
    command.arg("reflector").arg("--config").arg(place.path("viaduct.yaml"));
    command.arg("--node-ip").arg(DAEMON.to_string());
    command.arg("--name").arg("bench").arg("--run-dir").arg(place.path("run"));
    Ok(command)
}
