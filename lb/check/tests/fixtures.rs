//! Runs the fixtures on the programs in this host's kernel. Needs root.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../maps/tests/support/mod.rs"]
#[expect(dead_code, reason = "shared by several tests, of which each needs a part")]
mod support;

use std::path::Path;

use ebpf_fixtures::{FOLDER, UNROUTED};
use lb_check::Kernel;
use support::{Namespace, options, with_bpffs};

/// A namespace that routes everything to where the fixtures' clients and backends are.
fn namespace() -> Namespace {
    let namespace = Namespace::new();
    for device in ["up0", "pod0"] {
        namespace.ip(&format!("link add {device} type veth peer name {device}-peer"));
        namespace.ip(&format!("link set {device}-peer up"));
        namespace.ip(&format!("link set {device} up"));
    }
    namespace.sysctl("net.ipv4.ip_forward", "1");
    namespace.sysctl("net.ipv6.conf.all.forwarding", "1");
    namespace.ip("address add 192.0.2.1/24 dev up0");
    namespace.ip("address add 2001:db8:a::1/64 dev up0 nodad");
    namespace.ip("route add default via 192.0.2.254");
    namespace.ip("route add default via 2001:db8:a::254");
    for prefix in UNROUTED {
        namespace.ip(&format!("route add unreachable {prefix}"));
    }
    namespace
}

#[test]
fn every_packet_becomes_what_its_fixture_says() {
    let fixtures = ebpf_fixtures::all(Path::new(FOLDER)).unwrap();
    let tally = with_bpffs(|pin_dir| {
        let namespace = namespace();
        let (up0, pod0) = (namespace.ifindex("up0"), namespace.ifindex("pod0"));
        namespace.run(|| {
            let mut kernel = Kernel::load(&options(pin_dir), up0, pod0).unwrap();
            lb_check::run_all(&mut kernel, &fixtures)
        })
    });
    println!("{} fixtures, {} packets", tally.fixtures, tally.packets);
    println!("too early for {:?}; {} packets not taken", tally.early, tally.untaken);
    let faults: Vec<_> = tally.faults.iter().map(|(name, e)| format!("{name}: {e:#}")).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
