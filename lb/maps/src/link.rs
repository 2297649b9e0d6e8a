//! Links that outlive the process: each is a pin, adopted or given another program, and made
//! again only where what it was attached to is gone.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use tracing::debug;

use crate::{object::unpin, sys};

/// What a link is attached to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target<'a> {
    Cgroup { fd: BorrowedFd<'a>, id: u64 },
    Interface(u32),
}

impl Target<'_> {
    /// Whether the link is attached to this, and not to one of the same name that is gone.
    fn holds(&self, link: &sys::LinkInfo) -> bool {
        match self {
            Self::Cgroup { id, .. } => link.cgroup_id() == *id,
            Self::Interface(ifindex) => link.ifindex() == *ifindex,
        }
    }

    fn raw(&self) -> u32 {
        use std::os::fd::AsRawFd;
        match self {
            Self::Cgroup { fd, .. } => fd.as_raw_fd().unsigned_abs(),
            Self::Interface(ifindex) => *ifindex,
        }
    }
}

/// Leaves `program` attached behind the pinned link at `path`.
pub(crate) fn ensure(
    program: BorrowedFd<'_>,
    target: Target<'_>,
    attach_type: sys::AttachType,
    path: &Path,
) -> io::Result<()> {
    if let Some(link) = sys::object_open(path)? {
        let info = sys::link_info(link.as_fd())?;
        if target.holds(&info) {
            if same_program(info.prog_id, program)? {
                debug!(link = %path.display(), program = info.prog_id, "link adopted");
            } else {
                sys::link_update(link.as_fd(), program)?;
                debug!(link = %path.display(), replaced = info.prog_id, "link updated");
            }
            return Ok(());
        }
    }
    // The next version may have taken the folder over. Nobody could keep a link then, and for as
    // long as it lived two programs would translate.
    if !path.parent().is_some_and(Path::is_dir) {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another version has taken over"));
    }
    let link = sys::link_create(program, target.raw(), attach_type)?;
    // What was pinned here has lost its target; the new link is at work already.
    unpin(path)?;
    sys::object_pin(link.as_fd(), path)?;
    debug!(link = %path.display(), "link made");
    Ok(())
}

/// The same instructions on the same maps: the running program may stay.
fn same_program(running: u32, program: BorrowedFd<'_>) -> io::Result<bool> {
    let running = sys::program_by_id(running)?;
    let (running, running_maps) = sys::program_info(running.as_fd())?;
    let (ours, our_maps) = sys::program_info(program)?;
    Ok(running.tag == ours.tag && running_maps == our_maps)
}

/// Ends an attachment and removes its pin. Of a folder, which is but a mark, nothing ends.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    if !path.is_dir()
        && let Some(link) = sys::object_open(path)?
    {
        match sys::link_detach(link.as_fd()) {
            // The interface or cgroup is gone and has taken the attachment along.
            Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
            result => result?,
        }
    }
    unpin(path)
}
