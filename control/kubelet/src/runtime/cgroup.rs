//! Control groups, where there is one hierarchy (cgroup2) and where there are many.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::spec::{CPU_PERIOD_MICROS, Resources};

/// The hierarchies of this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hierarchies {
    /// cgroup v1: controllers and where they are mounted.
    v1: Vec<(Vec<String>, PathBuf)>,
    v2: Option<PathBuf>,
}

/// What a group has used and uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu_nanos: u64,
    /// Without the page cache that could go at any time.
    pub(crate) memory_bytes: u64,
}

impl Hierarchies {
    pub(crate) fn detect() -> io::Result<Self> {
        Ok(Self::parse(&fs::read_to_string("/proc/self/mountinfo")?))
    }

    /// `proc(5)`, "mountinfo": the type follows the lone dash, the mount point is the fifth field.
    fn parse(mountinfo: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else { continue };
            let Some(target) = before.split(' ').nth(4) else { continue };
            let mut fields = after.split(' ');
            let (kind, options) = (fields.next(), fields.nth(1).unwrap_or_default());
            match kind {
                Some("cgroup") => {
                    let controllers: Vec<String> = options.split(',').map(str::to_owned).collect();
                    if !found.v1.iter().any(|(known, _)| *known == controllers) {
                        found.v1.push((controllers, PathBuf::from(target)));
                    }
                }
                Some("cgroup2") if found.v2.is_none() => found.v2 = Some(PathBuf::from(target)),
                _ => {}
            }
        }
        found
    }

    fn controller(&self, name: &str) -> Option<&Path> {
        self.v1
            .iter()
            .find(|(controllers, _)| controllers.iter().any(|c| c == name))
            .map(|(_, path)| path.as_path())
    }

    fn directories<'a>(&'a self, group: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
        let relative = group.trim_start_matches('/');
        self.v1.iter().map(|(_, path)| path).chain(&self.v2).map(move |root| root.join(relative))
    }

    /// Makes the group, with what all below it together may use.
    pub(crate) fn limit(&self, group: &str, resources: &Resources) -> io::Result<()> {
        let relative = Path::new(group.trim_start_matches('/'));
        let unified = self.v2.as_ref().filter(|_| self.controller("cpu").is_none());
        if let Some(root) = unified {
            fs::create_dir_all(root.join(relative))?;
            hand_down(root, relative)?;
        }
        for (path, value) in self.settings(relative, resources) {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            fs::write(&path, value).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", path.display()))
            })?;
        }
        Ok(())
    }

    /// Files of the group and what to write into them.
    fn settings(&self, group: &Path, resources: &Resources) -> Vec<(PathBuf, String)> {
        let mut settings = Vec::new();
        let period = CPU_PERIOD_MICROS;
        match (self.controller("cpu"), &self.v2) {
            (Some(root), _) => {
                let dir = root.join(group);
                settings.push((dir.join("cpu.shares"), resources.cpu_shares.to_string()));
                if let Some(quota) = resources.cpu_quota_micros {
                    settings.push((dir.join("cpu.cfs_period_us"), period.to_string()));
                    settings.push((dir.join("cpu.cfs_quota_us"), quota.to_string()));
                }
            }
            (None, Some(root)) => {
                let dir = root.join(group);
                let weight = cpu_weight(resources.cpu_shares);
                settings.push((dir.join("cpu.weight"), weight.to_string()));
                if let Some(quota) = resources.cpu_quota_micros {
                    settings.push((dir.join("cpu.max"), format!("{quota} {period}")));
                }
            }
            (None, None) => {}
        }
        let memory = match (self.controller("memory"), &self.v2) {
            (Some(root), _) => Some(root.join(group).join("memory.limit_in_bytes")),
            (None, Some(root)) => Some(root.join(group).join("memory.max")),
            (None, None) => None,
        };
        settings.extend(
            memory.and_then(|path| Some((path, resources.memory_limit_bytes?.to_string()))),
        );
        settings
    }

    /// Removes the group and those below it; one that still has processes stays and is an error.
    pub(crate) fn remove(&self, group: &str) -> io::Result<()> {
        self.directories(group).try_for_each(|dir| remove_tree(&dir))
    }

    /// Every process in the group and below.
    pub(crate) fn processes(&self, group: &str) -> Vec<i32> {
        let mut pids = Vec::new();
        for dir in self.directories(group) {
            collect_processes(&dir, &mut pids);
        }
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// How many processes of the group the kernel has killed for want of memory.
    pub(crate) fn oom_kills(&self, group: &str) -> u64 {
        let file = match (self.controller("memory"), &self.v2) {
            (Some(root), _) => root.join(group.trim_start_matches('/')).join("memory.oom_control"),
            (None, Some(root)) => root.join(group.trim_start_matches('/')).join("memory.events"),
            (None, None) => return 0,
        };
        keyed(&fs::read_to_string(file).unwrap_or_default(), "oom_kill ").unwrap_or(0)
    }

    /// `None` where the group does not exist.
    pub(crate) fn usage(&self, group: &str) -> Option<Usage> {
        let relative = group.trim_start_matches('/');
        let mut usage = Usage::default();
        match self.controller("cpuacct") {
            Some(root) => {
                usage.cpu_nanos = number(&root.join(relative).join("cpuacct.usage"))?;
            }
            None => {
                let stat = fs::read_to_string(self.v2.as_ref()?.join(relative).join("cpu.stat"));
                usage.cpu_nanos = keyed(&stat.ok()?, "usage_usec")?.saturating_mul(1000);
            }
        }
        let (directory, current, inactive) = match self.controller("memory") {
            Some(root) => (root.join(relative), "memory.usage_in_bytes", "total_inactive_file"),
            None => (self.v2.as_ref()?.join(relative), "memory.current", "inactive_file"),
        };
        let stat = fs::read_to_string(directory.join("memory.stat")).unwrap_or_default();
        let cache = keyed(&stat, inactive).unwrap_or(0);
        usage.memory_bytes = number(&directory.join(current))?.saturating_sub(cache);
        Some(usage)
    }
}

