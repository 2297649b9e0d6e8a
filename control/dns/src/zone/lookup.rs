//! From a question to its answer.

use std::{collections::BTreeSet, net::IpAddr};

use domain::{
    base::{Name, Rtype, name::ToLabelIter},
    rdata::{A, Aaaa, Cname, Ns, Ptr, Srv, Txt},
};

use super::{
    Data, DnsName, DnsRecord, Entry, Key, Service, ServiceKind, Zone,
    model::from_dashed,
    record,
    reverse::{self, ReverseName},
};

/// The version of the specification, at `dns-version`.
const SCHEMA_VERSION: &str = "1.1.0";

/// Names that lead to names that lead to names: a chain of ExternalNames ends here.
const CHAIN_MAX: usize = 8;

/// Every SRV record is as good as another (RFC 2782 wants numbers).
const PRIORITY: u16 = 0;
const WEIGHT: u16 = 100;

/// What there is to say to a question.
#[derive(Debug)]
pub enum Lookup {
    /// The name is no name of this cluster.
    NotOurs,
    /// The name is ours, but what stands at it is not known yet.
    NotKnown,
    Found(Box<Answer>),
}

#[derive(Debug, Default)]
pub struct Answer {
    /// The name does not exist (NXDOMAIN).
    pub missing: bool,
    pub answers: Vec<DnsRecord>,
    /// With an absence: the zone that it is an absence of.
    pub authority: Option<DnsRecord>,
    /// What the client will ask next.
    pub additional: Vec<DnsRecord>,
    /// The last answer is an alias of this name, which is not ours.
    pub chase: Option<DnsName>,
    /// Aliases led round in a circle, or further than is followed.
    pub endless: bool,
}

/// What stands at a name that exists, of the type that was asked for.
type Found = Vec<Data>;

impl Zone {
    /// `turn` rotates the answers, so that clients which take the first are spread.
    pub fn lookup(&self, name: &DnsName, rtype: Rtype, turn: usize) -> Lookup {
        let labels = labels(name);
        let Some(relative) = self.relative(&labels) else {
            return self.lookup_reverse(name, &labels, rtype);
        };
        if !self.complete {
            return Lookup::NotKnown;
        }
        let mut answer = Answer::default();
        self.resolve(name.clone(), relative, rtype, turn, &mut answer);
        Lookup::Found(Box::new(answer))
    }

