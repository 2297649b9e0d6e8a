//! `config.json` of the OCI runtime specification, for one container.

use std::path::PathBuf;

use serde_json::{Value, json};

/// Everything that is decided about a container before it is created.
#[derive(Clone, Debug, Default)]
pub(crate) struct ContainerSpec {
    pub(crate) arguments: Vec<String>,
    /// `NAME=value`.
    pub(crate) env: Vec<String>,
    pub(crate) working_dir: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) additional_gids: Vec<u32>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) privileged: bool,
    pub(crate) no_new_privileges: bool,
    pub(crate) read_only_root: bool,
    pub(crate) terminal: bool,
    pub(crate) oom_score_adj: i32,
    pub(crate) rootfs: PathBuf,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) namespaces: SharedNamespaces,
    pub(crate) cgroup: String,
    pub(crate) resources: Resources,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) source: PathBuf,
    pub(crate) destination: String,
    pub(crate) read_only: bool,
    /// Mounts made below the source later appear in the container too.
    pub(crate) follow_host: bool,
}

/// Namespaces to join; where there is no path the container has the node's.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedNamespaces {
    pub(crate) network: Option<PathBuf>,
    pub(crate) uts: Option<PathBuf>,
    pub(crate) ipc: PathBuf,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resources {
    pub(crate) cpu_shares: u64,
    pub(crate) cpu_quota_micros: Option<i64>,
    pub(crate) memory_limit_bytes: Option<i64>,
    pub(crate) pids_limit: i64,
}

pub(crate) const CPU_PERIOD_MICROS: u64 = 100_000;

/// What a container may do unless it says otherwise: the customary set without NET_RAW, which
/// would let it send from any address; ping works without it.
pub(crate) const DEFAULT_CAPABILITIES: [&str; 13] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Capabilities by their numbers (include/uapi/linux/capability.h).
const CAPABILITIES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

const MASKED_PATHS: [&str; 10] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

const READ_ONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

impl ContainerSpec {
    pub(crate) fn to_json(&self) -> Value {
        let mut linux = json!({
            "cgroupsPath": self.cgroup,
            "namespaces": self.namespaces(),
            "resources": self.resources(),
        });
        if !self.privileged {
            linux["maskedPaths"] = json!(MASKED_PATHS);
            linux["readonlyPaths"] = json!(READ_ONLY_PATHS);
        }
        json!({
            "ociVersion": "1.0.2",
            "process": self.process(),
            "root": { "path": self.rootfs, "readonly": self.read_only_root },
            "mounts": self.mounts(),
            "linux": linux,
        })
    }

    fn process(&self) -> Value {
        let capabilities = json!(self.capabilities);
        // Ambient capabilities are not given: who changes the user drops them, as elsewhere.
        let effective = if self.uid == 0 { &self.capabilities[..] } else { &[] };
        json!({
            "terminal": self.terminal,
            "user": {
                "uid": self.uid,
                "gid": self.gid,
                "additionalGids": self.additional_gids,
            },
            "args": self.arguments,
            "env": self.env,
            "cwd": self.working_dir,
            "capabilities": {
                "bounding": capabilities,
                "effective": effective,
                "permitted": effective,
            },
            "noNewPrivileges": self.no_new_privileges,
            "oomScoreAdj": self.oom_score_adj,
        })
    }

    fn namespaces(&self) -> Value {
        let mut namespaces = vec![
            json!({ "type": "pid" }),
            json!({ "type": "mount" }),
            json!({ "type": "ipc", "path": self.namespaces.ipc }),
        ];
        for (kind, path) in [("network", &self.namespaces.network), ("uts", &self.namespaces.uts)] {
            if let Some(path) = path {
                namespaces.push(json!({ "type": kind, "path": path }));
            }
        }
        json!(namespaces)
    }

    fn resources(&self) -> Value {
        let mut cpu = json!({ "shares": self.resources.cpu_shares });
        if let Some(quota) = self.resources.cpu_quota_micros {
            cpu["quota"] = json!(quota);
            cpu["period"] = json!(CPU_PERIOD_MICROS);
        }
        let mut resources = json!({
            "cpu": cpu,
            "pids": { "limit": self.resources.pids_limit },
            "devices": [{ "allow": self.privileged, "access": "rwm" }],
        });
        if let Some(limit) = self.resources.memory_limit_bytes {
            resources["memory"] = json!({ "limit": limit });
        }
        resources
    }

    fn mounts(&self) -> Value {
        let sys = if self.privileged { "rw" } else { "ro" };
        let mut mounts = vec![
            mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
            mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
            mount(
                "/dev/pts",
                "devpts",
                "devpts",
                &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
            ),
            mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
            mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        ];
        for extra in &self.mounts {
            mounts.push(json!({
                "destination": extra.destination,
                "type": "bind",
                "source": extra.source,
                "options": [
                    "rbind",
                    if extra.follow_host { "rslave" } else { "rprivate" },
                    if extra.read_only { "ro" } else { "rw" },
                ],
            }));
        }
        json!(mounts)
    }
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

/// Everything that we could give: nobody passes on what he does not have.
pub(crate) fn bounding_set() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapBnd:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let given = CAPABILITIES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
    given.map(|(_, name)| format!("CAP_{name}")).collect()
}

/// A pod writes `NET_ADMIN`, the runtime wants `CAP_NET_ADMIN`.
pub(crate) fn capability(name: &str) -> String {
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") }
}

/// cgroup v1's weight for a request: 1024 is one processor, 2 the least the kernel takes.
pub(crate) fn cpu_shares(request_millis: u64) -> u64 {
    (request_millis.saturating_mul(1024) / 1000).clamp(2, 262_144)
}

/// Microseconds of processor time in each period; the kernel takes no less than 1000.
pub(crate) fn cpu_quota_micros(limit_millis: u64) -> i64 {
    let quota = limit_millis.saturating_mul(CPU_PERIOD_MICROS) / 1000;
    i64::try_from(quota).unwrap_or(i64::MAX).max(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_quota_follow_the_kernels_bounds() {
        assert_eq!(cpu_shares(0), 2);
        assert_eq!(cpu_shares(100), 102);
        assert_eq!(cpu_shares(2000), 2048);
        assert_eq!(cpu_quota_micros(1), 1000);
        assert_eq!(cpu_quota_micros(500), 50_000);
    }

    #[test]
    fn a_pod_on_the_hosts_network_joins_only_ipc() {
        let spec = ContainerSpec {
            namespaces: SharedNamespaces { ipc: "/ns/ipc".into(), network: None, uts: None },
            ..ContainerSpec::default()
        };
        let kinds: Vec<String> = spec.to_json()["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| n["type"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["pid", "mount", "ipc"]);
    }

    #[test]
    fn another_user_gets_no_capabilities_of_root() {
        let spec = ContainerSpec {
            uid: 1000,
            capabilities: vec!["CAP_CHOWN".to_owned()],
            ..ContainerSpec::default()
        };
        let process = &spec.to_json()["process"];
        assert_eq!(process["capabilities"]["effective"], json!([]));
        assert_eq!(process["capabilities"]["bounding"], json!(["CAP_CHOWN"]));
    }
}
