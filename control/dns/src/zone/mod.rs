//! What the cluster's names stand for, by the Kubernetes DNS specification 1.1.0. Pure: services and
//! slices in, answers out.
//!
//! Changed object by object: a change costs what the object and the one it replaces cost, however
//! many others there are. Answers are made when they are asked for.

mod lookup;
mod model;
mod reverse;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use domain::{
    base::{Name, Record, Serial, Ttl, iana::Class, name::FromStrError},
    rdata::{Soa, ZoneRecordData},
};
use viaduct_net::Prefix;

pub use lookup::{Answer, Lookup};
pub use model::{Endpoint, Key, Port, Service, ServiceKind, Slice};

pub(crate) type DnsName = Name<Vec<u8>>;
pub(crate) type Data = ZoneRecordData<Vec<u8>, DnsName>;
pub(crate) type DnsRecord = Record<DnsName, Data>;

/// For how long an answer of ours holds, an absence too: as CoreDNS has it.
pub(crate) const TTL: Ttl = Ttl::from_secs(5);

/// Of a zone transfer, which nobody makes: a zone has to say something.
const REFRESH: Ttl = Ttl::from_secs(7200);
const RETRY: Ttl = Ttl::from_secs(1800);
const EXPIRE: Ttl = Ttl::from_secs(86400);

/// What a zone is told once.
#[derive(Clone, Debug)]
pub struct ZoneConfig {
    /// `cluster.local`.
    pub domain: String,
    /// Where this server is asked: the addresses of `ns.dns.cluster.local`.
    pub addresses: Vec<IpAddr>,
}

#[derive(Debug, thiserror::Error)]
#[error("`{domain}` is no domain name: {source}")]
pub struct DomainError {
    domain: String,
    source: FromStrError,
}

/// The names of one cluster.
#[derive(Debug)]
pub struct Zone {
    domain: DnsName,
    /// The labels of `domain`, in lower case.
    suffix: Vec<String>,
    addresses: Vec<IpAddr>,
    name_server: DnsName,
    responsible: DnsName,
    /// Whose reverse names are ours, whether there is something at them or not.
    ranges: BTreeSet<Prefix>,
    namespaces: BTreeSet<String>,
    services: BTreeMap<Key, Entry>,
    /// Which service a slice was about when it was last seen.
    slices: BTreeMap<Key, Key>,
    reverse: BTreeMap<IpAddr, BTreeMap<Pointer, usize>>,
    /// Grows with every change.
    serial: u32,
    /// Whether the picture has ever been whole.
    complete: bool,
}

/// A service and its slices, whichever is known first.
#[derive(Debug, Default)]
struct Entry {
    service: Option<Service>,
    slices: BTreeMap<String, Slice>,
}

/// What an address is called: a service, or an endpoint of one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pointer {
    service: Key,
    endpoint: Option<String>,
}

impl Zone {
    pub fn new(config: &ZoneConfig) -> Result<Self, DomainError> {
        let text = config.domain.trim_end_matches('.').to_ascii_lowercase();
        let name = |prefix: &str| {
            let text = format!("{prefix}{text}");
            Name::vec_from_str(&text).map_err(|source| DomainError { domain: text, source })
        };
        Ok(Self {
            domain: name("")?,
            suffix: text.split('.').map(str::to_owned).collect(),
            addresses: config.addresses.clone(),
            name_server: name("ns.dns.")?,
            responsible: name("hostmaster.")?,
            ranges: BTreeSet::new(),
            namespaces: BTreeSet::new(),
            services: BTreeMap::new(),
            slices: BTreeMap::new(),
            reverse: BTreeMap::new(),
            serial: 1,
            complete: false,
        })
    }

    /// Until this is said no name of the cluster is answered: an absence would be a guess.
    pub fn set_complete(&mut self) {
        self.complete = true;
    }

    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// How many services there are names for.
    pub fn services(&self) -> usize {
        self.services.values().filter(|entry| entry.service.is_some()).count()
    }

    /// The networks of the cluster's pods and services. Reverse names of others are not ours, but
    /// for those that stand for something.
    pub fn set_ranges(&mut self, ranges: BTreeSet<Prefix>) {
        if self.ranges != ranges {
            self.ranges = ranges;
            self.changed();
        }
    }

    pub fn set_namespace(&mut self, name: &str, exists: bool) {
        let differs = if exists {
            self.namespaces.insert(name.to_owned())
        } else {
            self.namespaces.remove(name)
        };
        if differs {
            self.changed();
        }
    }

    /// What a service is now; `None` once it is gone.
    pub fn set_service(&mut self, key: &Key, service: Option<Service>) {
        let entry = self.services.entry(key.clone()).or_default();
        if entry.service != service {
            let before = entry.pointers(key);
            entry.service = service;
            let after = entry.pointers(key);
            self.point(before, after);
            self.changed();
        }
        self.forget_if_empty(key);
    }

