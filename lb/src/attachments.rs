use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
};

use lb_maps::{AttachError, DataPlane, PodAddresses};
use nix::net::if_::if_nametoindex;
use tracing::{info, warn};
use viaduct_net::IfIndex;

use crate::{Pods, SpawnError};

/// Which programs sit where. Interfaces are looked up in the network namespace of this thread.
#[derive(Debug)]
pub(crate) struct Attachments {
    data_plane: DataPlane,
    cgroup: PathBuf,
    uplinks: Vec<String>,
    pods: BTreeMap<IfIndex, PodAddresses>,
}

impl Attachments {
    pub(crate) fn new(
        data_plane: DataPlane,
        cgroup: PathBuf,
        uplinks: Vec<String>,
    ) -> Result<Self, SpawnError> {
        let mut attachments = Self { data_plane, cgroup, uplinks, pods: BTreeMap::new() };
        for uplink in &attachments.uplinks {
            index_of(uplink).ok_or_else(|| SpawnError::Uplink(uplink.clone()))?;
        }
        attachments.ensure_node()?;
        Ok(attachments)
    }

    /// The socket programs and those of the uplinks; attaching what is attached changes nothing.
    pub(crate) fn ensure_node(&mut self) -> Result<(), AttachError> {
        self.data_plane.attach_cgroup(&self.cgroup)?;
        for uplink in &self.uplinks {
            // One that has gone for a time is attached when it is back.
            if let Some(index) = index_of(uplink) {
                self.data_plane.attach_uplink(index)?;
            }
        }
        Ok(())
    }

    pub(crate) fn no_release(&self) -> Option<&str> {
        self.data_plane.no_release()
    }

    pub(crate) fn lost_entries(&self) -> Arc<[String]> {
        let lost = self.data_plane.takeover().map(|takeover| &takeover.lost[..]);
        lost.unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    /// Everything anew at the next call of [`Self::ensure_pods`].
    pub(crate) fn forget_pods(&mut self) {
        self.pods.clear();
    }

    /// Attaches to the veths of these pods and detaches from all others. Whether that is done; if
    /// not, as when an interface is not there yet, it should be tried again.
    pub(crate) fn ensure_pods(&mut self, pods: &Pods) -> bool {
        let mut by_interface: BTreeMap<&str, PodAddresses> = BTreeMap::new();
        for (prefix, interface) in &pods.interfaces {
            let addresses = by_interface.entry(interface).or_default();
            match prefix.address() {
                IpAddr::V4(address) => addresses.v4 = Some(address),
                IpAddr::V6(address) => addresses.v6 = Some(address),
            }
        }
        let mut done = true;
        let mut wanted = BTreeSet::new();
        for (interface, addresses) in by_interface {
            let Some(index) = index_of(interface) else {
                done = false;
                continue;
            };
            wanted.insert(index);
            if self.pods.get(&index) == Some(&addresses) {
                continue;
            }
            match self.data_plane.attach_pod(index, addresses) {
                Ok(()) => drop(self.pods.insert(index, addresses)),
                Err(error) => {
                    warn!(interface, error = &error as &dyn std::error::Error, "pod not attached");
                    done = false;
                }
            }
        }
        done & (!pods.complete || self.detach_others(&wanted))
    }

    fn detach_others(&mut self, wanted: &BTreeSet<IfIndex>) -> bool {
        let attached = match self.data_plane.attached_pods() {
            Ok(attached) => attached,
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "attached pods not listed");
                return false;
            }
        };
        let mut done = true;
        for index in attached.difference(wanted) {
            self.pods.remove(index);
            match self.data_plane.detach_pod(*index) {
                Ok(()) => info!(%index, "pod detached"),
                Err(error) => {
                    warn!(%index, error = &error as &dyn std::error::Error, "pod not detached");
                    done = false;
                }
            }
        }
        done
    }
}

fn index_of(interface: &str) -> Option<IfIndex> {
    if_nametoindex(interface).ok().map(IfIndex)
}
