//! What a daemon of ABI version 1 left in the kernel. Its layouts are written down here: the crates
//! know those of today.

#![expect(unsafe_code, reason = "aya does not pin links of cgroups")]

use std::{
    fs::{self, File},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    path::{Path, PathBuf},
};

use aya::{
    Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData},
    programs::Program,
};
use viaduct_net::IfIndex;

static OBJECT: &[u8] = aya::include_bytes_aligned!("../objects/v1.bpf.o");

/// With the numbers of `enum bpf_attach_type`.
pub(crate) const CGROUP_PROGRAMS: [(&str, u32); 9] = [
    ("cgroup_connect4", 10),
    ("cgroup_connect6", 11),
    ("cgroup_sendmsg4", 14),
    ("cgroup_sendmsg6", 15),
    ("cgroup_recvmsg4", 19),
    ("cgroup_recvmsg6", 20),
    ("cgroup_getpeername4", 29),
    ("cgroup_getpeername6", 30),
    ("cgroup_sock_release", 34),
];
const TCX: [(&str, &str, u32); 3] = [
    ("uplink_egress", "egress_", 47),
    ("uplink_ingress", "uplink_", 46),
    ("pod_ingress", "pod_", 46),
];

const TABLE: u32 = 251;
/// No multiple of anything, as that of the second table in an arena may be.
const FIRST_OFFSET: u32 = 1000;

pub(crate) struct Daemon {
    object: Ebpf,
    folder: PathBuf,
    next_backend: u32,
    next_offset: u32,
}