    /// What a slice is now; `None` once it is gone.
    pub fn set_slice(&mut self, key: &Key, slice: Option<Slice>) {
        let service = slice.as_ref().map(|slice| slice.service.clone());
        let earlier = match &service {
            Some(service) => self.slices.insert(key.clone(), service.clone()),
            None => self.slices.remove(key),
        };
        if let Some(earlier) = earlier.filter(|earlier| Some(earlier) != service.as_ref()) {
            self.replace_slice(&earlier, &key.name, None);
        }
        if let Some(service) = service {
            self.replace_slice(&service, &key.name, slice);
        }
    }

    fn replace_slice(&mut self, service: &Key, name: &str, slice: Option<Slice>) {
        let entry = self.services.entry(service.clone()).or_default();
        if entry.slices.get(name) != slice.as_ref() {
            let before = entry.slice_pointers(service, name);
            match slice {
                Some(slice) => entry.slices.insert(name.to_owned(), slice),
                None => entry.slices.remove(name),
            };
            let after = entry.slice_pointers(service, name);
            self.point(before, after);
            self.changed();
        }
        self.forget_if_empty(service);
    }

    fn forget_if_empty(&mut self, key: &Key) {
        if self.services.get(key).is_some_and(|one| one.service.is_none() && one.slices.is_empty())
        {
            self.services.remove(key);
        }
    }

    /// Two slices may hold one endpoint while it moves between them, hence the counts.
    fn point(&mut self, before: Vec<(IpAddr, Pointer)>, after: Vec<(IpAddr, Pointer)>) {
        for (address, pointer) in after {
            *self.reverse.entry(address).or_default().entry(pointer).or_default() += 1;
        }
        for (address, pointer) in before {
            let Some(pointers) = self.reverse.get_mut(&address) else { continue };
            if let Some(count) = pointers.get_mut(&pointer) {
                *count -= 1;
                if *count == 0 {
                    pointers.remove(&pointer);
                }
            }
            if pointers.is_empty() {
                self.reverse.remove(&address);
            }
        }
    }

    fn changed(&mut self) {
        self.serial = self.serial.wrapping_add(1);
    }

    fn soa(&self, owner: DnsName) -> DnsRecord {
        let soa = Soa::new(
            self.name_server.clone(),
            self.responsible.clone(),
            Serial(self.serial),
            REFRESH,
            RETRY,
            EXPIRE,
            TTL,
        );
        record(owner, Data::Soa(soa))
    }

    /// A namespace is there, too, while only a service of it has been seen.
    fn has_namespace(&self, name: &str) -> bool {
        let services = self.services.range(Key::new(name, "")..);
        self.namespaces.contains(name)
            || services
                .take_while(|(key, _)| key.namespace == name)
                .any(|(_, entry)| entry.service.is_some())
    }
}

impl Entry {
    /// What the addresses of the service and of its endpoints are called.
    fn pointers(&self, key: &Key) -> Vec<(IpAddr, Pointer)> {
        match self.service.as_ref().map(|service| &service.kind) {
            Some(ServiceKind::ClusterIp(ips)) => {
                let pointer = Pointer { service: key.clone(), endpoint: None };
                ips.iter().map(|ip| (*ip, pointer.clone())).collect()
            }
            Some(ServiceKind::Headless { .. }) => {
                self.slices.keys().flat_map(|name| self.slice_pointers(key, name)).collect()
            }
            Some(ServiceKind::ExternalName(_)) | None => Vec::new(),
        }
    }

    fn slice_pointers(&self, key: &Key, name: &str) -> Vec<(IpAddr, Pointer)> {
        let (Some(publish), Some(slice)) = (self.publishes_not_ready(), self.slices.get(name))
        else {
            return Vec::new();
        };
        let served = slice.endpoints.iter().filter(|endpoint| endpoint.ready || publish);
        served
            .map(|one| {
                let endpoint = Some(one.label.clone());
                (one.address, Pointer { service: key.clone(), endpoint })
            })
            .collect()
    }

    /// `None` for a service that is not headless.
    fn publishes_not_ready(&self) -> Option<bool> {
        match self.service.as_ref()?.kind {
            ServiceKind::Headless { publish_not_ready } => Some(publish_not_ready),
            ServiceKind::ClusterIp(_) | ServiceKind::ExternalName(_) => None,
        }
    }

    /// The endpoints that have names, each with the slice it is in.
    fn served(&self) -> impl Iterator<Item = (&Slice, &Endpoint)> {
        let publish = self.publishes_not_ready();
        let slices = self.slices.values().filter(move |_| publish.is_some());
        slices.flat_map(move |slice| {
            let endpoints = slice.endpoints.iter();
            endpoints
                .filter(move |endpoint| endpoint.ready || publish == Some(true))
                .map(move |endpoint| (slice, endpoint))
        })
    }
}

fn record(owner: DnsName, data: Data) -> DnsRecord {
    Record::new(owner, Class::IN, TTL, data)
}

#[cfg(test)]
mod tests;
