//! DELETE of one object and of all that a selection matches.

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};

use super::{
    create::has_generation,
    read::{self, Selection},
    render::{Form, answer},
    update::is_done,
    write,
};
use crate::{
    api::Call,
    clock,
    http::{Media, Query, Response, respond},
    kinds::{Kind, SYSTEM_CLASSES},
    object, registry,
    status_error::{StatusError, deleted},
};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
/// How often a deletion is tried against what others write meanwhile.
const TRIES: usize = 16;
/// Namespaces that the server makes anew anyway.
const PROTECTED_NAMESPACES: [&str; 4] =
    ["default", "kube-system", "kube-public", "kube-node-lease"];

/// What becomes of the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Propagation {
    /// They are collected afterwards.
    Background,
    /// They go first.
    Foreground,
    /// They stay, without an owner.
    Orphan,
}

/// `metav1.DeleteOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_secs: Option<i64>,
    propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// From the body, or where there is none from the query.
    pub(crate) fn read(call: &Call, body: &[u8]) -> Result<Self, StatusError> {
        if body.is_empty() {
            return Self::of_query(&call.query);
        }
        let body = Media::of(&call.headers)?.parse(body)?;
        Self::of_body(&body, call.dry_run)
    }

    pub(crate) fn of_body(body: &Value, dry_run: bool) -> Result<Self, StatusError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let orphans = body["orphanDependents"].as_bool();
        let grace = &body["gracePeriodSeconds"];
        if !grace.is_null() && !grace.is_i64() && !grace.is_u64() {
            return Err(StatusError::bad_request(format!(
                "gracePeriodSeconds: Invalid value: {grace}: must be a number"
            )));
        }
        let mut dry = body["dryRun"].as_array().into_iter().flatten();
        if let Some(other) = dry.find(|one| *one != "All") {
            return Err(StatusError::bad_request(format!(
                "dryRun: Unsupported value: {other}: supported values: \"All\""
            )));
        }
        Ok(Self {
            grace_period_secs: grace.as_i64(),
            propagation: propagation(body["propagationPolicy"].as_str(), orphans)?,
            uid: text(&body["preconditions"]["uid"]),
            resource_version: text(&body["preconditions"]["resourceVersion"]),
            dry_run: dry_run || body["dryRun"].as_array().is_some_and(|all| !all.is_empty()),
        })
    }

    fn of_query(query: &Query) -> Result<Self, StatusError> {
        let policy = Some(query.text("propagationPolicy")).filter(|text| !text.is_empty());
        let orphans = match query.text("orphanDependents") {
            "" => None,
            _ => Some(query.flag("orphanDependents")),
        };
        let grace = query.number("gracePeriodSeconds")?;
        Ok(Self {
            grace_period_secs: grace.map(|secs| i64::try_from(secs).unwrap_or(i64::MAX)),
            propagation: propagation(policy, orphans)?,
            dry_run: query.dry_run()?,
            ..Self::default()
        })
    }

    pub(crate) fn check(&self, kind: &Kind, object: &Value) -> Result<(), StatusError> {
        for (given, is, what) in [
            (&self.uid, object::uid(object), "UID"),
            (&self.resource_version, object::resource_version(object), "ResourceVersion"),
        ] {
            if let Some(given) = given
                && given != is
            {
                let why = format!(
                    "Precondition failed: {what} in precondition: {given}, {what} in object meta: \
                     {is}"
                );
                return Err(StatusError::conflict(kind, object::name(object), &why));
            }
        }
        Ok(())
    }
}

fn propagation(
    policy: Option<&str>,
    orphans: Option<bool>,
) -> Result<Option<Propagation>, StatusError> {
    match (policy, orphans) {
        (None, None) => Ok(None),
        (None, Some(true)) => Ok(Some(Propagation::Orphan)),
        (None, Some(false)) | (Some("Background"), None) => Ok(Some(Propagation::Background)),
        (Some("Foreground"), None) => Ok(Some(Propagation::Foreground)),
        (Some("Orphan"), None) => Ok(Some(Propagation::Orphan)),
        (Some(other), None) => Err(StatusError::bad_request(format!(
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \
             \"{other}\": supported values: \"Background\", \"Foreground\", \"Orphan\""
        ))),
        (Some(_), Some(_)) => Err(StatusError::bad_request(
            "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \
             orphanDependents and deletionPropagation cannot be both set",
        )),
    }
}

