//! Layers unpacked into what overlayfs takes as a lower directory.

use std::{
    fs,
    io::{self, BufReader, Read},
    path::{Component, Path, PathBuf},
};

use nix::sys::stat::{Mode, SFlag, mknod};
use sha2::{Digest, Sha256};

use super::{ImageError, hex};

const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";
const OPAQUE_XATTR: &str = "trusted.overlay.opaque";
const ENTRIES_MAX: u64 = 1_000_000;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Unpacks a layer, compressed or not, and returns the hexadecimal digest of the bare tar.
pub(super) fn unpack(reader: impl Read, into: &Path) -> Result<String, ImageError> {
    let mut buffered = BufReader::with_capacity(128 * 1024, reader);
    let magic = io::BufRead::fill_buf(&mut buffered).map_err(ImageError::io(into))?;
    if magic.starts_with(&ZSTD_MAGIC) {
        return Err(ImageError::Unsupported("zstd compression of a layer".to_owned()));
    }
    let plain: Box<dyn Read> = if magic.starts_with(&GZIP_MAGIC) {
        Box::new(flate2::bufread::MultiGzDecoder::new(buffered))
    } else {
        Box::new(buffered)
    };
    let mut hashed = Hashed { inner: plain, hash: Sha256::new() };
    unpack_tar(&mut hashed, into)?;
    // The end marker and its padding belong to the digest too.
    io::copy(&mut hashed, &mut io::sink()).map_err(ImageError::io(into))?;
    Ok(hex(&hashed.hash.finalize()))
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        self.hash.update(&buffer[..length]);
        Ok(length)
    }
}

fn unpack_tar(reader: &mut impl Read, into: &Path) -> Result<(), ImageError> {
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_unpack_xattrs(true);
    archive.set_preserve_mtime(true);
    let failed = || ImageError::io(into);
    for (count, entry) in (1..).zip(archive.entries().map_err(failed())?) {
        if count > ENTRIES_MAX {
            return Err(ImageError::Limit {
                what: "entries of a layer".into(),
                limit: ENTRIES_MAX,
            });
        }
        let mut entry = entry.map_err(failed())?;
        let path = entry.path().map_err(failed())?.into_owned();
        let Some(relative) = inside(&path) else {
            return Err(ImageError::Format(format!("{} leads out of its layer", path.display())));
        };
        let name = relative.file_name().map(|n| n.to_string_lossy().into_owned());
        match name.as_deref().and_then(|n| n.strip_prefix(WHITEOUT)) {
            Some(hidden) => whiteout(into, &relative, hidden)?,
            None => {
                let done = entry.unpack_in(into).map_err(ImageError::io(into.join(&relative)))?;
                if !done && !relative.as_os_str().is_empty() {
                    let path = path.display();
                    return Err(ImageError::Format(format!("{path} leads out of its layer")));
                }
            }
        }
    }
    Ok(())
}

/// The path below the root of the layer; `None` where it climbs out.
fn inside(path: &Path) -> Option<PathBuf> {
    let mut relative = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => relative.push(part),
            Component::CurDir | Component::RootDir => {}
            Component::ParentDir | Component::Prefix(_) => return None,
        }
    }
    Some(relative)
}

/// OCI image layer filesystem changeset, "Whiteouts", in the form overlayfs wants: an opaque
/// directory by attribute, a removed file by a character device 0:0.
fn whiteout(root: &Path, relative: &Path, hidden: &str) -> Result<(), ImageError> {
    let parent = relative.parent().unwrap_or(Path::new(""));
    let directory = real_directory(root, parent)?;
    if relative.file_name().is_some_and(|n| n == OPAQUE) {
        return xattr::set(&directory, OPAQUE_XATTR, b"y").map_err(ImageError::io(&directory));
    }
    if hidden.is_empty() || hidden == "." || hidden == ".." {
        return Err(ImageError::Format(format!("whiteout {}", relative.display())));
    }
    let path = directory.join(hidden);
    match fs::symlink_metadata(&path) {
        // The same layer has put something in the removed one's place.
        Ok(_) => Ok(()),
        Err(_) => mknod(&path, SFlag::S_IFCHR, Mode::empty(), 0)
            .map_err(|errno| ImageError::Io { path, source: errno.into() }),
    }
}

/// Creates the directory; a symbolic link on the way would lead out of the layer.
fn real_directory(root: &Path, relative: &Path) -> Result<PathBuf, ImageError> {
    let mut directory = root.to_owned();
    for part in relative.components() {
        directory.push(part);
        match fs::symlink_metadata(&directory) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => {
                let path = directory.display();
                return Err(ImageError::Format(format!("{path} is no directory")));
            }
            Err(_) => fs::create_dir(&directory).map_err(ImageError::io(&directory))?,
        }
    }
    Ok(directory)
}
