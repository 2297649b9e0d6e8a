//! Every rule of the Kubernetes DNS specification 1.1.0 is a case here; the numbers are its
//! sections.

use domain::base::Rtype;
use proptest::prelude::*;

use super::*;

fn zone() -> Zone {
    let mut zone = Zone::new(&ZoneConfig {
        domain: "cluster.local".into(),
        addresses: vec!["169.254.20.10".parse().unwrap(), "fd00:20::10".parse().unwrap()],
    })
    .unwrap();
    zone.set_ranges(["10.96.0.0/16", "10.244.0.0/16", "fd00:10:96::/112"].map(prefix).into());
    for namespace in ["default", "shop", "empty"] {
        zone.set_namespace(namespace, true);
    }
    let cluster = ServiceKind::ClusterIp(vec![ip("10.96.0.10"), ip("fd00:10:96::a")]);
    let ports = vec![port("http", "tcp", 80), port("dns", "udp", 53)];
    zone.set_service(&key("shop", "web"), Some(Service { kind: cluster, ports }));
    let headless = ServiceKind::Headless { publish_not_ready: false };
    let db = Service { kind: headless, ports: vec![port("pg", "tcp", 1)] };
    zone.set_service(&key("shop", "db"), Some(db));
    let endpoints = [
        ("10.244.0.5", "db-0", true),
        ("10.244.0.6", "10-244-0-6", true),
        ("10.244.0.7", "db-2", false),
    ];
    zone.set_slice(&key("shop", "db-v4"), Some(slice("db", &endpoints)));
    let endpoints = [("fd00:244::5", "db-0", true)];
    zone.set_slice(&key("shop", "db-v6"), Some(slice("db", &endpoints)));
    let external = ServiceKind::ExternalName("www.example.com".into());
    zone.set_service(&key("shop", "out"), Some(Service { kind: external, ports: Vec::new() }));
    zone.set_complete();
    zone
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn key(namespace: &str, name: &str) -> Key {
    Key::new(namespace, name)
}

fn port(name: &str, protocol: &str, number: u16) -> Port {
    Port { name: name.into(), protocol: protocol.into(), number }
}

fn slice(service: &str, endpoints: &[(&str, &str, bool)]) -> Slice {
    let endpoint = |(address, label, ready): &(&str, &str, bool)| Endpoint {
        address: ip(address),
        label: (*label).into(),
        ready: *ready,
    };
    Slice {
        service: key("shop", service),
        ports: vec![port("pg", "tcp", 5432)],
        endpoints: endpoints.iter().map(endpoint).collect(),
    }
}

fn external(target: &str) -> Service {
    Service { kind: ServiceKind::ExternalName(target.into()), ports: Vec::new() }
}

fn look(zone: &Zone, name: &str, rtype: Rtype) -> Lookup {
    zone.lookup(&Name::vec_from_str(name).unwrap(), rtype, 0)
}

/// `NXDOMAIN`, `NODATA`, or the records' data; `other` where it is not ours.
fn ask(zone: &Zone, name: &str, rtype: Rtype) -> String {
    let answer = match look(zone, name, rtype) {
        Lookup::NotOurs => return "other".into(),
        Lookup::NotKnown => return "unknown".into(),
        Lookup::Found(answer) => answer,
    };
    assert!(answer.answers.iter().all(|record| record.ttl() == TTL));
    if answer.answers.is_empty() {
        let soa = answer.authority.expect("an absence comes with its zone");
        assert!(matches!(soa.data(), Data::Soa(soa) if soa.minimum() == TTL), "{soa:?}");
        return if answer.missing { "NXDOMAIN".into() } else { "NODATA".into() };
    }
    let mut texts: Vec<String> =
        answer.answers.iter().map(|record| record.data().to_string()).collect();
    texts.iter_mut().for_each(|text| text.truncate(text.trim_end_matches('.').len()));
    texts.sort();
    texts.join(" | ")
}

fn check(cases: &[(&str, Rtype, &str)]) {
    let zone = zone();
    for (name, rtype, expected) in cases {
        assert_eq!(ask(&zone, name, *rtype), *expected, "{name} {rtype}");
    }
}

const WEB: &str = "web.shop.svc.cluster.local";
const DB: &str = "db.shop.svc.cluster.local";

#[test]
fn the_version_of_the_schema_2_2() {
    check(&[
        ("dns-version.cluster.local", Rtype::TXT, "\"1.1.0\""),
        ("dns-version.cluster.local", Rtype::A, "NODATA"),
    ]);
}

#[test]
fn a_service_with_cluster_ips_2_3() {
    let target = format!("0 100 80 {WEB}");
    check(&[
        (WEB, Rtype::A, "10.96.0.10"),
        (WEB, Rtype::AAAA, "fd00:10:96::a"),
        (WEB, Rtype::ANY, "10.96.0.10 | fd00:10:96::a"),
        (WEB, Rtype::TXT, "NODATA"),
        ("_http._tcp.web.shop.svc.cluster.local", Rtype::SRV, &target),
        ("_http._tcp.web.shop.svc.cluster.local", Rtype::A, "NODATA"),
        ("_dns._udp.web.shop.svc.cluster.local", Rtype::SRV, &target.replace("80", "53")),
        ("_http._udp.web.shop.svc.cluster.local", Rtype::SRV, "NXDOMAIN"),
        ("_tcp.web.shop.svc.cluster.local", Rtype::SRV, "NODATA"),
        ("_sctp.web.shop.svc.cluster.local", Rtype::SRV, "NXDOMAIN"),
        ("http.tcp.web.shop.svc.cluster.local", Rtype::SRV, "NXDOMAIN"),
        ("x.web.shop.svc.cluster.local", Rtype::A, "NXDOMAIN"),
        ("10.0.96.10.in-addr.arpa", Rtype::PTR, WEB),
        ("10.0.96.10.in-addr.arpa", Rtype::A, "NODATA"),
        (
            "a.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa",
            Rtype::PTR,
            WEB,
        ),
    ]);
}

#[test]
fn a_service_of_one_family_has_no_data_of_the_other() {
    let mut zone = zone();
    let kind = ServiceKind::ClusterIp(vec![ip("10.96.0.11")]);
    zone.set_service(&key("shop", "v4"), Some(Service { kind, ports: Vec::new() }));
    assert_eq!(ask(&zone, "v4.shop.svc.cluster.local", Rtype::A), "10.96.0.11");
    assert_eq!(ask(&zone, "v4.shop.svc.cluster.local", Rtype::AAAA), "NODATA");
}

#[test]
fn a_headless_service_2_4() {
    let srv = |label: &str| format!("0 100 5432 {label}.{DB}");
    let both = format!("{} | {}", srv("10-244-0-6"), srv("db-0"));
    check(&[
        (DB, Rtype::A, "10.244.0.5 | 10.244.0.6"),
        (DB, Rtype::AAAA, "fd00:244::5"),
        (DB, Rtype::TXT, "NODATA"),
        ("db-0.db.shop.svc.cluster.local", Rtype::A, "10.244.0.5"),
        ("db-0.db.shop.svc.cluster.local", Rtype::AAAA, "fd00:244::5"),
        ("10-244-0-6.db.shop.svc.cluster.local", Rtype::A, "10.244.0.6"),
        ("10-244-0-6.db.shop.svc.cluster.local", Rtype::AAAA, "NODATA"),
        ("db-2.db.shop.svc.cluster.local", Rtype::A, "NXDOMAIN"),
        ("_pg._tcp.db.shop.svc.cluster.local", Rtype::SRV, &both),
        ("_pg._udp.db.shop.svc.cluster.local", Rtype::SRV, "NXDOMAIN"),
        ("_tcp.db.shop.svc.cluster.local", Rtype::A, "NODATA"),
        ("_udp.db.shop.svc.cluster.local", Rtype::A, "NXDOMAIN"),
        ("5.0.244.10.in-addr.arpa", Rtype::PTR, &format!("db-0.{DB}")),
        ("7.0.244.10.in-addr.arpa", Rtype::PTR, "NXDOMAIN"),
    ]);
}

#[test]
fn a_headless_service_without_a_ready_endpoint_is_not_there_2_4_1() {
    let mut zone = zone();
    zone.set_slice(&key("shop", "db-v6"), None);
    let nobody = slice("db", &[("10.244.0.7", "db-2", false)]);
    zone.set_slice(&key("shop", "db-v4"), Some(nobody));
    assert_eq!(ask(&zone, DB, Rtype::A), "NXDOMAIN");
    assert_eq!(ask(&zone, "_pg._tcp.db.shop.svc.cluster.local", Rtype::SRV), "NXDOMAIN");
}

#[test]
fn endpoints_that_are_not_ready_are_published_where_the_service_says_so() {
    let mut zone = zone();
    let kind = ServiceKind::Headless { publish_not_ready: true };
    zone.set_service(&key("shop", "db"), Some(Service { kind, ports: Vec::new() }));
    assert_eq!(ask(&zone, "db-2.db.shop.svc.cluster.local", Rtype::A), "10.244.0.7");
    assert_eq!(ask(&zone, "7.0.244.10.in-addr.arpa", Rtype::PTR), format!("db-2.{DB}"));
}

#[test]
fn one_hostname_of_several_addresses_2_4_1() {
    let mut zone = zone();
    let twice = slice("db", &[("10.244.0.8", "db-0", true)]);
    zone.set_slice(&key("shop", "db-more"), Some(twice));
    let name = "db-0.db.shop.svc.cluster.local";
    assert_eq!(ask(&zone, name, Rtype::A), "10.244.0.5 | 10.244.0.8");
}

#[test]
fn an_external_name_2_5() {
    let mut zone = zone();
    let name = "out.shop.svc.cluster.local";
    assert_eq!(ask(&zone, name, Rtype::A), "www.example.com");
    let Lookup::Found(answer) = look(&zone, name, Rtype::AAAA) else { panic!() };
    assert_eq!(answer.chase.map(|name| name.to_string()).as_deref(), Some("www.example.com"));
    let Lookup::Found(answer) = look(&zone, name, Rtype::CNAME) else { panic!() };
    assert!(answer.chase.is_none(), "who asks for the alias is told the alias");
    assert_eq!(ask(&zone, "x.out.shop.svc.cluster.local", Rtype::A), "NXDOMAIN");
    // An alias of another service is followed here.
    zone.set_service(&key("shop", "in"), Some(external(&format!("{WEB}."))));
    assert_eq!(ask(&zone, "in.shop.svc.cluster.local", Rtype::A), format!("10.96.0.10 | {WEB}"));
    zone.set_service(&key("shop", "gone"), Some(external("no.shop.svc.cluster.local")));
    let Lookup::Found(answer) = look(&zone, "gone.shop.svc.cluster.local", Rtype::A) else {
        panic!()
    };
    assert!(answer.missing && answer.answers.len() == 1 && answer.authority.is_some());
}

#[test]
fn aliases_in_a_circle_end() {
    let mut zone = zone();
    zone.set_service(&key("shop", "a"), Some(external("b.shop.svc.cluster.local")));
    zone.set_service(&key("shop", "b"), Some(external("a.shop.svc.cluster.local")));
    let Lookup::Found(answer) = look(&zone, "a.shop.svc.cluster.local", Rtype::A) else { panic!() };
    assert!(answer.endless);
}

/// As CoreDNS has them with `pods insecure`: whether there is such a pod is not looked at, whether
/// there is such a namespace is.
#[test]
fn pods_2_6() {
    check(&[
        ("10-244-0-5.shop.pod.cluster.local", Rtype::A, "10.244.0.5"),
        ("10-244-0-5.shop.pod.cluster.local", Rtype::AAAA, "NODATA"),
        ("fd00-10-244--5.shop.pod.cluster.local", Rtype::AAAA, "fd00:10:244::5"),
        ("10-244-0-5.nowhere.pod.cluster.local", Rtype::A, "NXDOMAIN"),
        ("10-244-0.shop.pod.cluster.local", Rtype::A, "NXDOMAIN"),
        ("shop.pod.cluster.local", Rtype::A, "NODATA"),
        ("nowhere.pod.cluster.local", Rtype::A, "NXDOMAIN"),
        ("pod.cluster.local", Rtype::A, "NODATA"),
    ]);
}

#[test]
fn names_above_services_exist_and_others_do_not() {
    check(&[
        ("svc.cluster.local", Rtype::A, "NODATA"),
        ("shop.svc.cluster.local", Rtype::A, "NODATA"),
        ("empty.svc.cluster.local", Rtype::A, "NODATA"),
        ("nowhere.svc.cluster.local", Rtype::A, "NXDOMAIN"),
        ("no.shop.svc.cluster.local", Rtype::A, "NXDOMAIN"),
        ("web.default.svc.cluster.local", Rtype::A, "NXDOMAIN"),
        ("web.shop.cluster.local", Rtype::A, "NXDOMAIN"),
        ("web.cluster.local", Rtype::A, "NXDOMAIN"),
        ("local", Rtype::A, "other"),
        ("xcluster.local", Rtype::A, "other"),
        ("www.example.com", Rtype::A, "other"),
        (".", Rtype::NS, "other"),
    ]);
}

#[test]
fn the_zone_itself() {
    check(&[
        ("cluster.local", Rtype::NS, "ns.dns.cluster.local"),
        ("cluster.local", Rtype::A, "NODATA"),
        ("ns.dns.cluster.local", Rtype::A, "169.254.20.10"),
        ("ns.dns.cluster.local", Rtype::AAAA, "fd00:20::10"),
        ("dns.cluster.local", Rtype::A, "NODATA"),
    ]);
    assert!(ask(&zone(), "cluster.local", Rtype::SOA).starts_with("ns.dns.cluster.local. "));
}

#[test]
fn reverse_names_of_the_cluster_are_ours_and_no_others() {
    check(&[
        ("1.2.96.10.in-addr.arpa", Rtype::PTR, "NXDOMAIN"),
        ("0.96.10.in-addr.arpa", Rtype::PTR, "NODATA"),
        ("1.96.10.in-addr.arpa", Rtype::PTR, "NXDOMAIN"),
        ("96.10.in-addr.arpa", Rtype::A, "NODATA"),
        ("96.10.in-addr.arpa", Rtype::NS, "ns.dns.cluster.local"),
        ("x.10.0.96.10.in-addr.arpa", Rtype::PTR, "NXDOMAIN"),
        ("1.2.0.192.in-addr.arpa", Rtype::PTR, "other"),
        ("10.in-addr.arpa", Rtype::NS, "other"),
        ("1.0.0.127.in-addr.arpa", Rtype::PTR, "other"),
    ]);
}

#[test]
fn case_does_not_matter_and_is_kept() {
    let zone = zone();
    let name = "WEB.Shop.sVc.CLUSTER.local";
    let Lookup::Found(answer) = look(&zone, name, Rtype::A) else { panic!() };
    assert_eq!(answer.answers[0].owner().to_string(), name);
    assert_eq!(
        ask(&zone, "_HTTP._Tcp.web.shop.svc.cluster.local", Rtype::SRV),
        format!("0 100 80 {WEB}")
    );
    assert_eq!(ask(&zone, "DB-0.db.shop.svc.cluster.local", Rtype::A), "10.244.0.5");
}

#[test]
fn addresses_of_a_record_come_with_it() {
    let zone = zone();
    let name = "_pg._tcp.db.shop.svc.cluster.local";
    let Lookup::Found(answer) = look(&zone, name, Rtype::SRV) else { panic!() };
    let mut additional: Vec<String> =
        answer.additional.iter().map(|record| record.data().to_string()).collect();
    additional.sort();
    assert_eq!(additional, ["10.244.0.5", "10.244.0.6", "fd00:244::5"]);
}

#[test]
fn answers_take_turns_at_being_the_first() {
    let zone = zone();
    let name = Name::vec_from_str(DB).unwrap();
    let first = |turn| match zone.lookup(&name, Rtype::A, turn) {
        Lookup::Found(answer) => answer.answers[0].data().to_string(),
        other => panic!("{other:?}"),
    };
    assert_ne!(first(0), first(1));
    assert_eq!(first(0), first(2));
}

#[test]
fn nothing_is_denied_before_the_picture_is_whole() {
    let zone = Zone::new(&ZoneConfig { domain: "cluster.local".into(), addresses: Vec::new() });
    let zone = zone.unwrap();
    assert_eq!(ask(&zone, WEB, Rtype::A), "unknown");
    assert_eq!(ask(&zone, "www.example.com", Rtype::A), "other");
}

#[test]
fn a_domain_of_another_name() {
    let config = ZoneConfig { domain: "K8s.Example.org.".into(), addresses: Vec::new() };
    let mut zone = Zone::new(&config).unwrap();
    let kind = ServiceKind::ClusterIp(vec![ip("10.96.0.1")]);
    zone.set_service(&key("a", "s"), Some(Service { kind, ports: Vec::new() }));
    zone.set_complete();
    assert_eq!(ask(&zone, "s.a.svc.k8s.example.org", Rtype::A), "10.96.0.1");
    let wrong = ZoneConfig { domain: "a..b".into(), addresses: Vec::new() };
    assert!(Zone::new(&wrong).unwrap_err().to_string().starts_with("`a..b` is no domain name"));
}

#[test]
fn what_goes_leaves_nothing_behind() {
    let mut zone = zone();
    for name in ["web", "db", "out"] {
        zone.set_service(&key("shop", name), None);
    }
    assert_eq!(ask(&zone, DB, Rtype::A), "NXDOMAIN");
    for name in ["db-v4", "db-v6"] {
        zone.set_slice(&key("shop", name), None);
    }
    assert!(zone.services.is_empty() && zone.slices.is_empty() && zone.reverse.is_empty());
}

#[derive(Clone, Debug)]
enum Change {
    Service(u8, Option<Service>),
    Slice(u8, Option<Slice>),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let address = (0..6u8).prop_map(|last| ip(&format!("10.244.0.{last}")));
    let kind = prop_oneof![
        prop::collection::vec(address.clone(), 1..3).prop_map(ServiceKind::ClusterIp),
        any::<bool>().prop_map(|publish_not_ready| ServiceKind::Headless { publish_not_ready }),
        Just(ServiceKind::ExternalName("example.com".into())),
    ];
    let service = kind.prop_map(|kind| Service { kind, ports: vec![port("p", "tcp", 1)] });
    let endpoint = (address, 0..3u8, any::<bool>()).prop_map(|(address, label, ready)| Endpoint {
        address,
        label: format!("h{label}"),
        ready,
    });
    let slice = (0..3u8, prop::collection::vec(endpoint, 0..4)).prop_map(|(of, endpoints)| Slice {
        service: key("n", &format!("s{of}")),
        ports: vec![port("p", "tcp", 2)],
        endpoints,
    });
    let change = prop_oneof![
        (0..3u8, prop::option::of(service)).prop_map(|(name, one)| Change::Service(name, one)),
        (0..4u8, prop::option::of(slice)).prop_map(|(name, one)| Change::Slice(name, one)),
    ];
    prop::collection::vec(change, 0..40)
}

proptest! {
    /// However it came about, the index is what the last state of everything makes it.
    #[test]
    fn changes_lead_where_the_whole_would(changes in changes()) {
        let config = ZoneConfig { domain: "cluster.local".into(), addresses: Vec::new() };
        let mut zone = Zone::new(&config).unwrap();
        let mut services = BTreeMap::new();
        let mut slices = BTreeMap::new();
        for change in changes {
            match change {
                Change::Service(name, service) => {
                    let key = key("n", &format!("s{name}"));
                    services.insert(key.clone(), service.clone());
                    zone.set_service(&key, service);
                }
                Change::Slice(name, slice) => {
                    let key = key("n", &format!("e{name}"));
                    slices.insert(key.clone(), slice.clone());
                    zone.set_slice(&key, slice);
                }
            }
        }
        let mut fresh = Zone::new(&config).unwrap();
        for (key, slice) in slices {
            fresh.set_slice(&key, slice);
        }
        for (key, service) in services {
            fresh.set_service(&key, service);
        }
        prop_assert_eq!(&zone.reverse, &fresh.reverse);
        prop_assert_eq!(format!("{:?}", zone.services), format!("{:?}", fresh.services));
        prop_assert_eq!(zone.slices, fresh.slices);
    }

    #[test]
    fn no_question_panics(labels in prop::collection::vec("[a-z0-9_.-]{1,9}", 0..9), rtype: u16) {
        let text = labels.join(".");
        let Ok(name) = Name::vec_from_str(&text) else { return Ok(()) };
        let zone = zone();
        zone.lookup(&name, Rtype::from_int(rtype), usize::from(rtype));
        let Ok(name) = Name::vec_from_str(&format!("{text}.shop.svc.cluster.local")) else {
            return Ok(());
        };
        zone.lookup(&name, Rtype::from_int(rtype), usize::from(rtype));
    }
}
