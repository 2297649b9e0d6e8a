//! Mounts that outlive the calls that make them.

use std::path::Path;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::RuntimeError;

pub(crate) fn bind_tmpfs(target: &Path, options: &str) -> Result<(), RuntimeError> {
    super::create_dir(target)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("viaduct"), target, Some("tmpfs"), flags, Some(options))
        .map_err(RuntimeError::nix(format!("tmpfs on {}", target.display())))
}

/// Detaches whatever is mounted there, however often; nothing mounted is fine too.
pub(crate) fn unmount(target: &Path) -> Result<(), RuntimeError> {
    // A limit, because a loop without one would be at the mercy of whoever mounts there.
    for _ in 0..16 {
        match umount2(target, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) => {}
            Err(nix::Error::EINVAL | nix::Error::ENOENT) => return Ok(()),
            Err(errno) => {
                return Err(RuntimeError::nix(format!("umount {}", target.display()))(errno));
            }
        }
    }
    Ok(())
}
