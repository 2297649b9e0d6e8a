//! FRR: bgpd, and zebra from which it asks for next hops.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use viaduct_lab::run;

use super::{Place, neighbours, says};
use crate::bgp::{
    layout::{DAEMON, DAEMON_ASN, Layout},
    table::HOLD_TIME_SECS,
};

const ZEBRA: &str = "/usr/lib/frr/zebra";
const BGPD: &str = "/usr/lib/frr/bgpd";

pub(super) fn version() -> Result<String> {
    says(BGPD, "--version")
}

/// Its sockets are under this name, and below /run/frr only.
fn pathspace() -> String {
    format!("viaduct-bench-{}", std::process::id())
}

fn run_dir() -> PathBuf {
    PathBuf::from("/run/frr").join(pathspace())
}

pub(super) fn configure(place: &Place, layout: &Layout) -> Result<()> {
    let mut text = format!(
        "log stdout errors\nrouter bgp {DAEMON_ASN}\n\
         \x20bgp router-id {DAEMON}\n\
         \x20no bgp ebgp-requires-policy\n\
         \x20no bgp default ipv4-unicast\n"
    );
    if layout.reflection {
        text += &format!(" bgp cluster-id {DAEMON}\n");
    }
    for peer in neighbours(layout) {
        let address = peer.address;
        text += &format!(
            " neighbor {address} remote-as {}\n neighbor {address} passive\n \
             neighbor {address} timers {} {HOLD_TIME_SECS}\n",
            peer.asn,
            HOLD_TIME_SECS / 3,
        );
    }
    text += " address-family ipv4 unicast\n";
    for peer in neighbours(layout) {
        text += &format!("  neighbor {} activate\n", peer.address);
        if layout.reflection {
            text += &format!("  neighbor {} route-reflector-client\n", peer.address);
        }
    }
    text += " exit-address-family\n";
    for path in
        [place.write("bgpd.conf", &text)?, place.write("zebra.conf", "log stdout errors\n")?]
    {
        readable(path)?;
    }
    // The daemons give up root before they read their files.
    readable(place.folder.path().to_owned())?;
    fs::create_dir_all(run_dir()).with_context(|| format!("create {}", run_dir().display()))?;
    run("chown", &["frr:frr", &run_dir().to_string_lossy()]).map(drop)
}

fn readable(path: PathBuf) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    Ok(())
}

pub(super) fn commands(place: &Place) -> Result<[(&'static str, Command); 2]> {
    let daemon = |program: &str, config: &str| {
        let mut command = place.shell.command(program);
        command.arg("-N").arg(pathspace()).arg("-f").arg(place.path(config));
        command
    };
    let zebra = daemon(ZEBRA, "zebra.conf");
    let mut bgpd = daemon(BGPD, "bgpd.conf");
    bgpd.arg("-n");
    Ok([("zebra", zebra), ("bgpd", bgpd)])
}

pub(super) fn remove(_place: &Place) {
    if let Err(error) = fs::remove_dir_all(run_dir()) {
        eprintln!("{}: {error}", run_dir().display());
    }
}
