//! A node whose daemon was of ABI version 1 gets one of today: connections go on, new ones never
//! fail, and nothing is left of what was before.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/lab.rs"]
#[expect(dead_code, reason = "shared by several tests, of which each needs a part")]
mod lab;
#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "shared by several tests, of which each needs a part")]
mod support;
mod v1;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use aya::programs::{SchedClassifier, TcAttachType};
use ebpf_abi::{
    ABI_VERSION, ADDRESS_NODE, ADDRESS_SERVICE, ADDRESS_VIP, BACKEND_LOCAL, Counter,
    SCOPE_EXTERNAL, SCOPE_INTERNAL,
};
use lab::{ELSEWHERE, Lab, NODE, POD, VIP, ask, at, connect, ip, serve_tcp};
use lb_maps::{DataPlane, PodAddresses};
use support::{Cgroup, Namespace, options, with_bpffs};

const SERVICE: &str = "10.96.0.1:80";
const BACKENDS: [&str; 3] = ["127.0.1.1:8080", "127.0.1.2:8080", "127.0.1.3:8080"];
const NAT_PORTS: [u16; 2] = [61000, 61999];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Repeats what it is told.
fn serve_echo(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut buffer = [0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    // The client may have gone.
                    let _ = stream.write_all(&buffer[..length]);
                }
            });
        }
    });
}

fn echoes(stream: &mut TcpStream, text: &str) {
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(heard, text.as_bytes());
}

/// How often something was done, for those who wait for more.
#[derive(Default)]
struct Count {
    times: Mutex<u64>,
    changed: Condvar,
    stop: AtomicBool,
}

impl Count {
    fn add(&self) {
        *self.times.lock().unwrap() += 1;
        self.changed.notify_all();
    }

    fn wait_for_more(&self, more: u64) {
        let times = self.times.lock().unwrap();
        let enough = *times + more;
        let limit = Duration::from_secs(20);
        let waited = self.changed.wait_timeout_while(times, limit, |times| *times < enough);
        assert!(!waited.unwrap().1.timed_out(), "no {more} more within {limit:?}");
    }
}

/// How often at least before and after.
const MORE: u64 = 20;

/// Runs `body` while `each` is done without a pause, some times before it and after it; how often.
fn all_the_while(each: impl Fn() + Sync, body: impl FnOnce()) -> u64 {
    let count = Count::default();
    thread::scope(|scope| {
        let busy = scope.spawn(|| {
            while !count.stop.load(Ordering::Relaxed) {
                each();
                count.add();
            }
        });
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            count.wait_for_more(MORE);
            body();
            count.wait_for_more(MORE);
        }));
        count.stop.store(true, Ordering::Relaxed);
        // What failed in there says more than that nothing came of it.
        busy.join().unwrap();
        result.unwrap();
    });
    *count.times.lock().unwrap()
}

fn bpftool(words: &[&str]) -> serde_json::Value {
    let output = Command::new("bpftool").arg("--json").args(words).output();
    let text = output.expect("bpftool is installed").stdout;
    // It says nothing where there is nothing.
    if text.trim_ascii().is_empty() {
        return serde_json::Value::Null;
    }
    serde_json::from_slice(&text).unwrap()
}

/// The ids of the links that are pinned in a version's folder, by their names.
fn links(pin_dir: &Path, version: u32) -> BTreeMap<String, u64> {
    let folder = pin_dir.join(format!("v{version}/links"));
    let entries = fs::read_dir(folder).unwrap();
    let id_of = |entry: fs::DirEntry| {
        let shown = bpftool(&["link", "show", "pinned", entry.path().to_str().unwrap()]);
        let shown = if shown.is_array() { shown[0].clone() } else { shown };
        (entry.file_name().into_string().unwrap(), shown["id"].as_u64().unwrap())
    };
    entries.map(|entry| id_of(entry.unwrap())).collect()
}

/// How many programs a cgroup has of each kind.
fn programs_of(cgroup: &Path) -> BTreeMap<String, usize> {
    let shown = bpftool(&["cgroup", "show", cgroup.to_str().unwrap()]);
    let mut counts = BTreeMap::new();
    for program in shown.as_array().into_iter().flatten() {
        let kind = program["attach_type"].as_str().unwrap();
        *counts.entry(kind.to_owned()).or_default() += 1;
    }
    counts
}

