//! Who watches the speaker, and what it replays.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use bgp_speaker::Policy;
use bgp_wire::PeerKind;
use viaduct_api::v1alpha1::{BGPConfigurationSpec, BGPReplaySpec, BMPTable};
use viaduct_net::{Asn, RouterId};

use super::{ConfigError, ConfigErrors, LocalNode, Passwords, policy::Direction, reader::Reader};
use crate::{Collector, Monitored, Monitoring, Recording, Replay};

/// Collectors of one speaker. The schema of the API has the same bound.
const MAX_COLLECTORS: usize = 8;
/// Files replayed by one speaker.
const MAX_REPLAYS: usize = 16;

/// Those who watch a speaker that is known by `name`.
pub fn monitoring(
    name: &str,
    configuration: &BGPConfigurationSpec,
) -> Result<Monitoring, ConfigErrors> {
    let mut errors = Vec::new();
    let mut wrong = |field: String, problem: &str| {
        let field = format!("BGPConfiguration: spec.{field}");
        errors.push(ConfigError { field, problem: problem.to_owned() });
    };
    if configuration.bmp.len() > MAX_COLLECTORS {
        wrong("bmp".to_owned(), &format!("more than {MAX_COLLECTORS} collectors"));
    }
    let mut collectors = BTreeMap::new();
    for (index, spec) in configuration.bmp.iter().take(MAX_COLLECTORS).enumerate() {
        let field = |name| format!("bmp[{index}].{name}");
        let address = SocketAddr::new(spec.address, spec.port);
        if spec.port == 0 {
            wrong(field("port"), "must not be 0");
        }
        if spec.address.is_unspecified() || spec.address.is_multicast() {
            wrong(field("address"), &format!("{} is no address of a collector", spec.address));
        }
        let statistics_every = Some(spec.statistics_seconds).filter(|secs| *secs > 0);
        let collector = Collector {
            address,
            monitor: spec.monitor.iter().map(|table| monitored(*table)).collect(),
            statistics_every: statistics_every.map(|secs| Duration::from_secs(secs.into())),
        };
        if collectors.insert(address, collector).is_some() {
            wrong(field("address"), &format!("{address} is there already"));
        }
    }
    let recording = configuration.mrt.as_ref().map(|spec| {
        if spec.updates_file.is_empty() {
            wrong("mrt.updatesFile".to_owned(), "must not be empty");
        }
        Recording {
            file: (&spec.updates_file).into(),
            rotate_after: Some(spec.rotate_seconds)
                .filter(|secs| *secs > 0)
                .map(|secs| Duration::from_secs(secs.into())),
            rotate_bytes: Some(spec.rotate_bytes).filter(|bytes| *bytes > 0),
        }
    });
    match errors.is_empty() {
        true => Ok(Monitoring {
            name: name.to_owned(),
            collectors: collectors.into_values().collect(),
            recording,
        }),
        false => Err(ConfigErrors(errors)),
    }
}

const fn monitored(table: BMPTable) -> Monitored {
    match table {
        BMPTable::AdjRibInPre => Monitored::AdjRibInPre,
        BMPTable::AdjRibInPost => Monitored::AdjRibInPost,
        BMPTable::LocRib => Monitored::LocRib,
        BMPTable::AdjRibOut => Monitored::AdjRibOut,
    }
}

