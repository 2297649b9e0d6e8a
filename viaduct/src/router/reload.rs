//! Reading a speaker's file again: sessions go on unless what they have agreed on has changed, and a
//! file that is wrong changes nothing.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use bgp_speaker::{Config, LocalAddresses};
use bgpd::{Monitoring, Replay, config};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};
use tracing::{error, info};
use viaduct_net::RouterId;

use super::documents;
use crate::node::passwords;

/// Where a configuration comes from: a file, and what the command line has said.
#[derive(Debug)]
pub(super) struct Source {
    pub path: PathBuf,
    /// By which others know the speaker.
    pub name: String,
    pub router_id: RouterId,
    pub addresses: LocalAddresses,
}

/// What a file has said, and was found good.
#[derive(Debug)]
pub(super) struct Read {
    pub config: Config,
    pub monitoring: Monitoring,
    pub replays: Vec<Replay>,
}

impl Read {
    /// Who watches the speaker, and what it replays, is told to it. It may have ended.
    pub(super) async fn tell(self, speaker: &bgpd::Handle) -> Result<(), bgpd::Ended> {
        speaker.monitor(self.monitoring).await?;
        speaker.replay(self.replays).await
    }
}

impl Source {
    pub(super) fn read(&self) -> Result<Read> {
        let documents = documents::read(&self.path)?;
        let peers = &documents.peers;
        let passwords = passwords::of_files(peers);
        let (id, addresses) = (self.router_id, self.addresses);
        let spec = &documents.configuration;
        let read = || {
            Ok(Read {
                config: config::standalone(spec, id, addresses, peers, &passwords)?,
                monitoring: config::monitoring(&self.name, spec)?,
                replays: config::replays(spec, &documents.replays)?,
            })
        };
        read().map_err(|errors: config::ConfigErrors| {
            anyhow::Error::new(errors).context(self.path.display().to_string())
        })
    }

    /// The file as it is now, for a speaker that runs as `running` says.
    fn read_again(&self, running: &Config) -> Result<Read> {
        let mut read = self.read()?;
        let config = &mut read.config;
        if config.asn != running.asn {
            bail!("spec.asn: {} cannot become {} without a new start", running.asn, config.asn);
        }
        if config.listen_port != running.listen_port {
            bail!("spec.listenPort: cannot become {} without a new start", config.listen_port);
        }
        config.restarting = running.restarting;
        Ok(read)
    }
}

/// Reads the file again at every SIGHUP. What is wrong with it is shown to operators until it is
/// right.
pub(super) fn follow(
    source: Source,
    config: watch::Sender<Arc<Config>>,
    problems: watch::Sender<Vec<String>>,
    speaker: bgpd::Handle,
) -> Result<impl Future<Output = ()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangup.recv().await.is_some() {
            let running = config.borrow().clone();
            match source.read_again(&running) {
                Ok(new) => {
                    info!(peers = new.config.peers.len(), "configuration read again");
                    config.send_replace(Arc::new(new.config.clone()));
                    problems.send_replace(Vec::new());
                    if new.tell(&speaker).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    let error = format!("{error:#}");
                    error!(error, "the configuration stays as it was");
                    problems.send_replace(vec![error]);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr};

    use super::*;

    #[test]
    fn a_file_that_is_wrong_changes_nothing() {
        let path = std::env::temp_dir().join(format!("viaduct-reload-{}", std::process::id()));
        let address = Ipv4Addr::new(192, 0, 2, 1);
        let source = Source {
            path: path.clone(),
            name: "r1".to_owned(),
            router_id: address.try_into().unwrap(),
            addresses: LocalAddresses { v4: Some(address), v6: None },
        };
        let write = |spec: &str, peers: &[u8]| {
            let mut text = format!(
                "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\n\
                 metadata: {{name: default}}\nspec: {spec}\n"
            );
            for peer in peers {
                text += &format!(
                    "---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\n\
                     metadata: {{name: p{peer}}}\n\
                     spec: {{address: 192.0.2.{peer}, asn: 64512, reflectorClient: true}}\n"
                );
            }
            fs::write(&path, text).unwrap();
        };
        write("{asn: 64512}", &[2]);
        let mut running = source.read().unwrap().config;
        running.restarting = true;
        write("{asn: 64512}", &[2, 3]);
        let again = source.read_again(&running).unwrap().config;
        assert_eq!((again.peers.len(), again.restarting), (2, true));
        assert!(again.is_reflector());
        for (spec, field) in [
            ("{asn: 64513}", "spec.asn"),
            ("{asn: 64512, listenPort: 1179}", "spec.listenPort"),
            ("{asn: 64512, clusterId: here}", "clusterId"),
        ] {
            write(spec, &[]);
            let error = format!("{:#}", source.read_again(&running).unwrap_err());
            assert!(error.contains(field), "{error}");
        }
        fs::remove_file(&path).unwrap();
    }
}