fn versions(pin_dir: &Path) -> BTreeSet<String> {
    // Such a filesystem has files of its own.
    let folders =
        fs::read_dir(pin_dir).unwrap().map(Result::unwrap).filter(|one| one.path().is_dir());
    folders.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

fn only_ours() -> BTreeSet<String> {
    [format!("v{ABI_VERSION}")].into()
}

/// Runs `body` with version 1 at work in a cgroup.
fn in_cgroup(body: impl FnOnce(&Path, &Cgroup, v1::Daemon) + Send) {
    // A socket belongs to the cgroup of its process.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    with_bpffs(|pin_dir| {
        let namespace = Namespace::new();
        let cgroup = Cgroup::enter();
        let mut daemon = v1::Daemon::load(pin_dir);
        daemon.address(address(SERVICE).ip(), ADDRESS_SERVICE);
        let backends = BACKENDS.map(|backend| (address(backend), 0));
        daemon.add_service(address(SERVICE), SCOPE_INTERNAL, &backends);
        daemon.reserve_backends(1025);
        daemon.attach_cgroup(cgroup.path());
        namespace.run(|| {
            BACKENDS.iter().for_each(|backend| serve_echo(address(backend)));
            body(pin_dir, &cgroup, daemon);
        });
        DataPlane::remove(pin_dir).unwrap();
        assert!(programs_of(cgroup.path()).is_empty());
        assert!(versions(pin_dir).is_empty());
    });
}

#[test]
fn sockets_notice_nothing() {
    in_cgroup(|pin_dir, cgroup, daemon| {
        let mut held = TcpStream::connect(SERVICE).unwrap();
        echoes(&mut held, "before");
        let before = links(pin_dir, 1);
        let programs = programs_of(cgroup.path());
        assert_eq!(programs.len(), v1::CGROUP_PROGRAMS.len());
        drop(daemon);

        let connect = || echoes(&mut TcpStream::connect(SERVICE).unwrap(), "who");
        let times = all_the_while(connect, || {
            let mut data_plane = DataPlane::load(&options(pin_dir)).unwrap();
            let takeover = data_plane.takeover().unwrap();
            assert_eq!((takeover.from, &takeover.lost[..]), (1, &[][..]), "{takeover:?}");
            assert!(takeover.shared.contains(&"CONNECTIONS"), "{takeover:?}");
            assert_eq!(takeover.converted["SERVICES"], 1);
            assert_eq!(takeover.converted["BACKENDS"], BACKENDS.len() + 1);
            println!("{takeover:?}");
            // No program of ours has run yet: the one that is held, and those before.
            let counters = data_plane.maps().counters.read().unwrap();
            assert!(counters[&Counter::SocketTranslated] > MORE, "{counters:?}");
            data_plane.attach_cgroup(cgroup.path()).unwrap();
        });
        println!("{times} connections meanwhile");
        echoes(&mut held, "after");
        assert_eq!(held.peer_addr().unwrap(), address(SERVICE), "it is remembered");
        assert_eq!(links(pin_dir, ABI_VERSION), before, "the same links");
        assert_eq!(programs_of(cgroup.path()), programs, "and no others");
        assert_eq!(versions(pin_dir), only_ours());

        let again = DataPlane::load(&options(pin_dir)).unwrap();
        assert_eq!(again.takeover(), None);
        let maps = again.maps();
        let reserved = maps.backends.lookup(&0).unwrap().unwrap();
        assert_eq!(reserved.address.words_be[0], 1025, "ids that were given out stay so");
        let open = maps.connections.entries().unwrap();
        let here: Vec<_> =
            open.values().filter(|origin| origin.port_be == 80_u16.to_be()).collect();
        assert_eq!(here.len(), 1, "only what is held is open: {open:?}");
    });
}

