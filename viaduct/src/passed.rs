//! Descriptors that whoever started this process opened for it, each with a name: the protocol of
//! systemd's socket activation (sd_listen_fds(3)), which `viaduct supervise` speaks, too.
#![expect(unsafe_code, reason = "descriptors are adopted by their number")]

use std::{
    collections::BTreeMap,
    net::TcpListener,
    os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// The first descriptor that is passed; the others follow it.
pub(crate) const FIRST: RawFd = 3;
/// No daemon of ours takes so many.
pub(crate) const PASSED_MAX: usize = 64;

/// How many are passed, and their names, separated by colons.
pub(crate) const COUNT_VARIABLE: &str = "LISTEN_FDS";
pub(crate) const NAMES_VARIABLE: &str = "LISTEN_FDNAMES";
/// Whom they are for. Systemd says it; the supervisor cannot know the pid before there is one.
const PID_VARIABLE: &str = "LISTEN_PID";
/// All of them.
pub(crate) const VARIABLES: [&str; 3] = [COUNT_VARIABLE, NAMES_VARIABLE, PID_VARIABLE];

/// The API server's plain listener.
pub(crate) const API: &str = "api";
/// The sockets at which a node's DNS is asked.
pub(crate) const DNS: &str = "dns";

/// What is left of them. A descriptor has one owner, so each is taken once.
static PASSED: Mutex<Option<BTreeMap<String, Vec<OwnedFd>>>> = Mutex::new(None);

/// The descriptors passed under `name`, none where nothing was passed. Taken once.
pub(crate) fn take(name: &str) -> Result<Vec<OwnedFd>> {
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    if passed.is_none() {
        *passed = Some(adopt()?);
    }
    Ok(passed.as_mut().and_then(|all| all.remove(name)).unwrap_or_default())
}

/// The one listener of that name.
pub(crate) fn listener(name: &str) -> Result<TcpListener> {
    let mut all = take(name)?;
    match (all.pop(), all.is_empty()) {
        (Some(only), true) => Ok(only.into()),
        (None, _) => bail!("no listener named `{name}` was passed to this process"),
        (Some(_), false) => bail!("more than one listener named `{name}` was passed"),
    }
}

fn adopt() -> Result<BTreeMap<String, Vec<OwnedFd>>> {
    let variable = |name| std::env::var(name).ok();
    let own = std::process::id();
    let names =
        names(variable(COUNT_VARIABLE), variable(NAMES_VARIABLE), variable(PID_VARIABLE), own)?;
    let mut passed = BTreeMap::<String, Vec<OwnedFd>>::new();
    for (number, name) in (FIRST..).zip(names) {
        // SAFETY: the descriptor is only looked at; whether it is open is what the call finds out.
        let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
        fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))
            .with_context(|| format!("{COUNT_VARIABLE} names descriptor {number} ({name})"))?;
        // SAFETY: it is open, it was opened for this process, and `PASSED` sees to one owner.
        passed.entry(name).or_default().push(unsafe { OwnedFd::from_raw_fd(number) });
    }
    Ok(passed)
}

/// The name of each descriptor, in their order.
fn names(
    count: Option<String>,
    names: Option<String>,
    pid: Option<String>,
    own: u32,
) -> Result<Vec<String>> {
    let Some(count) = count else { return Ok(Vec::new()) };
    // Variables that a parent was given and its children inherit are not for the children.
    if pid.is_some_and(|pid| pid != own.to_string()) {
        return Ok(Vec::new());
    }
    let count: usize = count.parse().with_context(|| format!("{COUNT_VARIABLE}={count}"))?;
    if count > PASSED_MAX {
        bail!("{COUNT_VARIABLE}={count}: no more than {PASSED_MAX} are taken");
    }
    let names = names.unwrap_or_default();
    let mut names: Vec<String> = names.split(':').map(str::to_owned).take(count).collect();
    names.resize(count, "unknown".to_owned());
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(count: &str, list: &str, pid: Option<&str>) -> Result<Vec<String>> {
        names(Some(count.to_owned()), Some(list.to_owned()), pid.map(str::to_owned), 7)
    }

    #[test]
    fn each_descriptor_has_its_name() {
        assert_eq!(of("3", "dns:dns:api", None).unwrap(), ["dns", "dns", "api"]);
        assert_eq!(of("2", "dns", Some("7")).unwrap(), ["dns", "unknown"]);
        assert_eq!(names(None, None, None, 7).unwrap(), [] as [&str; 0]);
    }

    #[test]
    fn what_is_for_another_process_is_left_alone() {
        assert!(of("1", "dns", Some("8")).unwrap().is_empty());
    }

    #[test]
    fn a_wrong_count_is_refused() {
        assert!(of("many", "dns", None).is_err());
        assert!(of("65", "dns", None).is_err());
    }
}
