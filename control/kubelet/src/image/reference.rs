//! Image references, spelled out as every client of a registry does.

use super::ImageError;

const DEFAULT_REGISTRY: &str = "docker.io";
const REFERENCE_BYTES_MAX: usize = 512;

/// `echo` is `docker.io/library/echo:latest`: the two spellings name one image.
pub fn normalize(reference: &str) -> Result<String, ImageError> {
    let malformed = || ImageError::Reference(reference.to_owned());
    let known = |c: char| c.is_ascii_alphanumeric() || "._-/:@+".contains(c);
    if reference.is_empty()
        || reference.len() > REFERENCE_BYTES_MAX
        || !reference.chars().all(known)
        || reference.starts_with('/')
        || reference.ends_with(['/', ':', '@'])
        || reference.contains("//")
    {
        return Err(malformed());
    }
    let (name, digest) = match reference.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (reference, None),
    };
    let path_start = name.rfind('/').map_or(0, |at| at + 1);
    let (repository, tag) = match name[path_start..].rfind(':') {
        Some(at) => (&name[..path_start + at], Some(&name[path_start + at + 1..])),
        None => (name, None),
    };
    if repository.is_empty() || repository.ends_with('/') {
        return Err(malformed());
    }
    let (registry, path) = match repository.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => (DEFAULT_REGISTRY, repository),
    };
    let library = if registry == DEFAULT_REGISTRY && !path.contains('/') { "library/" } else { "" };
    let suffix = match (tag, digest) {
        (_, Some(digest)) => format!("@{digest}"),
        (tag, None) => format!(":{}", tag.unwrap_or("latest")),
    };
    Ok(format!("{registry}/{library}{path}{suffix}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (short, long) in [
            ("echo", "docker.io/library/echo:latest"),
            ("echo:1", "docker.io/library/echo:1"),
            ("viaduct/echo", "docker.io/viaduct/echo:latest"),
            ("localhost/echo", "localhost/echo:latest"),
            ("reg.example:5000/a/b:2", "reg.example:5000/a/b:2"),
            ("reg.example:5000/b", "reg.example:5000/b:latest"),
            ("a/b:1@sha256:00", "docker.io/a/b@sha256:00"),
            ("docker.io/library/echo:latest", "docker.io/library/echo:latest"),
        ] {
            assert_eq!(normalize(short).unwrap(), long, "{short}");
        }
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in ["", "/a", "a/", "a:", "a b", "a//b", ":x", "a/:x"] {
            assert!(normalize(text).is_err(), "{text:?}");
        }
    }
}
