//! The way of kernels before 6.6, which have no TCX: a filter on the clsact qdisc. No link holds
//! it; it is ours by its priority and handle, and stays until it is deleted.

use std::{ffi::CStr, io};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    links::Link as _,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle},
};
use viaduct_net::IfIndex;

/// `VD`, read as a number: unlikely to be another's.
const PRIORITY: u16 = 0x5644;

/// Which of our filters it is; an interface may have one of each.
#[derive(Clone, Copy, Debug)]
#[repr(u16)]
pub(crate) enum Place {
    Uplink = 1,
    Pod = 2,
    Egress = 3,
}

impl Place {
    fn direction(self) -> TcAttachType {
        match self {
            Self::Uplink | Self::Pod => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }

    fn handle(self) -> TcHandle {
        TcHandle::new(0, self as u16)
    }
}

/// Puts the program on the interface, in place of an earlier one of ours.
pub(crate) fn ensure(
    program: &mut SchedClassifier,
    place: Place,
    ifindex: IfIndex,
) -> Result<(), ProgramError> {
    let name = interface_name(ifindex)?;
    match tc::qdisc_add_clsact(&name) {
        // Another's clsact serves us as well.
        Ok(()) | Err(TcError::AlreadyAttached) => {}
        Err(TcError::NetlinkError(error)) if error.raw_os_error() == Some(libc::EEXIST) => {}
        Err(error) => return Err(error.into()),
    }
    let options = NlOptions { priority: PRIORITY, handle: place.handle(), ..Default::default() };
    let options = TcAttachOptions::Netlink(options);
    let attached = match program.attach_with_options(&name, place.direction(), options) {
        Err(ProgramError::TcError(TcError::NetlinkError(error)))
            if error.raw_os_error() == Some(libc::EEXIST) =>
        {
            program.attach_to_link(filter(&name, place)?)?
        }
        result => result?,
    };
    // Dropped, it would detach.
    std::mem::forget(program.take_link(attached)?);
    Ok(())
}

/// Deletes our filter; the qdisc may serve others and stays.
pub(crate) fn remove(place: Place, ifindex: IfIndex) -> Result<(), ProgramError> {
    let name = match interface_name(ifindex) {
        Ok(name) => name,
        // The interface is gone, and its filters with it.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(()),
        Err(error) => return Err(ProgramError::IOError(error)),
    };
    match filter(&name, place)?.detach() {
        Err(
            ProgramError::NetlinkError(error) | ProgramError::TcError(TcError::NetlinkError(error)),
        ) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::EINVAL)) => {
            // The filter is gone, or the qdisc was deleted with it.
            Ok(())
        }
        result => result,
    }
}

fn filter(name: &str, place: Place) -> Result<SchedClassifierLink, ProgramError> {
    SchedClassifierLink::attached(name, place.direction(), PRIORITY, place.handle(), None)
        .map_err(ProgramError::IOError)
}

fn interface_name(ifindex: IfIndex) -> io::Result<String> {
    let name = nix::net::if_::if_indextoname(ifindex.0)?;
    let name: &CStr = &name;
    name.to_str().map(str::to_owned).map_err(io::Error::other)
}
