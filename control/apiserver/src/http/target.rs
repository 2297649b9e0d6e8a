//! The path of a request, in the terms of the Kubernetes API.

use percent_encoding::percent_decode_str;

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Objects of a kind.
    Resource(ResourcePath),
    /// Everything else: `/version`, `/apis`, `/openapi/v3/…`.
    Path,
}

/// `/apis/GROUP/VERSION[/namespaces/NAMESPACE]/PLURAL[/NAME[/SUBRESOURCE]]`; a part that is not
/// there is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) plural: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
}

/// Parts of a path that are looked at. No path of the API has more.
const MAX_PARTS: usize = 10;

impl Target {
    pub(crate) fn of(path: &str) -> Self {
        Self::resource(path).map_or(Self::Path, Self::Resource)
    }

    fn resource(path: &str) -> Option<ResourcePath> {
        let parts: Vec<String> = path
            .strip_prefix('/')?
            .split('/')
            .take(MAX_PARTS)
            .map(|part| percent_decode_str(part).decode_utf8_lossy().into_owned())
            .collect();
        // No name has a slash in it; one that came in disguise would reach into other keys.
        if parts.iter().any(|part| part.contains('/')) {
            return None;
        }
        let mut parts = match parts.last() {
            Some(last) if last.is_empty() => &parts[..parts.len() - 1],
            _ => &parts[..],
        };
        let mut out = ResourcePath::default();
        match parts {
            [api, version, rest @ ..] if api == "api" => {
                out.version.clone_from(version);
                parts = rest;
            }
            [apis, group, version, rest @ ..] if apis == "apis" => {
                out.group.clone_from(group);
                out.version.clone_from(version);
                parts = rest;
            }
            _ => return None,
        }
        // `namespaces/x/status` and `/finalize` are of the namespace itself, not in it.
        if let [namespaces, namespace, inside, rest @ ..] = parts
            && namespaces == "namespaces"
            && !(rest.is_empty() && matches!(inside.as_str(), "status" | "finalize"))
        {
            out.namespace.clone_from(namespace);
            parts = &parts[2..];
        }
        match parts {
            [plural] => out.plural.clone_from(plural),
            [plural, name] => {
                out.plural.clone_from(plural);
                out.name.clone_from(name);
            }
            [plural, name, subresource] => {
                out.plural.clone_from(plural);
                out.name.clone_from(name);
                out.subresource.clone_from(subresource);
            }
            _ => return None,
        }
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_resources() {
        for (path, expected) in [
            ("/api/v1/nodes", ["", "v1", "", "nodes", "", ""]),
            ("/api/v1/nodes/n1/status", ["", "v1", "", "nodes", "n1", "status"]),
            ("/api/v1/pods", ["", "v1", "", "pods", "", ""]),
            ("/api/v1/namespaces", ["", "v1", "", "namespaces", "", ""]),
            ("/api/v1/namespaces/x", ["", "v1", "", "namespaces", "x", ""]),
            ("/api/v1/namespaces/x/finalize", ["", "v1", "", "namespaces", "x", "finalize"]),
            ("/api/v1/namespaces/x/pods", ["", "v1", "x", "pods", "", ""]),
            ("/api/v1/namespaces/x/pods/p/log", ["", "v1", "x", "pods", "p", "log"]),
            ("/api/v1/namespaces/x/status/p", ["", "v1", "x", "status", "p", ""]),
            (
                "/apis/apps/v1/namespaces/x/replicasets/r%2Ds/",
                ["apps", "v1", "x", "replicasets", "r-s", ""],
            ),
        ] {
            let Target::Resource(got) = Target::of(path) else { panic!("{path}") };
            let got =
                [got.group, got.version, got.namespace, got.plural, got.name, got.subresource];
            assert_eq!(got, expected, "{path}");
        }
    }

    #[test]
    fn other_paths() {
        for path in [
            "",
            "/",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/apis",
            "/apis/apps",
            "/apis/apps/v1",
            "/version",
            "/openapi/v3/api/v1",
            "/api/v1/nodes/a/b/c",
            "/api/v1/namespaces/a%2Fb/pods",
            "api/v1/pods",
        ] {
            assert_eq!(Target::of(path), Target::Path, "{path}");
        }
    }
}