/// The files that a speaker of this configuration replays; by the name of the document.
pub fn replays(
    configuration: &BGPConfigurationSpec,
    specs: &BTreeMap<String, BGPReplaySpec>,
) -> Result<Vec<Replay>, ConfigErrors> {
    // For its words about policies alone; what it reads of the rest is not looked at.
    let node = LocalNode {
        name: String::new(),
        labels: BTreeMap::new(),
        v4: Some(Ipv4Addr::LOCALHOST),
        v6: None,
        router_id: RouterId::from_name(""),
        restarting: false,
    };
    let passwords = Passwords::new();
    let mut reader = Reader::new(configuration, &node, &passwords);
    let mut all = Vec::new();
    let mut files = BTreeSet::new();
    let own = reader.asn();
    for (name, spec) in specs {
        let place = format!("BGPReplay/{name}: spec");
        if all.len() >= MAX_REPLAYS {
            reader.wrong(place, format!("more than {MAX_REPLAYS} replays"));
            break;
        }
        let asn = Asn::new(spec.asn);
        if asn.is_zero() {
            reader.wrong(format!("{place}.asn"), "0 names no AS");
        }
        if spec.file.is_empty() {
            reader.wrong(format!("{place}.file"), "must not be empty");
        }
        if !files.insert(&spec.file) {
            reader.wrong(format!("{place}.file"), format!("{} is replayed already", spec.file));
        }
        let kind = if asn == own { PeerKind::Internal } else { PeerKind::External };
        let import = match &spec.import {
            Some(policy) => reader.policy(&place, policy, Direction::Import, own),
            None => Policy::default_for(kind),
        };
        all.push(Replay { file: (&spec.file).into(), asn, next_hop: spec.next_hop, import });
    }
    reader.finish().map(|_| all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(rest: &str) -> BGPConfigurationSpec {
        serde_norway::from_str(&format!("{{asn: 64512, {rest}}}")).unwrap()
    }

    #[test]
    fn collectors_and_the_file_of_updates() {
        let spec = configuration(
            "bmp: [{address: 192.0.2.1, port: 1790}, \
             {address: '2001:db8::1', port: 11019, monitor: [locRib, adjRibOut], statisticsSeconds: 0}], \
             mrt: {updatesFile: /var/lib/updates.mrt, rotateSeconds: 900}",
        );
        let monitoring = monitoring("r1", &spec).unwrap();
        let [first, second] = &monitoring.collectors[..] else { panic!("not two") };
        assert_eq!(first.monitor, BTreeSet::from([Monitored::AdjRibInPre]));
        assert_eq!(first.statistics_every, Some(Duration::from_secs(60)));
        assert_eq!(second.monitor, BTreeSet::from([Monitored::LocRib, Monitored::AdjRibOut]));
        assert_eq!(second.statistics_every, None);
        let recording = monitoring.recording.unwrap();
        assert_eq!(recording.rotate_after, Some(Duration::from_secs(900)));
        assert_eq!(recording.rotate_bytes, None);
    }

    #[test]
    fn an_error_names_its_field() {
        let spec = configuration(
            "bmp: [{address: 0.0.0.0, port: 0}, {address: 192.0.2.1, port: 1}, \
             {address: 192.0.2.1, port: 1}], mrt: {updatesFile: ''}",
        );
        let errors = monitoring("r1", &spec).unwrap_err().to_string();
        for field in ["bmp[0].port", "bmp[0].address", "bmp[2].address", "mrt.updatesFile"] {
            assert!(errors.contains(&format!("spec.{field}: ")), "{errors}");
        }
    }

    #[test]
    fn a_replay_is_of_our_own_as_or_needs_a_policy() {
        let spec = |text: &str| serde_norway::from_str::<BGPReplaySpec>(text).unwrap();
        let configuration = configuration("listenPort: 1");
        let specs = [
            ("a", spec("{file: a, asn: 64512, nextHop: 192.0.2.1}")),
            ("b", spec("{file: b, asn: 65001}")),
            ("c", spec("{file: c, asn: 65001, import: {rules: [{action: Accept}]}}")),
        ];
        let specs = specs.map(|(name, spec)| (name.to_owned(), spec)).into();
        let replays = replays(&configuration, &specs).unwrap();
        assert_eq!(replays[0].import, Policy::accept_all());
        assert_eq!(replays[1].import, Policy::reject_all());
        assert_ne!(replays[2].import, Policy::reject_all());
        let twice = [("a", spec("{file: a, asn: 0}")), ("b", spec("{file: a, asn: 1}"))];
        let twice = twice.map(|(name, spec)| (name.to_owned(), spec)).into();
        let errors = super::replays(&configuration, &twice).unwrap_err().to_string();
        assert!(errors.contains("BGPReplay/a: spec.asn: "), "{errors}");
        assert!(errors.contains("BGPReplay/b: spec.file: a is replayed already"), "{errors}");
    }
}
