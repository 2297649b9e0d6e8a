//! `viaduct router`: the BGP speaker with the kernel's routes and nothing else, from a file. It is
//! the border of a cluster of `up`, and a router for whoever wants one.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use bgp_speaker::LocalAddresses;
use clap::Args;
use serde::{Deserialize, de::DeserializeOwned};
use tokio::sync::watch;
use tracing::info;
use viaduct_api::v1alpha1::{API_VERSION, BGPConfigurationSpec, BGPPeerSpec, CustomResource};
use viaduct_net::{RouterId, feed};

use crate::{
    node::{self, admin, generation::Generation, metrics::Process},
    shutdown,
};

#[derive(Args)]
pub(crate) struct RouterArgs {
    /// YAML documents: one BGPConfiguration, any number of BGPPeers.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Name to show; this machine's where not given.
    #[arg(long)]
    name: Option<String>,
    /// The BGP identifier; the IPv4 address where not given.
    #[arg(long)]
    router_id: Option<RouterId>,
    /// This router's own address, one for each family.
    #[arg(long = "node-ip", value_name = "ADDRESS", required = true)]
    node_ips: Vec<IpAddr>,
    /// Folder of the admin socket.
    #[arg(long, default_value = "/run/viaduct")]
    run_dir: PathBuf,
}

/// What a file says.
struct Documents {
    configuration: BGPConfigurationSpec,
    peers: Vec<BGPPeerSpec>,
}

pub(crate) async fn run(args: RouterArgs) -> Result<()> {
    let stop = shutdown::token()?;
    let (v4, v6) = split_addresses(&args.node_ips)?;
    let router_id = match (args.router_id, v4) {
        (Some(id), _) => id,
        (None, Some(v4)) => v4.try_into()?,
        (None, None) => bail!("--router-id is needed where no --node-ip is an IPv4 address"),
    };
    let documents = read(&args.config)?;
    std::fs::create_dir_all(&args.run_dir)
        .with_context(|| format!("create {}", args.run_dir.display()))?;
    let generation = Generation::begin(&args.run_dir)?;
    let mut config = bgpd::config::standalone(
        &documents.configuration,
        router_id,
        LocalAddresses { v4, v6 },
        &documents.peers,
    )
    .with_context(|| args.config.display().to_string())?;
    config.restarting = generation.is_restart();
    let asn = documents.configuration.asn;

    let (routes, fib) = feed::feed();
    // There are no pods and no blocks, and that is all of it.
    let local = vrouter::LocalState { complete: true, ..Default::default() };
    let (_local, local) = watch::channel(Arc::new(local));
    let vrouter = vrouter::spawn(vrouter::Config::default(), fib, local, stop.clone())?;
    let (_originations, originations) = watch::channel(BTreeSet::new());
    let (_config, config) = watch::channel(Arc::new(config));
    let speaker =
        bgpd::spawn(bgpd::Inputs { config, originations, underlay: vrouter.underlay(), routes });
    info!(%router_id, asn, peers = documents.peers.len(), "router started");
    let state = admin::State {
        name: args.name.map_or_else(node::hostname, Ok)?,
        addresses: args.node_ips,
        router_id,
        asn,
        speaker,
        vrouter,
        pods: None,
        services: None,
        view: watch::channel(None).1,
        blocks: watch::channel(BTreeSet::new()).1,
        problems: watch::channel(Vec::new()).1,
        process: Process::new(),
    };
    admin::serve(&args.run_dir, state, stop).await
}

/// At most one address of each family.
pub(crate) fn split_addresses(
    addresses: &[IpAddr],
) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>)> {
    let (mut v4, mut v6) = (None, None);
    for address in addresses {
        let taken = match address {
            IpAddr::V4(address) => v4.replace(*address).is_some(),
            IpAddr::V6(address) => v6.replace(*address).is_some(),
        };
        if taken {
            bail!("--node-ip {address}: there is one address of this family already");
        }
    }
    Ok((v4, v6))
}

fn read(path: &Path) -> Result<Documents> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: serde_norway::Value,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

fn parse(text: &str) -> Result<Documents> {
    let mut configuration = None;
    let mut peers = Vec::new();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let head = Option::<Head>::deserialize(document)
            .with_context(|| format!("document {}", index + 1))?;
        // Empty, as what stands before the first `---` often is.
        let Some(head) = head else { continue };
        let what = || format!("{} {}", head.kind, head.metadata.name);
        if head.api_version != API_VERSION {
            bail!("{}: apiVersion: expected {API_VERSION}, not {}", what(), head.api_version);
        }
        if head.kind == BGPConfigurationSpec::KIND {
            let spec = spec(head.spec.clone()).with_context(what)?;
            if configuration.replace(spec).is_some() {
                bail!("{}: there is a {} already", what(), head.kind);
            }
        } else if head.kind == BGPPeerSpec::KIND {
            peers.push(spec(head.spec.clone()).with_context(what)?);
        } else {
            bail!(
                "{}: a router reads {} and {} only",
                what(),
                BGPConfigurationSpec::KIND,
                BGPPeerSpec::KIND
            );
        }
    }
    let configuration =
        configuration.with_context(|| format!("no {} is in it", BGPConfigurationSpec::KIND))?;
    Ok(Documents { configuration, peers })
}

/// A spec, or an error that begins with the path of the field that is wrong.
fn spec<T: DeserializeOwned>(value: serde_norway::Value) -> Result<T> {
    Ok(serde_path_to_error::deserialize(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\n\
                                 metadata: {name: default}\nspec: {asn: 64600}\n";

    #[test]
    fn reads_a_configuration_and_peers() {
        let text = format!(
            "{CONFIGURATION}---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\n\
             metadata: {{name: a}}\nspec: {{address: 192.0.2.1, asn: 64512}}\n"
        );
        let documents = parse(&text).unwrap();
        assert_eq!(documents.configuration.asn, 64600);
        assert_eq!(documents.peers[0].port, 179);
    }

    #[test]
    fn an_error_names_the_document_and_the_field() {
        let wrong = |text: &str| format!("{:#}", parse(text).err().unwrap());
        for empty in ["", "# a comment\n", "---\n---\n"] {
            assert!(wrong(empty).contains("no BGPConfiguration"), "{}", wrong(empty));
        }
        assert!(wrong(&CONFIGURATION.replace("asn: 64600", "asn: x")).contains("asn"));
        let peer = |spec: &str| {
            format!(
                "apiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: a}}\nspec: {spec}\n"
            )
        };
        assert!(wrong(&peer("{address: here, asn: 1}")).contains("BGPPeer a: address: "));
        let rules = "{address: 192.0.2.1, asn: 1, export: {rules: [{action: Acept}]}}";
        assert!(wrong(&peer(rules)).contains("export.rules[0].action: unknown variant"));
        assert!(wrong(&CONFIGURATION.replace("asn:", "as:")).contains("unknown field `as`"));
        assert!(wrong(&format!("{CONFIGURATION}---\n{CONFIGURATION}")).contains("already"));
        assert!(wrong(&CONFIGURATION.replace("BGPConfiguration", "Pod")).contains("reads"));
    }

    #[test]
    fn one_address_of_each_family() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(split_addresses(&[address("192.0.2.1"), address("::1")]).is_ok());
        assert!(split_addresses(&[address("192.0.2.1"), address("192.0.2.2")]).is_err());
    }
}