/// Runs `body` with version 1 at work at the uplink and the pod of a node.
fn in_lab(body: impl FnOnce(&Lab, &Path, &mut v1::Daemon) + Send) {
    with_bpffs(|pin_dir| {
        let lab = Lab::new();
        let mut daemon = lab.node.run(|| {
            let daemon = v1::Daemon::load(pin_dir);
            daemon.configure(ip(NODE[0]), ip(NODE[1]), NAT_PORTS);
            daemon.attach_uplink(lab.node.ifindex("up0"));
            daemon.attach_pod(lab.node.ifindex("pod0"), ip(POD[0]), ip(POD[1]));
            daemon
        });
        for family in 0..2 {
            daemon.address(ip(NODE[family]), ADDRESS_NODE);
            daemon.address(ip(VIP[family]), ADDRESS_SERVICE | ADDRESS_VIP);
            serve_tcp(&lab.pod, at(POD[family], 8080));
            serve_tcp(&lab.other, at(ELSEWHERE[family], 8080));
            for (port, backend, flags) in [(80, POD, BACKEND_LOCAL), (81, ELSEWHERE, 0)] {
                let backend = (at(backend[family], 8080), flags);
                daemon.add_service(at(VIP[family], port), SCOPE_EXTERNAL, &[backend]);
            }
        }
        body(&lab, pin_dir, &mut daemon);
        lab.node.run(|| DataPlane::remove(pin_dir)).unwrap();
        assert_eq!(attached(&lab), [0; 3]);
        assert!(versions(pin_dir).is_empty());
    });
}

/// How many programs are at the uplink's ingress and egress and at the pod.
fn attached(lab: &Lab) -> [usize; 3] {
    let places = [
        ("up0", TcAttachType::Ingress),
        ("up0", TcAttachType::Egress),
        ("pod0", TcAttachType::Ingress),
    ];
    let count = |(interface, place)| SchedClassifier::query_tcx(interface, place).unwrap().1.len();
    lab.node.run(|| places.map(count))
}

const VIP_PORTS: [u16; 2] = [80, 81];

/// Every service, as one who asks from outside reaches it.
fn asked() -> impl Iterator<Item = SocketAddr> {
    VIP.into_iter().flat_map(|vip| VIP_PORTS.map(|port| at(vip, port)))
}

struct Held {
    stream: TcpStream,
    /// The server's port and the client as it is seen there, which shows how it is translated.
    seen: (u16, SocketAddr),
}

fn hold(lab: &Lab) -> Vec<Held> {
    let hold = |service| {
        let connected = connect(lab, service);
        let mut stream = connected.unwrap_or_else(|error| panic!("{service}: {error}"));
        let seen = ask(&mut stream);
        Held { stream, seen }
    };
    asked().map(hold).collect()
}

fn go_on(held: &mut [Held]) {
    for Held { stream, seen } in held {
        assert_eq!(ask(stream), *seen, "the connection goes on");
    }
}

fn pod() -> PodAddresses {
    let (IpAddr::V4(v4), IpAddr::V6(v6)) = (ip(POD[0]), ip(POD[1])) else { unreachable!() };
    PodAddresses { v4: Some(v4), v6: Some(v6) }
}

/// All that the daemon of a node does; must run in the node's namespace.
fn start(lab: &Lab, pin_dir: &Path) -> DataPlane {
    let mut data_plane = DataPlane::load(&options(pin_dir)).unwrap();
    let pods = data_plane.attached_pods().unwrap();
    assert_eq!(pods, [lab.node.ifindex("pod0")].into(), "whoever attached them");
    assert_eq!(data_plane.attached_uplinks().unwrap(), [lab.node.ifindex("up0")].into());
    data_plane.attach_uplink(lab.node.ifindex("up0")).unwrap();
    data_plane.attach_pod(lab.node.ifindex("pod0"), pod()).unwrap();
    data_plane
}

