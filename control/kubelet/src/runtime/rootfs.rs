//! A container's root: the image's layers below, a directory of its own above.

use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount};

use super::{RuntimeError, create_dir, unmount};

/// The kernel takes mount options of at most one page.
const OPTIONS_BYTES_MAX: usize = 4095;

/// Mounts `layers` (the lowest first) on `BUNDLE/rootfs`, writable.
pub(crate) fn mount_rootfs(bundle: &Path, layers: &[PathBuf]) -> Result<PathBuf, RuntimeError> {
    let (rootfs, upper, work) = (bundle.join("rootfs"), bundle.join("upper"), bundle.join("work"));
    for dir in [&rootfs, &upper, &work] {
        create_dir(dir)?;
    }
    unmount(&rootfs)?;
    let options = options(layers, &upper, &work)?;
    mount(Some("overlay"), &rootfs, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(RuntimeError::nix(format!("overlay on {}", rootfs.display())))?;
    Ok(rootfs)
}

pub(crate) fn unmount_rootfs(bundle: &Path) -> Result<(), RuntimeError> {
    unmount(&bundle.join("rootfs"))
}

fn options(layers: &[PathBuf], upper: &Path, work: &Path) -> Result<String, RuntimeError> {
    // overlayfs wants the topmost layer first.
    let lower: Vec<String> = layers.iter().rev().map(|l| l.display().to_string()).collect();
    let (upper, work) = (upper.display().to_string(), work.display().to_string());
    for path in lower.iter().chain([&upper, &work]) {
        if path.contains([':', ',', '\\']) {
            return Err(RuntimeError::Unusable(format!(
                "{path}: overlayfs takes no directory with ':', ',' or '\\' in its name"
            )));
        }
    }
    let options = format!("lowerdir={},upperdir={upper},workdir={work}", lower.join(":"));
    if options.len() > OPTIONS_BYTES_MAX {
        return Err(RuntimeError::Unusable(format!(
            "{} layers need {} bytes of mount options, {OPTIONS_BYTES_MAX} are possible; a shorter path of the image store helps",
            layers.len(),
            options.len()
        )));
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topmost_layer_comes_first() {
        let layers = [PathBuf::from("/l/base"), PathBuf::from("/l/top")];
        let options = options(&layers, Path::new("/c/upper"), Path::new("/c/work")).unwrap();
        assert_eq!(options, "lowerdir=/l/top:/l/base,upperdir=/c/upper,workdir=/c/work");
    }

    #[test]
    fn what_overlayfs_would_misread_is_refused() {
        let mount = |layer: &str| options(&[layer.into()], Path::new("/u"), Path::new("/w"));
        assert!(mount("/a:b").is_err());
        assert!(mount("/a,b").is_err());
        assert!(mount(&format!("/{}", "x".repeat(5000))).is_err());
    }
}