    /// The labels before those of the cluster's domain.
    fn relative<'a>(&self, labels: &'a [String]) -> Option<&'a [String]> {
        labels.strip_suffix(self.suffix.as_slice())
    }

    fn resolve(
        &self,
        name: DnsName,
        relative: &[String],
        rtype: Rtype,
        turn: usize,
        answer: &mut Answer,
    ) {
        let (mut name, mut relative) = (name, relative.to_vec());
        for _ in 0..CHAIN_MAX {
            let Some(mut found) = self.node(&relative, rtype) else {
                answer.missing = true;
                answer.authority = Some(self.soa(self.domain.clone()));
                return;
            };
            if found.is_empty() {
                answer.authority = Some(self.soa(self.domain.clone()));
                return;
            }
            let len = found.len();
            found.rotate_left(turn % len);
            self.add_additional(&found, answer);
            let alias = match &found[..] {
                [Data::Cname(cname)] if rtype != Rtype::CNAME => Some(cname.cname().clone()),
                _ => None,
            };
            answer.answers.extend(found.into_iter().map(|data| record(name.clone(), data)));
            let Some(target) = alias else { return };
            let labels = labels(&target);
            match self.relative(&labels) {
                Some(next) => relative = next.to_vec(),
                None => {
                    answer.chase = Some(target);
                    return;
                }
            }
            name = target;
        }
        answer.endless = true;
    }

    /// The addresses of the names in records of a service or a zone.
    fn add_additional(&self, found: &Found, answer: &mut Answer) {
        let mut seen = BTreeSet::new();
        for data in found {
            let target = match data {
                Data::Srv(srv) => srv.target(),
                Data::Ns(ns) => ns.nsdname(),
                _ => continue,
            };
            if !seen.insert(target.clone()) {
                continue;
            }
            let labels = labels(target);
            let Some(relative) = self.relative(&labels) else { continue };
            for rtype in [Rtype::A, Rtype::AAAA] {
                let found = self.node(relative, rtype).unwrap_or_default();
                let records = found.into_iter().map(|data| record(target.clone(), data));
                answer.additional.extend(records);
            }
        }
    }

    /// `None` where there is no such name.
    fn node(&self, relative: &[String], rtype: Rtype) -> Option<Found> {
        let relative: Vec<&str> = relative.iter().map(String::as_str).collect();
        match &relative[..] {
            [] => Some(self.apex(rtype)),
            ["dns-version"] => Some(if wants(rtype, Rtype::TXT) {
                Txt::build_from_slice(SCHEMA_VERSION.as_bytes())
                    .map(Data::Txt)
                    .into_iter()
                    .collect()
            } else {
                Vec::new()
            }),
            ["dns" | "svc" | "pod"] => Some(Vec::new()),
            ["ns", "dns"] => Some(addresses(self.addresses.iter().copied(), rtype)),
            [namespace, "svc" | "pod"] => self.has_namespace(namespace).then(Vec::new),
            [address, namespace, "pod"] => {
                let address = from_dashed(address).filter(|_| self.has_namespace(namespace))?;
                Some(addresses([address], rtype))
            }
            [rest @ .., service, namespace, "svc"] => {
                let key = Key::new(*namespace, *service);
                let entry = self.services.get(&key)?;
                self.service(&key, entry, entry.service.as_ref()?, rest, rtype)
            }
            _ => None,
        }
    }

    fn apex(&self, rtype: Rtype) -> Found {
        let mut found = Vec::new();
        if wants(rtype, Rtype::SOA) {
            found.push(self.soa(self.domain.clone()).into_data());
        } else if rtype == Rtype::NS {
            found.push(Data::Ns(Ns::new(self.name_server.clone())));
        }
        found
    }

    /// What stands at `rest` below a service.
    fn service(
        &self,
        key: &Key,
        entry: &Entry,
        service: &Service,
        rest: &[&str],
        rtype: Rtype,
    ) -> Option<Found> {
        match &service.kind {
            ServiceKind::ExternalName(target) => rest.is_empty().then(|| {
                let target = Name::vec_from_str(target.trim_end_matches('.')).ok();
                target.map(|target| Data::Cname(Cname::new(target))).into_iter().collect()
            }),
            ServiceKind::ClusterIp(ips) => match rest {
                [] => Some(addresses(ips.iter().copied(), rtype)),
                [protocol] => {
                    let protocol = protocol.strip_prefix('_')?;
                    service.ports.iter().any(|port| port.protocol == protocol).then(Vec::new)
                }
                [port, protocol] => {
                    let (name, protocol) = (port.strip_prefix('_')?, protocol.strip_prefix('_')?);
                    let is_it =
                        |port: &&super::Port| port.name == name && port.protocol == protocol;
                    let port = service.ports.iter().find(is_it)?;
                    let target = self.name_of(key, None)?;
                    Some(srv(rtype, [(port.number, target)]))
                }
                _ => None,
            },
            ServiceKind::Headless { .. } => self.headless(key, entry, rest, rtype),
        }
    }

    /// A headless service without a ready endpoint does not exist (§2.4.1 of the specification).
    fn headless(&self, key: &Key, entry: &Entry, rest: &[&str], rtype: Rtype) -> Option<Found> {
        let mut all = entry.served().peekable();
        all.peek()?;
        match rest {
            [] => {
                let unique: BTreeSet<IpAddr> = all.map(|(_, endpoint)| endpoint.address).collect();
                Some(addresses(unique, rtype))
            }
            [protocol] if protocol.starts_with('_') => {
                let protocol = protocol.strip_prefix('_')?;
                let mut ports = all.flat_map(|(slice, _)| &slice.ports);
                ports.any(|port| port.protocol == protocol).then(Vec::new)
            }
            [hostname] => {
                let named = all.filter(|(_, endpoint)| endpoint.label == *hostname);
                let unique: BTreeSet<IpAddr> =
                    named.map(|(_, endpoint)| endpoint.address).collect();
                (!unique.is_empty()).then(|| addresses(unique, rtype))
            }
            [port, protocol] => {
                let (name, protocol) = (port.strip_prefix('_')?, protocol.strip_prefix('_')?);
                // An endpoint with an address of each family is one endpoint.
                let unique: BTreeSet<(&str, u16)> = all
                    .flat_map(|(slice, endpoint)| {
                        let ports = slice.ports.iter();
                        ports
                            .filter(|port| port.name == name && port.protocol == protocol)
                            .map(|port| (endpoint.label.as_str(), port.number))
                    })
                    .collect();
                let targets = unique
                    .into_iter()
                    .filter_map(|(label, number)| Some((number, self.name_of(key, Some(label))?)));
                let targets: Vec<_> = targets.collect();
                (!targets.is_empty()).then(|| srv(rtype, targets))
            }
            _ => None,
        }
    }

    /// The name of a service or of an endpoint of it.
    fn name_of(&self, key: &Key, endpoint: Option<&str>) -> Option<DnsName> {
        let mut labels: Vec<&str> = endpoint.into_iter().collect();
        labels.extend([key.name.as_str(), key.namespace.as_str(), "svc"]);
        labels.extend(self.suffix.iter().map(String::as_str));
        // The API admits no name that DNS does not; one that came another way has no records.
        Name::vec_from_str(&labels.join(".")).ok()
    }

    fn lookup_reverse(&self, name: &DnsName, labels: &[String], rtype: Rtype) -> Lookup {
        let Some(reverse) = ReverseName::parse(labels) else { return Lookup::NotOurs };
        let range = self.ranges.iter().find(|range| range.covers(reverse.prefix));
        let pointers = reverse.address().and_then(|address| self.reverse.get(&address));
        if range.is_none() && pointers.is_none() {
            return Lookup::NotOurs;
        }
        if !self.complete {
            return Lookup::NotKnown;
        }
        let apex = range.and_then(|range| Name::vec_from_str(&reverse::zone_name(*range)).ok());
        let apex = apex.unwrap_or_else(|| name.clone());
        let mut answer = Answer::default();
        match pointers {
            Some(pointers) if wants(rtype, Rtype::PTR) => {
                let names = pointers.keys();
                let names =
                    names.filter_map(|one| self.name_of(&one.service, one.endpoint.as_deref()));
                let data = names.map(|target| Data::Ptr(Ptr::new(target)));
                answer.answers = data.map(|data| record(name.clone(), data)).collect();
            }
            Some(_) => {}
            None if *name == apex => match rtype {
                Rtype::SOA => answer.answers.push(self.soa(apex.clone())),
                Rtype::NS => {
                    let ns = Data::Ns(Ns::new(self.name_server.clone()));
                    answer.answers.push(record(apex.clone(), ns));
                }
                _ => {}
            },
            None => answer.missing = reverse.excess || !self.has_below(&reverse),
        }
        if answer.answers.is_empty() {
            answer.authority = Some(self.soa(apex));
        }
        Lookup::Found(Box::new(answer))
    }

    /// Whether any address of the prefix has a name: then the prefix's own name exists, too.
    fn has_below(&self, name: &ReverseName) -> bool {
        let (first, last) = reverse::bounds(name.prefix);
        self.reverse.range(first..=last).next().is_some()
    }
}

