//! Whether this process follows another one of the same node, whose routes the kernel still
//! forwards by: that is what a speaker tells its peers when it comes back (RFC 4724 §4.1).

use std::{fs, path::Path};

use anyhow::{Context, Result};

use crate::paths::write_atomically;

pub(crate) struct Generation {
    restart: bool,
}

impl Generation {
    /// Reads the mark of an earlier process and leaves our own. The mark names the boot: after a
    /// reboot the kernel has forgotten the routes, whatever the file says.
    pub(crate) fn begin(run_dir: &Path) -> Result<Self> {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .context("read the kernel's boot id")?;
        let mark = run_dir.join("generation");
        let restart = fs::read_to_string(&mark).is_ok_and(|earlier| earlier == boot);
        write_atomically(&mark, boot.as_bytes(), 0o644)
            .with_context(|| format!("write {}", mark.display()))?;
        Ok(Self { restart })
    }

    pub(crate) fn is_restart(&self) -> bool {
        self.restart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_mark_of_this_boot_makes_a_restart() {
        let folder =
            std::env::temp_dir().join(format!("viaduct-generation-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert!(!Generation::begin(&folder).unwrap().is_restart());
        assert!(Generation::begin(&folder).unwrap().is_restart());
        fs::write(folder.join("generation"), "another boot").unwrap();
        assert!(!Generation::begin(&folder).unwrap().is_restart());
        fs::remove_dir_all(folder).unwrap();
    }
}
