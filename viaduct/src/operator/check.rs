//! `viaduct bgp check`: a speaker's file, before a speaker reads it.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use bgp_speaker::LocalAddresses;
use bgpd::{
    Config, NoTcpAo,
    config::{
        PasswordSource, Passwords,
        difference::{Comparison, Difference, PeerName},
        documents::{self, Documents},
        standalone, without_tcp_ao,
    },
};
use clap::Args;
use serde::Serialize;
use viaduct_api::admin::RunningConfiguration;
use viaduct_net::RouterId;

use super::{Target, admin};
use crate::{
    node::passwords,
    output,
    router::{digests, split_addresses},
};

#[derive(Args)]
pub(crate) struct CheckArgs {
    /// YAML documents, as `viaduct reflector --config` reads them.
    file: PathBuf,
    /// What a speaker runs by: `running` asks it, a file stands for it. Shown is what would change if
    /// the speaker read FILE, and which sessions would end and why.
    #[arg(long, value_name = "running|FILE")]
    against: Option<PathBuf>,
    /// The speaker's own address, one for each family, as it is given to the speaker. A running one is
    /// asked.
    #[arg(long = "node-ip", value_name = "ADDRESS")]
    node_ips: Vec<IpAddr>,
    #[command(flatten)]
    target: Target,
}

/// What [`CheckArgs::against`] says where it is no file; one of that name is `./running`.
const RUNNING: &str = "running";

/// What was found.
#[derive(Default, Serialize)]
struct Report {
    errors: Vec<String>,
    /// What is right and yet will not work on this machine.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changes: Option<Difference>,
}

pub(super) async fn run(args: &CheckArgs) -> Result<()> {
    let running = match &args.against {
        Some(against) if against == Path::new(RUNNING) => {
            let socket = admin::socket(&args.target)?;
            Some(admin::get::<RunningConfiguration>(&socket, "/v1/bgp/configuration").await?)
        }
        _ => None,
    };
    let tcp_ao = bgpd::probe_tcp_ao();
    let report = check(args, running, tcp_ao.as_ref().err())?;
    if args.target.output.is_json() {
        output::print(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::print(text(&args.file, &report))?;
    }
    match report.errors.len() {
        0 => Ok(()),
        1 => bail!("{}: 1 error", args.file.display()),
        errors => bail!("{}: {errors} errors", args.file.display()),
    }
}

/// `no_tcp_ao` is said of this machine, where the file may be meant for another.
fn check(
    args: &CheckArgs,
    running: Option<RunningConfiguration>,
    no_tcp_ao: Option<&NoTcpAo>,
) -> Result<Report> {
    let told = running.as_ref().map(|running| &running.addresses[..]);
    let mut speaker =
        Speaker::at(told.filter(|_| args.node_ips.is_empty()).unwrap_or(&args.node_ips))?;
    if let Some(running) = &running {
        speaker.router_id = running.router_id;
    }
    let mut report = Report::default();
    let after = speaker.read(&args.file, &mut report.errors)?;
    let Some((after, _)) = after else { return Ok(report) };
    let warnings = no_tcp_ao.map(|missing| without_tcp_ao(&after.peers, missing));
    report.warnings = warnings.into_iter().flatten().map(|one| one.to_string()).collect();
    let mut passwords_after = passwords::of_files(&after.peers);
    let (before, passwords_before) = match (running, &args.against) {
        (Some(running), _) => {
            // What stands for a password is compared with what stands for the other.
            passwords_after = stand_ins(digests(&passwords_after, &running.salt));
            let RunningConfiguration { configuration, peers, replays, passwords, .. } = running;
            (Documents { configuration, peers, replays }, stand_ins(passwords))
        }
        (None, Some(against)) => {
            let (before, _) = speaker.read_good(against)?;
            let passwords = passwords::of_files(&before.peers);
            (before, passwords)
        }
        (None, None) => return Ok(report),
    };
    let Speaker { addresses, router_id } = speaker;
    let comparison = Comparison {
        before: &before,
        after: &after,
        router_id,
        addresses,
        passwords_before: &passwords_before,
        passwords_after: &passwords_after,
    };
    report.changes = Some(comparison.difference());
    Ok(report)
}

/// What a speaker with these addresses would run by, had it read the file.
pub(super) fn read(path: &Path, addresses: &[IpAddr]) -> Result<(Documents, Config)> {
    Speaker::at(addresses)?.read_good(path)
}

fn stand_ins(digests: BTreeMap<String, String>) -> Passwords {
    let one = |(path, digest): (_, String)| (PasswordSource::File(path), Ok(digest.into_bytes()));
    digests.into_iter().map(one).collect()
}

struct Speaker {
    addresses: LocalAddresses,
    router_id: RouterId,
}

impl Speaker {
    /// One with these addresses. Where nobody says any, with one that is no peer's.
    fn at(addresses: &[IpAddr]) -> Result<Self> {
        let (v4, v6) = split_addresses(addresses)?;
        let unknown = v4.is_none() && v6.is_none();
        let v4 = v4.or(unknown.then_some(Ipv4Addr::UNSPECIFIED));
        let own = v4.and_then(|v4| v4.try_into().ok());
        let router_id = own.unwrap_or(RouterId::from_name("check"));
        Ok(Self { addresses: LocalAddresses { v4, v6 }, router_id })
    }

    fn read_good(&self, path: &Path) -> Result<(Documents, Config)> {
        let mut errors = Vec::new();
        match self.read(path, &mut errors)? {
            Some(good) => Ok(good),
            None => bail!("{}: {}", path.display(), errors.join("; ")),
        }
    }

    /// The documents where nothing is wrong with them, and what they say; else every error.
    fn read(&self, path: &Path, errors: &mut Vec<String>) -> Result<Option<(Documents, Config)>> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let reading = documents::read(&text);
        errors.extend(reading.errors.iter().map(ToString::to_string));
        let Some(configuration) = reading.configuration else { return Ok(None) };
        let (peers, replays) = (reading.peers, reading.replays);
        let passwords: Passwords = passwords::of_files(&peers);
        let config = standalone(&configuration, self.router_id, self.addresses, &peers, &passwords);
        let config = config.map_err(|found| {
            errors.extend(found.0.iter().map(ToString::to_string));
        });
        let good = config.ok().filter(|_| errors.is_empty());
        Ok(good.map(|config| (Documents { configuration, peers, replays }, config)))
    }
}

