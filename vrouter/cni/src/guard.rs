//! What a pod may send, in an nftables table of our own: packets from its own addresses, and none
//! to the ports of the nodes' routing protocols.
//!
//! The table is written as a whole in one transaction: the kernel goes from one right state to the
//! next, and whatever someone changed in between is mended. The rules stand before connection
//! tracking, so forged packets cost no entry there.

use std::{fmt::Write as _, io, process::Stdio};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::attachment::Attachment;

const TABLE: &str = "inet viaduct_pods";

/// BGP (RFC 4271), and BFD control, echo and multihop (RFC 5881 §4, RFC 5883 §5).
const BGP_PORT: &str = "179";
const BFD_PORTS: &str = "3784, 3785, 4784";

/// Packets with `mark & mask == value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub value: u32,
    pub mask: u32,
}

#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    #[error("cannot run nft: {0}; the package nftables must be installed")]
    Run(io::Error),
    #[error("nft refused the rules that verify the pods' source addresses: {0}")]
    Refused(String),
}

/// Makes the kernel hold exactly the rules for `attachments`.
pub(crate) async fn apply<'a>(
    attachments: impl Iterator<Item = &'a Attachment>,
    service_mark: Option<Mark>,
) -> Result<(), GuardError> {
    run(&ruleset(attachments, service_mark)).await
}

async fn run(script: &str) -> Result<(), GuardError> {
    let mut nft = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(GuardError::Run)?;
    if let Some(mut stdin) = nft.stdin.take() {
        stdin.write_all(script.as_bytes()).await.map_err(GuardError::Run)?;
    }
    let output = nft.wait_with_output().await.map_err(GuardError::Run)?;
    if output.status.success() {
        Ok(())
    } else {
        Err(GuardError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

fn ruleset<'a>(
    attachments: impl Iterator<Item = &'a Attachment>,
    service_mark: Option<Mark>,
) -> String {
    let mut veths = Vec::new();
    let mut sources_v4 = Vec::new();
    let mut sources_v6 = Vec::new();
    let mut link_locals = Vec::new();
    for attachment in attachments {
        let veth = format!("\"{}\"", attachment.host_ifname);
        link_locals.push(format!("{veth} . {}", attachment.mac.link_local()));
        for address in &attachment.addresses {
            let sources = if address.is_ipv4() { &mut sources_v4 } else { &mut sources_v6 };
            sources.push(format!("{veth} . {address}"));
        }
        veths.push(veth);
    }
    let mut script = format!(
        "add table {TABLE}\n\
         add counter {TABLE} spoofed\n\
         add counter {TABLE} routing_protocols\n"
    );
    let sets = [
        ("veths", "ifname", veths),
        ("sources_v4", "ifname . ipv4_addr", sources_v4),
        ("sources_v6", "ifname . ipv6_addr", sources_v6),
        ("link_locals", "ifname . ipv6_addr", link_locals),
    ];
    // Writing to a String cannot fail.
    for (set, of, elements) in sets {
        let _ = writeln!(script, "add set {TABLE} {set} {{ type {of}; }}");
        let _ = writeln!(script, "flush set {TABLE} {set}");
        if !elements.is_empty() {
            let _ = writeln!(script, "add element {TABLE} {set} {{ {} }}", elements.join(", "));
        }
    }
    let _ = writeln!(
        script,
        "add chain {TABLE} prerouting {{ type filter hook prerouting priority raw; policy accept; }}\n\
         add chain {TABLE} from_pod\n\
         flush chain {TABLE} prerouting\n\
         flush chain {TABLE} from_pod\n\
         add rule {TABLE} prerouting iifname @veths goto from_pod\n\
         add rule {TABLE} from_pod tcp dport {BGP_PORT} counter name routing_protocols drop\n\
         add rule {TABLE} from_pod udp dport {{ {BFD_PORTS} }} counter name routing_protocols drop"
    );
    if let Some(Mark { value, mask }) = service_mark {
        // Set by the balancer at the veth, on answers that bear the service's address by then. A
        // mark does not pass a veth between namespaces, so no pod can bring one.
        let _ = writeln!(
            script,
            "add rule {TABLE} from_pod meta mark & {mask:#x} == {value:#x} accept"
        );
    }
    let _ = writeln!(
        script,
        "add rule {TABLE} from_pod iifname . ip saddr @sources_v4 accept\n\
         add rule {TABLE} from_pod iifname . ip6 saddr @sources_v6 accept\n\
         add rule {TABLE} from_pod iifname . ip6 saddr @link_locals \
         icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept\n\
         add rule {TABLE} from_pod counter name spoofed drop"
    );
    script
}
