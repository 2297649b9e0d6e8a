//! Settings of one interface under /proc/sys/net, which shows the namespace of the calling thread.

use std::{fs, io, path::Path};

use viaduct_net::Family;

#[derive(Debug, thiserror::Error)]
#[error("cannot set {path} to {value}: {source}")]
pub(crate) struct SysctlError {
    path: String,
    value: &'static str,
    source: io::Error,
}

const ROOT: &str = "/proc/sys/net";

/// Makes the node a router. An IPv6 router ignores router advertisements unless told twice
/// (`accept_ra` 2), so interfaces that heed them go on doing so: a host's own default route may
/// come from there.
pub(crate) fn forward(family: Family) -> Result<(), SysctlError> {
    let all = format!("{ROOT}/{family}/conf/all/forwarding");
    if read(&all)? == "1" {
        return Ok(());
    }
    if family == Family::V6 {
        let interfaces = Path::new(ROOT).join(family.to_string()).join("conf");
        for entry in fs::read_dir(interfaces).into_iter().flatten().flatten() {
            let accept_ra = entry.path().join("accept_ra").to_string_lossy().into_owned();
            if entry.file_name() != "all" && read(&accept_ra).is_ok_and(|now| now == "1") {
                write(&accept_ra, "2")?;
            }
        }
    }
    write(&all, "1")
}

fn read(path: &str) -> Result<String, SysctlError> {
    let text = fs::read_to_string(path);
    text.map(|text| text.trim().to_owned()).map_err(|source| SysctlError {
        path: path.to_owned(),
        value: "anything",
        source,
    })
}

fn write(path: &str, value: &'static str) -> Result<(), SysctlError> {
    fs::write(path, value).map_err(|source| SysctlError { path: path.to_owned(), value, source })
}

/// Sets what differs.
pub(crate) fn set(
    family: Family,
    interface: &str,
    settings: &[(&str, &'static str)],
) -> Result<(), SysctlError> {
    for (name, value) in settings {
        let path = format!("{ROOT}/{family}/conf/{interface}/{name}");
        if read(&path)? != *value {
            write(&path, value)?;
        }
    }
    Ok(())
}
