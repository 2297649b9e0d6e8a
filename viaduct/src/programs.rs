//! Where the programs are that this one starts.

use std::{
    env,
    ffi::OsStr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// The program of that name in the folders of `PATH`.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    find_in(name, &env::var_os("PATH")?)
}

fn find_in(name: &str, path: &OsStr) -> Option<PathBuf> {
    env::split_paths(path).map(|folder| folder.join(name)).find(|path| is_program(path))
}

fn is_program(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_programs_and_nothing_else() {
        assert_eq!(find_in("sh", "/nowhere:/bin".as_ref()), Some("/bin/sh".into()));
        assert_eq!(find_in("passwd", "/etc".as_ref()), None, "no program");
        assert_eq!(find_in("bin", "/".as_ref()), None, "a folder");
        assert_eq!(find_in("sh", "".as_ref()), None);
    }
}
