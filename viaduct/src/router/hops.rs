//! The names by which a file is found. Each of them may come to stand for something else: an editor
//! renames a new file over the old one, a ConfigMap's `..data` becomes a link to another folder.

use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs, io,
    path::{Component, Path, PathBuf},
};

/// A name, and the folder in which it is looked up.
pub(super) type Hop = (PathBuf, OsString);

/// As many links as the kernel follows (path_resolution(7)).
const MAX_LINKS: usize = 40;

/// Every look-up on the way to `path`, in order. Where a name is not there the way ends with it.
pub(super) fn of(path: &Path) -> io::Result<Vec<Hop>> {
    let mut folder = PathBuf::new();
    let mut left = parts(&std::path::absolute(path)?);
    let (mut hops, mut links) = (Vec::new(), 0);
    while let Some(part) = left.pop_front() {
        if part == "/" {
            folder = PathBuf::from("/");
            continue;
        }
        if part == ".." {
            folder.pop();
            continue;
        }
        let found = folder.join(&part);
        hops.push((folder.clone(), part));
        match fs::read_link(&found) {
            Ok(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other(format!("{}: too many links", path.display())));
                }
                let mut parts = parts(&target);
                parts.append(&mut left);
                left = parts;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            // It is no link, or what it is cannot be said: the way goes through it.
            Err(_) => folder = found,
        }
    }
    Ok(hops)
}

fn parts(path: &Path) -> VecDeque<OsString> {
    let all = path.components().filter(|part| *part != Component::CurDir);
    all.map(Component::as_os_str).map(OsStr::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_config_map_is_found_by_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        fs::create_dir(root.join("..1")).unwrap();
        fs::write(root.join("..1/bgp.yaml"), "").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/bgp.yaml", root.join("bgp.yaml")).unwrap();
        let hops = of(&root.join("bgp.yaml")).unwrap();
        let own: Vec<_> = hops.iter().filter(|(at, _)| at.starts_with(&root)).cloned().collect();
        let hop = |at: &Path, name: &str| (at.to_owned(), OsString::from(name));
        assert_eq!(
            own,
            [
                hop(&root, "bgp.yaml"),
                hop(&root, "..data"),
                hop(&root, "..1"),
                hop(&root.join("..1"), "bgp.yaml"),
            ]
        );
        // Its own folder's folders, too.
        assert_eq!(hops[0].0, Path::new("/"));
        let absent = of(&root.join("none/bgp.yaml")).unwrap();
        assert_eq!(absent.last(), Some(&hop(&root, "none")));
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert!(of(&root.join("a")).is_err());
    }
}