pub(crate) async fn delete(call: &mut Call, body: Bytes) -> Result<Response, StatusError> {
    let options = DeleteOptions::read(call, &body)?;
    call.dry_run |= options.dry_run;
    let name = call.path.name.clone();
    let outcome = remove(call, &call.path.namespace, &name, &options).await?;
    match outcome {
        // As Kubernetes: a pod or service is shown once more, of others only that it is gone.
        Outcome::Gone(gone) if !matches!(call.kind.plural, "pods" | "services") => {
            Ok(respond::json(StatusCode::OK, &deleted(call.kind, &name, object::uid(&gone))))
        }
        Outcome::Gone(object) | Outcome::Terminating(object) => {
            answer(call, StatusCode::OK, object, &[])
        }
    }
}

pub(crate) async fn delete_collection(
    call: &mut Call,
    body: Bytes,
) -> Result<Response, StatusError> {
    let options = DeleteOptions::read(call, &body)?;
    call.dry_run |= options.dry_run;
    let selection = Selection::of(call.kind, &call.query)?;
    let _alone = call.api.deletions.acquire().await.map_err(StatusError::internal)?;
    let found = read::select(call, &selection).await?;
    let mut items = Vec::with_capacity(found.entries.len());
    for entry in found.entries {
        let object = registry::decode(&entry)?;
        let (namespace, name) = (object::namespace(&object), object::name(&object));
        match remove(call, namespace, name, &options).await {
            Ok(Outcome::Gone(object) | Outcome::Terminating(object)) => items.push(object),
            // Somebody else was faster.
            Err(error) if error.code == 404 => {}
            Err(error) => return Err(error),
        }
    }
    let metadata = json!({ "resourceVersion": found.revision.to_string() });
    Ok(respond::json(StatusCode::OK, &Form::of(call)?.list(call, items, metadata)))
}

pub(crate) enum Outcome {
    Gone(Value),
    /// Finalizers or the grace period of a pod hold it.
    Terminating(Value),
}

/// Deletes one object, or notes on it that it is to go.
pub(crate) async fn remove(
    call: &Call,
    namespace: &str,
    name: &str,
    options: &DeleteOptions,
) -> Result<Outcome, StatusError> {
    if call.kind.plural == "namespaces" && PROTECTED_NAMESPACES.contains(&name) {
        let why = "this namespace may not be deleted";
        return Err(StatusError::forbidden(call.kind, name, why));
    }
    if call.kind.plural == "priorityclasses" && SYSTEM_CLASSES.iter().any(|(one, ..)| *one == name)
    {
        let why = "this is a system priority class and cannot be deleted";
        return Err(StatusError::forbidden(call.kind, name, why));
    }
    let mut tries = 0;
    loop {
        tries += 1;
        let old = call.registry().get(call.kind, namespace, name).await?;
        options.check(call.kind, &old)?;
        let new = marked(call.kind, &old, options, clock::now_secs());
        let result = if is_done(&new) {
            write::remove(call, &old).await.map(Outcome::Gone)
        } else {
            write::replace(call, &old, new).await.map(Outcome::Terminating)
        };
        match result {
            Err(error) if error.reason == "Conflict" && tries < TRIES => {}
            other => return other,
        }
    }
}