#[test]
fn clients_outside_notice_nothing() {
    in_lab(|lab, pin_dir, _| {
        let mut held = hold(lab);
        let before = links(pin_dir, 1);
        assert_eq!(before.len(), 3);
        let connect = || {
            for service in asked() {
                ask(&mut connect(lab, service).unwrap());
            }
        };
        let times = all_the_while(connect, || {
            lab.node.run(|| {
                let data_plane = start(lab, pin_dir);
                let takeover = data_plane.takeover().unwrap();
                assert!(takeover.lost.is_empty(), "{takeover:?}");
                assert!(takeover.shared.contains(&"FLOWS_ESTABLISHED"), "{takeover:?}");
                println!("{takeover:?}");
            });
        });
        println!("{times} times {} connections meanwhile", asked().count());
        go_on(&mut held);
        assert_eq!(links(pin_dir, ABI_VERSION), before, "the same links");
        assert_eq!(attached(lab), [1; 3], "and no others");
        assert_eq!(versions(pin_dir), only_ours());
    });
}

/// Each leaves what a process leaves that is killed there.
#[test]
fn a_takeover_that_was_broken_off_is_brought_to_its_end() {
    let pin = |lab: &Lab| format!("links/pod_{}", lab.node.ifindex("pod0"));
    type Crash<'a> = &'a (dyn Fn(&Lab, &Path) + Sync);
    let ours = format!("v{ABI_VERSION}");
    let crashes: [(&str, Crash<'_>); 5] = [
        ("while maps are laid aside", &|_, pin_dir| {
            let aside = pin_dir.join("aside/maps");
            fs::create_dir_all(&aside).unwrap();
            let (from, to) = (pin_dir.join("v1/maps/PODS"), aside.join("PODS"));
            let paths = [from.to_str().unwrap(), to.to_str().unwrap()];
            bpftool(&["map", "pin", "pinned", paths[0], paths[1]]);
            assert!(to.exists());
        }),
        ("before any link", &|lab, pin_dir| {
            drop(lab.node.run(|| DataPlane::load(&options(pin_dir))).unwrap());
        }),
        ("after a link has moved", &|lab, pin_dir| {
            drop(lab.node.run(|| DataPlane::load(&options(pin_dir))).unwrap());
            let moved = pin(lab);
            fs::rename(pin_dir.join("v1").join(&moved), pin_dir.join(&ours).join(moved)).unwrap();
        }),
        ("after the uplink", &|lab, pin_dir| {
            lab.node.run(|| {
                let mut data_plane = DataPlane::load(&options(pin_dir)).unwrap();
                data_plane.attach_uplink(lab.node.ifindex("up0")).unwrap();
            });
            assert!(pin_dir.join("v1").join(pin(lab)).exists());
        }),
        ("before the folder is removed", &|lab, pin_dir| {
            drop(lab.node.run(|| start(lab, pin_dir)));
            for folder in ["v1/maps", "v1/links"] {
                fs::create_dir_all(pin_dir.join(folder)).unwrap();
            }
        }),
    ];
    for (name, crash) in crashes {
        println!("{name}");
        in_lab(|lab, pin_dir, _| {
            let before = links(pin_dir, 1);
            let mut held = hold(lab);
            crash(lab, pin_dir);
            go_on(&mut held);
            held.extend(hold(lab));
            for _ in 0..2 {
                lab.node.run(|| start(lab, pin_dir));
                go_on(&mut held);
                held.extend(hold(lab));
            }
            assert_eq!(links(pin_dir, ABI_VERSION), before, "{name}: the same links");
            assert_eq!(attached(lab), [1; 3], "{name}: and no others");
            assert_eq!(versions(pin_dir), only_ours(), "{name}");
        });
    }
}

#[test]
fn who_went_on_in_between_knows_better() {
    in_lab(|lab, pin_dir, daemon| {
        drop(lab.node.run(|| DataPlane::load(&options(pin_dir))).unwrap());
        // Nothing was attached, so version 1 is at work as before, and its daemon was started again.
        let late = at(VIP[0], 82);
        daemon.add_service(late, SCOPE_EXTERNAL, &[(at(POD[0], 8080), BACKEND_LOCAL)]);
        lab.node.run(|| start(lab, pin_dir));
        ask(&mut connect(lab, late).unwrap());
        hold(lab);
    });
}

#[test]
fn with_the_socket_programs_go_all_links_that_nobody_asks_for() {
    in_cgroup(|pin_dir, cgroup, daemon| {
        // They are of this namespace: the one that is deleted leaves a link without an interface.
        let ip = |words: &str| {
            let output = Command::new("ip").args(words.split_whitespace()).output().unwrap();
            assert!(output.status.success(), "ip {words}");
        };
        for name in ["up0", "up1"] {
            ip(&format!("link add {name} type veth peer name {name}-peer"));
            daemon.attach_uplink(ifindex(name));
        }
        daemon.attach_pod(ifindex("up0"), self::ip("10.0.0.1"), self::ip("fd00::1"));
        let gone = ifindex("up1");
        ip("link delete up1");
        let mut before = links(pin_dir, 1);
        let mut data_plane = DataPlane::load(&options(pin_dir)).unwrap();
        data_plane.attach_cgroup(cgroup.path()).unwrap();
        before.retain(|name, _| !name.ends_with(&format!("_{gone}")));
        assert_eq!(before.len(), v1::CGROUP_PROGRAMS.len() + 3);
        assert_eq!(links(pin_dir, ABI_VERSION), before);
        assert_eq!(versions(pin_dir), only_ours());
        data_plane.detach_pod(ifindex("up0")).unwrap();
        data_plane.detach_uplink(ifindex("up0")).unwrap();
        assert_eq!(links(pin_dir, ABI_VERSION).len(), v1::CGROUP_PROGRAMS.len());
    });
}

fn ifindex(name: &str) -> viaduct_net::IfIndex {
    viaduct_net::IfIndex(nix::net::if_::if_nametoindex(name).unwrap())
}

#[test]
fn a_daemon_whose_place_was_taken_attaches_nothing_beside() {
    in_cgroup(|pin_dir, cgroup, _daemon| {
        let mut data_plane = DataPlane::load(&options(pin_dir)).unwrap();
        data_plane.attach_cgroup(cgroup.path()).unwrap();
        let programs = programs_of(cgroup.path());
        fs::rename(pin_dir.join(format!("v{ABI_VERSION}")), pin_dir.join("v99")).unwrap();
        let error = data_plane.attach_cgroup(cgroup.path()).unwrap_err();
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("another version has taken over"), "{error}");
        assert_eq!(programs_of(cgroup.path()), programs);
        assert_eq!(versions(pin_dir), ["v99".to_owned()].into());
    });
}

