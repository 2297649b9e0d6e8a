//! Everything of a node taken away, without its API and whatever state it was left in.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{RuntimeError, cgroup::Hierarchies, mounts::unmount};

/// Time for killed processes to leave their groups.
const LIMIT: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// Kills every container below `cgroup_parent`, removes its cgroups, unmounts what is mounted
/// below `root` in this mount namespace and deletes `root`. What is gone already is no error, so
/// that it may be called again after a crash half-way.
///
/// Blocking; for the time after the node's own processes have ended.
pub fn purge(root: &Path, cgroup_parent: &str) -> Result<(), RuntimeError> {
    if cgroup_parent.trim_matches('/').is_empty() {
        // The root group holds every process of the machine.
        return Err(RuntimeError::Unusable("the root cgroup is no node's".to_owned()));
    }
    let hierarchies = Hierarchies::detect().map_err(RuntimeError::io("cgroups"))?;
    let deadline = Instant::now() + LIMIT;
    loop {
        // Again each time: what was killed may have had children in the meantime.
        let processes = hierarchies.processes(cgroup_parent);
        for &pid in &processes {
            // One that has just ended by itself is what we want.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let removed = match processes.is_empty() {
            true => hierarchies.remove(cgroup_parent),
            false => Err(std::io::ErrorKind::ResourceBusy.into()),
        };
        match removed {
            Ok(()) => break,
            Err(source) if Instant::now() > deadline => {
                return Err(RuntimeError::Io { what: format!("cgroup {cgroup_parent}"), source });
            }
            Err(_busy) => std::thread::sleep(PAUSE),
        }
    }
    unmount_below(root)?;
    loop {
        // A conmon may still be leaving its exit code.
        match crate::disk::remove(root) {
            Ok(()) => return Ok(()),
            Err(source) if Instant::now() > deadline => {
                return Err(RuntimeError::Io { what: root.display().to_string(), source });
            }
            Err(_busy) => std::thread::sleep(PAUSE),
        }
    }
}

fn unmount_below(root: &Path) -> Result<(), RuntimeError> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo")
        .map_err(RuntimeError::io("/proc/self/mountinfo"))?;
    // Deeper ones first.
    for target in targets_below(&mountinfo, root).iter().rev() {
        unmount(Path::new(target))?;
    }
    Ok(())
}

fn targets_below(mountinfo: &str, root: &Path) -> BTreeSet<String> {
    mountinfo
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(unescape)
        .filter(|target| Path::new(target).starts_with(root) && Path::new(target) != root)
        .collect()
}

/// `proc(5)`: space, tab, newline and backslash are octal.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_is_found() {
        let mountinfo = "\
1 0 0:1 / /state/a rw - overlay overlay rw
2 0 0:1 / /state/a/b\\040c rw - tmpfs tmpfs rw
3 0 0:1 / /stately rw - tmpfs tmpfs rw
4 0 0:1 / /state rw - tmpfs tmpfs rw
";
        let found = targets_below(mountinfo, Path::new("/state"));
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["/state/a", "/state/a/b c"]);
    }
}