/// The labels of a name in lower case, without the root's. What is not UTF-8 matches nothing here.
fn labels(name: &DnsName) -> Vec<String> {
    let labels = name.iter_labels().filter(|label| !label.is_root());
    labels.map(|label| String::from_utf8_lossy(label.as_slice()).to_ascii_lowercase()).collect()
}

/// A question for anything is answered with what is asked for most (RFC 8482 §4.1).
fn wants(asked: Rtype, rtype: Rtype) -> bool {
    asked == rtype || asked == Rtype::ANY
}

fn addresses(all: impl IntoIterator<Item = IpAddr>, rtype: Rtype) -> Found {
    let data = all.into_iter().filter_map(|address| match address {
        IpAddr::V4(v4) if wants(rtype, Rtype::A) => Some(Data::A(A::new(v4))),
        IpAddr::V6(v6) if wants(rtype, Rtype::AAAA) => Some(Data::Aaaa(Aaaa::new(v6))),
        _ => None,
    });
    data.collect()
}

fn srv(rtype: Rtype, targets: impl IntoIterator<Item = (u16, DnsName)>) -> Found {
    let targets = targets.into_iter().filter(|_| wants(rtype, Rtype::SRV));
    targets.map(|(number, target)| Data::Srv(Srv::new(PRIORITY, WEIGHT, number, target))).collect()
}