#[test]
fn a_step_back_takes_the_links_and_says_what_is_lost() {
    in_cgroup(|pin_dir, cgroup, daemon| {
        drop(daemon);
        let mut held = TcpStream::connect(SERVICE).unwrap();
        let before = links(pin_dir, 1);
        // As the next version would have left it, with a program that we do not know.
        fs::rename(pin_dir.join("v1"), pin_dir.join("v99")).unwrap();
        let folder = pin_dir.join("v99/links");
        fs::rename(folder.join("cgroup_connect6"), folder.join("cgroup_of_tomorrow")).unwrap();
        let mut data_plane = DataPlane::load(&options(pin_dir)).unwrap();
        let takeover = data_plane.takeover().unwrap();
        let lost: BTreeMap<&str, usize> =
            takeover.lost.iter().map(|loss| (loss.map.as_str(), loss.entries)).collect();
        assert_eq!((takeover.from, lost["SERVICES"], lost["CONNECTIONS"]), (99, 1, 1));
        assert!(takeover.shared.is_empty() && takeover.converted.is_empty(), "{takeover:?}");
        let text = takeover.lost[0].to_string();
        assert_eq!(
            text,
            format!(
                "ABI version 99: 1 entries of map SERVICES were lost: it is newer than {ABI_VERSION}"
            )
        );
        data_plane.attach_cgroup(cgroup.path()).unwrap();
        let after = links(pin_dir, ABI_VERSION);
        for (name, id) in before.iter().filter(|(name, _)| *name != "cgroup_connect6") {
            assert_eq!(after.get(name), Some(id), "{name}");
        }
        assert!(programs_of(cgroup.path()).values().all(|count| *count == 1));
        assert_eq!(versions(pin_dir), only_ours());
        echoes(&mut held, "a socket that is connected passes no hook any more");
    });
}