/// The object as one that is to go.
fn marked(kind: &Kind, old: &Value, options: &DeleteOptions, now_secs: i64) -> Value {
    let mut new = old.clone();
    let mut finalizers: Vec<&str> = object::finalizers(old).collect();
    if let Some(propagation) = options.propagation {
        finalizers.retain(|one| *one != FOREGROUND && *one != ORPHAN);
        match propagation {
            Propagation::Background => {}
            Propagation::Foreground => finalizers.push(FOREGROUND),
            Propagation::Orphan => finalizers.push(ORPHAN),
        }
    }
    if finalizers.is_empty() {
        object::unset(&mut new, "finalizers");
    } else {
        object::set(&mut new, "finalizers", json!(finalizers));
    }
    let grace_secs = grace_period_secs(kind, old, options);
    if object::is_terminating(old) {
        // A grace period may be cut short, never drawn out.
        let left = old["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        let shorter = options.grace_period_secs.is_some() && grace_secs < left;
        if !shorter {
            return new;
        }
    } else if has_generation(kind) {
        object::set(&mut new, "generation", object::generation(old) + 1);
    }
    object::set(&mut new, "deletionTimestamp", clock::rfc3339(now_secs.saturating_add(grace_secs)));
    object::set(&mut new, "deletionGracePeriodSeconds", grace_secs);
    if kind.plural == "namespaces" {
        new["status"]["phase"] = "Terminating".into();
    }
    new
}

/// Seconds that a pod's kubelet may take. No kubelet needs time for a pod that no node has or that
/// has ended.
fn grace_period_secs(kind: &Kind, object: &Value, options: &DeleteOptions) -> i64 {
    const DEFAULT_SECS: i64 = 30;
    const MAX_SECS: i64 = i32::MAX as i64;
    if kind.plural != "pods" {
        return 0;
    }
    let spec = &object["spec"];
    let unassigned = spec["nodeName"].as_str().unwrap_or_default().is_empty();
    let ended = matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if unassigned || ended {
        return 0;
    }
    let secs = options
        .grace_period_secs
        .or_else(|| spec["terminationGracePeriodSeconds"].as_i64())
        .unwrap_or(DEFAULT_SECS);
    // Kubernetes: a negative period means the shortest there is.
    if secs < 0 { 1 } else { secs.min(MAX_SECS) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    fn options(body: Value) -> DeleteOptions {
        DeleteOptions::of_body(&body, false).unwrap()
    }

    fn grace(object: &Value) -> &Value {
        &object["metadata"]["deletionGracePeriodSeconds"]
    }

    #[test]
    fn a_pod_gets_its_grace_period() {
        let pods = kinds::find("", "v1", "pods").unwrap();
        let pod =
            json!({"metadata": {}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 7}});
        for (body, expected) in [
            (json!({}), 7),
            (json!({"gracePeriodSeconds": 2}), 2),
            (json!({"gracePeriodSeconds": -1}), 1),
            (json!({"gracePeriodSeconds": 0}), 0),
        ] {
            let marked = marked(pods, &pod, &options(body), 0);
            assert_eq!(grace(&marked), expected);
            assert_eq!(is_done(&marked), expected == 0);
        }
        let mut unassigned = pod.clone();
        unassigned["spec"]["nodeName"] = "".into();
        assert!(is_done(&marked(pods, &unassigned, &options(json!({})), 0)));
        let mut ended = pod.clone();
        ended["status"]["phase"] = "Failed".into();
        assert!(is_done(&marked(pods, &ended, &options(json!({})), 0)));

        let going = marked(pods, &pod, &options(json!({})), 100);
        assert_eq!(going["metadata"]["deletionTimestamp"], "1970-01-01T00:01:47Z");
        assert_eq!(marked(pods, &going, &options(json!({})), 105), going);
        assert_eq!(marked(pods, &going, &options(json!({"gracePeriodSeconds": 60})), 105), going);
        assert!(is_done(&marked(pods, &going, &options(json!({"gracePeriodSeconds": 0})), 105)));
    }

    #[test]
    fn finalizers_follow_the_policy() {
        let sets = kinds::find("apps", "v1", "replicasets").unwrap();
        let set = json!({"metadata": {"finalizers": ["a", "orphan"]}});
        for (policy, expected) in [
            (json!("Foreground"), json!(["a", "foregroundDeletion"])),
            (json!("Orphan"), json!(["a", "orphan"])),
            (json!("Background"), json!(["a"])),
            (Value::Null, json!(["a", "orphan"])),
        ] {
            let marked = marked(sets, &set, &options(json!({"propagationPolicy": policy})), 0);
            assert_eq!(marked["metadata"]["finalizers"], expected);
            assert!(!is_done(&marked));
        }
        let free = json!({"metadata": {"name": "x"}});
        assert!(is_done(&marked(sets, &free, &options(json!({})), 0)));
    }

    #[test]
    fn a_namespace_waits_for_its_finalizer() {
        let namespaces = kinds::find("", "v1", "namespaces").unwrap();
        let namespace = json!({"metadata": {}, "spec": {"finalizers": ["kubernetes"]}});
        let going = marked(namespaces, &namespace, &options(json!({})), 0);
        assert!(!is_done(&going));
        assert_eq!(going["status"]["phase"], "Terminating");
    }

    #[test]
    fn options_that_are_none() {
        for body in [
            json!({"propagationPolicy": "Sideways"}),
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
            json!({"dryRun": ["Some"]}),
            json!({"gracePeriodSeconds": "soon"}),
        ] {
            assert!(DeleteOptions::of_body(&body, false).is_err(), "{body}");
        }
    }
}
