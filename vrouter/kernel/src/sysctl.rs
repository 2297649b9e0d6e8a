//! The settings of the network namespace that a router needs, each changed only where it has to be.

use std::{fs, io, path::PathBuf};

use tracing::info;

use crate::KernelError;

/// Shows the network namespace of the thread that opens a file below it.
const NET: &str = "/proc/sys/net";

/// Makes the namespace forward packets, over these uplinks.
///
/// Before forwarding is switched on, interfaces that accept router advertisements are told to go on
/// doing so (`accept_ra` 2): with 1 they would stop, and the node lose its default route. Strict
/// reverse path filtering of an uplink becomes loose, because with several paths an answer may come
/// in over another link than the one its source is routed to; what is off or loose stays so.
pub fn prepare(uplinks: &[String]) -> Result<(), KernelError> {
    let tree = Tree::of_this_thread();
    tree.keep_router_advertisements()?;
    tree.set("ipv4/ip_forward", "1")?;
    if tree.exists("ipv6/conf/all") {
        tree.set("ipv6/conf/all/forwarding", "1")?;
    }
    for uplink in uplinks {
        tree.loosen_reverse_path(uplink)?;
    }
    // Without it the kernel tells of every route of a group whenever the group changes.
    if tree.exists("ipv4/nexthop_compat_mode") {
        tree.set("ipv4/nexthop_compat_mode", "0")?;
    }
    Ok(())
}

struct Tree {
    root: PathBuf,
}

impl Tree {
    fn of_this_thread() -> Self {
        Self { root: PathBuf::from(NET) }
    }

    fn exists(&self, name: &str) -> bool {
        self.root.join(name).exists()
    }

    fn read(&self, name: &str) -> Result<String, KernelError> {
        let path = self.root.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.trim().to_owned()),
            Err(source) => Err(KernelError::SysctlRead { path, source }),
        }
    }

    fn set(&self, name: &str, wanted: &str) -> Result<(), KernelError> {
        let found = self.read(name)?;
        if found == wanted {
            return Ok(());
        }
        fs::write(self.root.join(name), wanted).map_err(|source| KernelError::Sysctl {
            name: format!("net.{}", name.replace('/', ".")),
            found: found.clone(),
            wanted: wanted.to_owned(),
            source,
        })?;
        info!(name, from = found, to = wanted, "sysctl set");
        Ok(())
    }

    fn keep_router_advertisements(&self) -> Result<(), KernelError> {
        for interface in self.interfaces("ipv6/conf")? {
            let of = |name: &str| format!("ipv6/conf/{interface}/{name}");
            let accepts = self.read(&of("accept_ra"))? == "1";
            if accepts && self.read(&of("forwarding"))? == "0" {
                self.set(&of("accept_ra"), "2")?;
            }
        }
        Ok(())
    }

    /// The folders of real interfaces; `all` and `default` are none. Empty without the family.
    fn interfaces(&self, folder: &str) -> Result<Vec<String>, KernelError> {
        let path = self.root.join(folder);
        let entries = match fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(KernelError::SysctlRead { path, source }),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry =
                entry.map_err(|source| KernelError::SysctlRead { path: path.clone(), source })?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if !matches!(name.as_str(), "all" | "default" | "lo") {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// The kernel takes the higher of `all` and the interface's own: 1 is strict, 2 loose.
    fn loosen_reverse_path(&self, interface: &str) -> Result<(), KernelError> {
        let own = format!("ipv4/conf/{interface}/rp_filter");
        let strict = |value: &str| value == "1";
        let all = self.read("ipv4/conf/all/rp_filter")?;
        let value = self.read(&own)?;
        if all != "2" && value != "2" && (strict(&all) || strict(&value)) {
            self.set(&own, "2")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> (Tree, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{value}\n")).unwrap();
        }
        (Tree { root: folder.path().to_owned() }, folder)
    }

    #[test]
    fn only_interfaces_that_learn_by_advertisement_are_kept_learning() {
        let (tree, _folder) = tree(&[
            ("ipv6/conf/all/accept_ra", "1"),
            ("ipv6/conf/all/forwarding", "0"),
            ("ipv6/conf/eth0/accept_ra", "1"),
            ("ipv6/conf/eth0/forwarding", "0"),
            ("ipv6/conf/eth1/accept_ra", "0"),
            ("ipv6/conf/eth1/forwarding", "0"),
            ("ipv6/conf/eth2/accept_ra", "1"),
            ("ipv6/conf/eth2/forwarding", "1"),
        ]);
        tree.keep_router_advertisements().unwrap();
        let values = ["all", "eth0", "eth1", "eth2"]
            .map(|name| tree.read(&format!("ipv6/conf/{name}/accept_ra")).unwrap());
        assert_eq!(values, ["1", "2", "0", "1"]);
    }

    #[test]
    fn reverse_path_filters_are_loosened_only_where_strict() {
        for (all, own, after) in
            [("0", "0", "0"), ("1", "0", "2"), ("0", "1", "2"), ("2", "1", "1"), ("1", "2", "2")]
        {
            let (tree, _folder) =
                tree(&[("ipv4/conf/all/rp_filter", all), ("ipv4/conf/eth0/rp_filter", own)]);
            tree.loosen_reverse_path("eth0").unwrap();
            assert_eq!(tree.read("ipv4/conf/eth0/rp_filter").unwrap(), after, "{all} {own}");
        }
    }

    #[test]
    fn an_error_names_the_setting() {
        let (tree, _folder) = tree(&[]);
        let error = tree.set("ipv4/ip_forward", "1").unwrap_err();
        assert!(error.to_string().contains("ipv4/ip_forward"), "{error}");
    }
}