/// cgroup2's weight for the shares of version 1, as runtimes agreed on: 2 is 1, 262144 is 10000.
fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// cgroup2: a group has the controllers that each group above it hands down.
fn hand_down(root: &Path, group: &Path) -> io::Result<()> {
    let mut dir = root.to_owned();
    for part in group {
        fs::write(dir.join("cgroup.subtree_control"), "+cpu +memory +pids")?;
        dir.push(part);
    }
    Ok(())
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

fn subgroups(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|t| t.is_dir()))
        .map(|e| e.path())
        .collect()
}

fn remove_tree(dir: &Path) -> io::Result<()> {
    for child in subgroups(dir) {
        remove_tree(&child)?;
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn collect_processes(dir: &Path, pids: &mut Vec<i32>) {
    for child in subgroups(dir) {
        collect_processes(&child, pids);
    }
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
33 25 0:28 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755
34 33 0:29 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw
36 33 0:31 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory
37 33 0:32 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct
";

    #[test]
    fn a_hybrid_host_has_both() {
        let found = Hierarchies::parse(HYBRID);
        assert_eq!(found.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(found.controller("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        assert_eq!(found.controller("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        let all: Vec<_> = found.directories("/viaduct/n1").collect();
        assert_eq!(all[0], Path::new("/sys/fs/cgroup/memory/viaduct/n1"));
        assert_eq!(all.len(), 3);
    }

    #[test]
    fn a_unified_host_has_one() {
        let found =
            Hierarchies::parse("24 22 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n");
        assert_eq!(found.v1, []);
        assert_eq!(found.directories("/a").collect::<Vec<_>>(), [Path::new("/sys/fs/cgroup/a")]);
    }

    #[test]
    fn usage_of_a_unified_group_leaves_the_cache_out() {
        let dir = tempfile::tempdir().unwrap();
        let group = dir.path().join("a");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("cpu.stat"), "usage_usec 12\nuser_usec 5\n").unwrap();
        fs::write(group.join("memory.current"), "100\n").unwrap();
        fs::write(group.join("memory.stat"), "anon 5\ninactive_file 30\n").unwrap();
        let hierarchies = Hierarchies { v1: Vec::new(), v2: Some(dir.path().to_owned()) };
        let usage = hierarchies.usage("/a").unwrap();
        assert_eq!(usage, Usage { cpu_nanos: 12_000, memory_bytes: 70 });
        assert_eq!(hierarchies.usage("/none"), None);
    }

    #[test]
    fn limits_are_written_as_each_world_wants_them() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let resources = Resources {
            cpu_shares: 1024,
            cpu_quota_micros: Some(50_000),
            memory_limit_bytes: Some(1 << 20),
            pids_limit: 0,
        };
        let written = |hierarchies: &Hierarchies| -> Vec<String> {
            let settings = hierarchies.settings(Path::new("p/a"), &resources).into_iter();
            settings
                .map(|(path, value)| {
                    format!("{} {value}", path.strip_prefix(&root).unwrap().display())
                })
                .collect()
        };
        let v1 = Hierarchies {
            v1: vec![
                (vec!["cpu".to_owned(), "cpuacct".to_owned()], root.join("c")),
                (vec!["memory".to_owned()], root.join("m")),
            ],
            v2: Some(root.join("u")),
        };
        assert_eq!(
            written(&v1),
            [
                "c/p/a/cpu.shares 1024",
                "c/p/a/cpu.cfs_period_us 100000",
                "c/p/a/cpu.cfs_quota_us 50000",
                "m/p/a/memory.limit_in_bytes 1048576",
            ]
        );
        let v2 = Hierarchies { v1: Vec::new(), v2: Some(root.join("u")) };
        assert_eq!(
            written(&v2),
            ["u/p/a/cpu.weight 39", "u/p/a/cpu.max 50000 100000", "u/p/a/memory.max 1048576"]
        );
        v2.limit("/p/a", &resources).unwrap();
        for above in ["u", "u/p"] {
            let handed = fs::read_to_string(root.join(above).join("cgroup.subtree_control"));
            assert_eq!(handed.unwrap(), "+cpu +memory +pids", "{above}");
        }
        assert!(!root.join("u/p/a/cgroup.subtree_control").exists(), "that is runc's to do");
        assert_eq!((cpu_weight(2), cpu_weight(262_144)), (1, 10_000));
    }

    #[test]
    fn kills_for_want_of_memory_are_read_in_both_worlds() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        let v1_text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        fs::write(dir.path().join("a/memory.oom_control"), v1_text).unwrap();
        let v2_text = "low 0\nmax 9\noom 1\noom_kill 2\noom_group_kill 0\n";
        fs::write(dir.path().join("a/memory.events"), v2_text).unwrap();
        let root = dir.path().to_owned();
        let v1 = Hierarchies { v1: vec![(vec!["memory".to_owned()], root.clone())], v2: None };
        let v2 = Hierarchies { v1: Vec::new(), v2: Some(root) };
        assert_eq!((v1.oom_kills("/a"), v2.oom_kills("/a"), v2.oom_kills("/none")), (3, 2, 0));
    }
}
