//! The form in which the client wants objects.

use crate::status_error::StatusError;

/// A form of objects and lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Json,
    /// A `meta.k8s.io` Table of this version.
    Table(&'static str),
    /// Nothing but the metadata.
    PartialMetadata(&'static str),
}

const OFFERED: &[&str] = &[
    "application/json",
    "application/json;as=Table;g=meta.k8s.io;v=v1",
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
];

impl Output {
    /// The first of the Accept header that we have: its order rules, as in Kubernetes.
    pub(crate) fn of(accept: &str) -> Result<Self, StatusError> {
        if accept.trim().is_empty() {
            return Ok(Self::Json);
        }
        accept
            .split(',')
            .find_map(Self::of_clause)
            .ok_or_else(|| StatusError::not_acceptable(OFFERED))
    }

    fn of_clause(clause: &str) -> Option<Self> {
        let mut parts = clause.split(';').map(str::trim);
        match parts.next()?.to_ascii_lowercase().as_str() {
            "application/json" | "application/*" | "*/*" => {}
            _ => return None,
        }
        let (mut form, mut group, mut version) = ("", "", "");
        for parameter in parts {
            match parameter.split_once('=')? {
                ("as", value) => form = value,
                ("g", value) => group = value,
                ("v", value) => version = value,
                // `q`, `charset`, `stream`.
                _ => {}
            }
        }
        let version = match (form, group, version) {
            ("", ..) => return Some(Self::Json),
            (_, "meta.k8s.io", "v1") => "meta.k8s.io/v1",
            (_, "meta.k8s.io", "v1beta1") => "meta.k8s.io/v1beta1",
            _ => return None,
        };
        match form {
            "Table" => Some(Self::Table(version)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => {
                Some(Self::PartialMetadata(version))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_known_wins() {
        for (accept, expected) in [
            ("", Some(Output::Json)),
            ("*/*", Some(Output::Json)),
            ("application/json; q=0.9", Some(Output::Json)),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some(Output::Table("meta.k8s.io/v1")),
            ),
            ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Some(Output::Json)),
            ("application/vnd.kubernetes.protobuf,application/json", Some(Output::Json)),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some(Output::PartialMetadata("meta.k8s.io/v1")),
            ),
            ("application/vnd.kubernetes.protobuf", None),
            ("text/html", None),
        ] {
            assert_eq!(Output::of(accept).ok(), expected, "{accept}");
        }
    }
}