impl Daemon {
    pub(crate) fn load(pin_dir: &Path) -> Self {
        let folder = pin_dir.join("v1");
        for name in ["maps", "links"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(folder.join("maps"));
        for (name, max_entries) in [
            ("SERVICES", 64),
            ("MAGLEV", 4096),
            ("BACKENDS", 64),
            ("ADDRESSES", 64),
            ("PODS", 16),
            ("CONNECTIONS", 1024),
            ("SOCKET_ORIGINS", 1024),
            ("SOCKET_CHOICES", 1024),
            ("FLOWS_EMBRYONIC", 1024),
            ("FLOWS_ESTABLISHED", 1024),
        ] {
            loader.map_max_entries(name, max_entries);
        }
        let mut object = loader.load(OBJECT).unwrap();
        for (_, program) in object.programs_mut() {
            match program {
                Program::CgroupSockAddr(program) => program.load().unwrap(),
                Program::CgroupSock(program) => program.load().unwrap(),
                Program::SchedClassifier(program) => program.load().unwrap(),
                _ => panic!("version 1 has no other kind of program"),
            }
        }
        Self { object, folder, next_backend: 1, next_offset: FIRST_OFFSET }
    }

    pub(crate) fn attach_cgroup(&self, cgroup: &Path) {
        let cgroup = File::open(cgroup).unwrap();
        for (name, attach_type) in CGROUP_PROGRAMS {
            self.attach(name, cgroup.as_raw_fd().unsigned_abs(), attach_type, name);
        }
    }

    /// In the namespace of the calling thread.
    pub(crate) fn attach_uplink(&self, uplink: IfIndex) {
        self.attach_interfaces(&TCX[..2], uplink);
    }

    /// In the namespace of the calling thread.
    pub(crate) fn attach_pod(&self, veth: IfIndex, v4: IpAddr, v6: IpAddr) {
        let value: [u8; 32] = [octets(v4), octets(v6)].concat().try_into().unwrap();
        self.put("PODS", veth.0, value);
        self.attach_interfaces(&TCX[2..], veth);
    }

    fn attach_interfaces(&self, programs: &[(&str, &str, u32)], ifindex: IfIndex) {
        for (program, prefix, attach_type) in programs {
            self.attach(program, ifindex.0, *attach_type, &format!("{prefix}{ifindex}"));
        }
    }

    fn attach(&self, program: &str, target: u32, attach_type: u32, name: &str) {
        let program = self.object.program(program).unwrap().fd().unwrap().as_fd();
        let link = link_create(program, target, attach_type);
        pin(link.as_fd(), &self.folder.join("links").join(name));
    }

    pub(crate) fn configure(&self, v4: IpAddr, v6: IpAddr, ports: [u16; 2]) {
        let ports = ports.map(u16::to_ne_bytes).concat();
        let value = [&octets(v4)[..], &octets(v6)[..], &ports[..], &[0; 4][..]].concat();
        let mut config = Array::<_, [u8; 40]>::try_from(self.map("CONFIG")).unwrap();
        config.set(0, <[u8; 40]>::try_from(value).unwrap(), 0).unwrap();
    }

    pub(crate) fn address(&self, address: IpAddr, flags: u32) {
        self.put("ADDRESSES", octets(address), flags);
    }

    /// Says that ids below may have been given out.
    pub(crate) fn reserve_backends(&self, next: u32) {
        let mut value = [0; 20];
        value[..4].copy_from_slice(&next.to_ne_bytes());
        self.put("BACKENDS", 0, value);
    }

    /// Enters a frontend of TCP over these backends, and returns their ids.
    pub(crate) fn add_service(
        &mut self,
        frontend: SocketAddr,
        scope: u8,
        backends: &[(SocketAddr, u16)],
    ) -> Vec<u32> {
        let mut ids = Vec::new();
        for (backend, flags) in backends {
            let flags = flags.to_ne_bytes();
            let value = [&at(*backend)[..], &flags[..]].concat();
            self.put("BACKENDS", self.next_backend, <[u8; 20]>::try_from(value).unwrap());
            ids.push(self.next_backend);
            self.next_backend += 1;
        }
        let mut maglev = Array::<_, u32>::try_from(self.map("MAGLEV")).unwrap();
        for (place, id) in ids.iter().cycle().take(TABLE as usize).enumerate() {
            maglev.set(self.next_offset + place as u32, id, 0).unwrap();
        }
        let tcp = 6;
        let key: [u8; 20] = [&at(frontend)[..], &[tcp, scope]].concat().try_into().unwrap();
        let generation = 1;
        let words = [self.next_offset, TABLE, generation, 0];
        let value: [u8; 16] = words.map(u32::to_ne_bytes).concat().try_into().unwrap();
        self.put("SERVICES", key, value);
        self.next_offset += TABLE;
        ids
    }

    fn put<K: Pod, V: Pod>(&self, name: &str, key: K, value: V) {
        let mut map = HashMap::<_, K, V>::try_from(self.map(name)).unwrap();
        map.insert(key, value, 0).unwrap();
    }

    fn map(&self, name: &str) -> Map {
        let map = MapData::from_pin(self.folder.join("maps").join(name)).unwrap();
        Map::from_map_data(map).unwrap()
    }
}

/// IPv4 is mapped into IPv6.
fn octets(address: IpAddr) -> [u8; 16] {
    let mapped: Ipv6Addr = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    mapped.octets()
}

fn at(address: SocketAddr) -> Vec<u8> {
    [&octets(address.ip())[..], &address.port().to_be_bytes()].concat()
}

fn bpf(command: i32, attr: &mut [u64; 8]) -> i64 {
    // SAFETY: the words are a prefix of `union bpf_attr`, of the size we tell; a path in them
    // outlives the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(attr)) };
    assert!(result >= 0, "command {command}: {}", std::io::Error::last_os_error());
    result
}

/// Two words of 32 bits as one of 64.
fn pair(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn link_create(program: BorrowedFd<'_>, target: u32, attach_type: u32) -> OwnedFd {
    const LINK_CREATE: i32 = 28;
    let mut attr = [0; 8];
    attr[0] = pair(raw(program), target);
    attr[1] = pair(attach_type, 0);
    let fd = bpf(LINK_CREATE, &mut attr);
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn pin(object: BorrowedFd<'_>, path: &Path) {
    const OBJ_PIN: i32 = 6;
    let path = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let mut attr = [0; 8];
    attr[0] = path.as_ptr() as u64;
    attr[1] = pair(raw(object), 0);
    bpf(OBJ_PIN, &mut attr);
}
