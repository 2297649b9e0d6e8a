//! `SelfSubjectAccessReview`: what the asker may do. Nothing is stored.

use hyper::StatusCode;
use serde_json::json;

use crate::{
    auth::{
        Identity,
        authorize::{Attributes, Decision, decide, may_see_path},
    },
    http::{Media, ResourcePath, Response, respond},
    status_error::StatusError,
};

pub(crate) fn is_review(path: &ResourcePath) -> bool {
    path.group == "authorization.k8s.io"
        && path.version == "v1"
        && path.plural == "selfsubjectaccessreviews"
        && path.name.is_empty()
}

pub(crate) fn review(
    identity: &Identity,
    media: Media,
    body: &[u8],
) -> Result<Response, StatusError> {
    let mut review = media.parse(body)?;
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |field: &str| resource[field].as_str().unwrap_or_default();
    let (allowed, reason) = if resource.is_object() {
        let wanted = Attributes {
            verb: text("verb"),
            group: text("group"),
            plural: text("resource"),
            subresource: text("subresource"),
            namespace: text("namespace"),
            name: text("name"),
        };
        match decide(identity, &wanted) {
            Decision::Allow => (true, ""),
            Decision::AllowIf(_) => (true, "only for what belongs to the node itself"),
            Decision::Deny => (false, ""),
        }
    } else if path.is_object() {
        (may_see_path(identity, path["path"].as_str().unwrap_or_default()), "")
    } else {
        return Err(StatusError::bad_request(
            "exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ));
    };
    review["kind"] = "SelfSubjectAccessReview".into();
    review["apiVersion"] = "authorization.k8s.io/v1".into();
    review["status"] = if reason.is_empty() {
        json!({ "allowed": allowed })
    } else {
        json!({ "allowed": allowed, "reason": reason })
    };
    Ok(respond::json(StatusCode::CREATED, &review))
}