fn text(path: &Path, report: &Report) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let mut line = |text: String| {
        let _infallible = writeln!(out, "{text}");
    };
    report.errors.iter().for_each(|error| line(error.clone()));
    if report.errors.is_empty() {
        line(format!("{}: good", path.display()));
    }
    report.warnings.iter().for_each(|warning| line(format!("warning: {warning}")));
    let Some(changes) = &report.changes else { return out };
    if changes.is_empty() {
        line("nothing changes".to_owned());
    }
    for field in &changes.needs_restart {
        line(format!("BGPConfiguration: {field}: needs a new start of the speaker"));
    }
    for field in &changes.configuration {
        line(format!("BGPConfiguration: {field} changes"));
    }
    let peer = |peer: &PeerName| format!("BGPPeer {} ({})", peer.name, peer.at);
    changes.removed.iter().for_each(|one| line(format!("{} goes, and its session", peer(one))));
    changes.added.iter().for_each(|one| line(format!("{} comes", peer(one))));
    for change in &changes.changed {
        let fields = change.fields.join(", ");
        line(match change.ends_session.as_slice() {
            [] => format!("{} changes in {fields}; the session goes on", peer(&change.peer)),
            why => format!(
                "{} changes in {fields}; the session ends for {}",
                peer(&change.peer),
                why.join(", ")
            ),
        });
    }
    for name in &changes.replays {
        line(format!("BGPReplay {name} changes, comes or goes"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{super::Output, *};

    #[test]
    fn every_error_is_printed_and_what_changes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, peers: &str| {
            let path = folder.path().join(name);
            let head = "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\n\
                        metadata: {name: default}\nspec: {asn: 64512}\n";
            std::fs::write(&path, format!("{head}{peers}")).unwrap();
            path
        };
        let peer = |name: &str, spec: &str| {
            format!(
                "---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\n\
                 metadata: {{name: {name}}}\nspec: {{{spec}}}\n"
            )
        };
        let args = |file: PathBuf, against: Option<PathBuf>| CheckArgs {
            file,
            against,
            node_ips: vec![[192, 0, 2, 1].into()],
            target: Target {
                cluster: String::new(),
                node: None,
                socket: None,
                output: Output::Text,
            },
        };
        let old = write("old", &peer("a", "address: 192.0.2.2, asn: 65001"));
        let rules = "import: {rules: [{asPaths: [\"(\"], action: Accept}]}";
        let bad = peer("b", "address: x, asn: 1")
            + &peer("c", &format!("address: 192.0.2.1, asn: 0, {rules}"));
        let report = check(&args(write("bad", &bad), Some(old.clone())), None, None).unwrap();
        assert_eq!(report.errors.len(), 4, "{:?}", report.errors);
        assert!(report.changes.is_none());
        let good = peer("a", "address: 192.0.2.2, asn: 65002, passive: true")
            + &peer("b", "address: 192.0.2.3, asn: 64512");
        let report = check(&args(write("good", &good), Some(old)), None, None).unwrap();
        let lines = text(Path::new("good"), &report);
        assert_eq!(
            lines,
            "good: good\nBGPPeer b (192.0.2.3) comes\n\
             BGPPeer a (192.0.2.2) changes in asn, passive; the session ends for asn\n"
        );
        let key = folder.path().join("key");
        std::fs::write(&key, "s3cret").unwrap();
        let keys = format!("tcpAo: [{{sendId: 1, keyFile: {}}}]", key.display());
        let signed = write("ao", &peer("a", &format!("address: 192.0.2.2, asn: 65001, {keys}")));
        let missing = NoTcpAo::of("Linux 6.1.0");
        let report = check(&args(signed.clone(), None), None, Some(&missing)).unwrap();
        let lines = text(Path::new("ao"), &report);
        assert_eq!(lines, format!("ao: good\nwarning: BGPPeer/a: spec.tcpAo: {missing}\n"));
        let report = check(&args(signed, None), None, None).unwrap();
        assert_eq!(text(Path::new("ao"), &report), "ao: good\n");
    }
}
