//! Links that another version left: each moves to this version's folder before it gets this
//! version's program.

use std::{fs, io, os::fd::AsFd, path::Path};

use tracing::info;

use crate::{
    link,
    object::{Pins, unpin},
    sys,
};

/// Moves the pin of this name to `own`, if another version has it. It stays attached all the while,
/// to the program that it has.
pub(crate) fn claim(own: &Pins, others: &[Pins], name: &str) -> io::Result<()> {
    let ours = own.links.join(name);
    for other in others {
        let theirs = other.links.join(name);
        if !theirs.exists() {
            continue;
        }
        if ours.exists() {
            give_up(&ours, &theirs)?;
        } else {
            fs::rename(&theirs, &ours)?;
            info!(name, from = other.number, "link taken over");
        }
    }
    Ok(())
}

/// Where both versions are attached, the other one is to be no longer.
fn give_up(ours: &Path, theirs: &Path) -> io::Result<()> {
    if theirs.is_dir() || link_id(ours)? == link_id(theirs)? {
        // One attachment with two names.
        unpin(theirs)
    } else {
        link::remove(theirs)
    }
}

fn link_id(path: &Path) -> io::Result<Option<u32>> {
    if path.is_dir() {
        return Ok(None);
    }
    let link = sys::object_open(path)?;
    link.map(|link| Ok(sys::link_info(link.as_fd())?.id)).transpose()
}

/// Whether what the link was attached to is gone. Of clsact, whose mark is a folder, the interface
/// has to be asked.
pub(crate) fn has_lost_interface(path: &Path, ifindex: u32) -> io::Result<bool> {
    if path.is_dir() {
        return Ok(nix::net::if_::if_indextoname(ifindex).is_err());
    }
    match sys::object_open(path)? {
        Some(link) => Ok(sys::link_info(link.as_fd())?.ifindex() == 0),
        None => Ok(true),
    }
}

/// Removes the folders of other versions in which no link is left; those that stay are returned.
pub(crate) fn sweep(others: Vec<Pins>) -> Result<Vec<Pins>, (std::path::PathBuf, io::Error)> {
    let (stay, go): (Vec<_>, Vec<_>) = others.into_iter().partition(Pins::has_links);
    for pins in go {
        pins.remove_maps()?;
        info!(version = pins.number, "folder removed");
    }
    Ok(stay)
}
