//! From a request to an answer: what is asked for, by whom, whether he may, and who does it.

mod create;
mod delete;
mod evict;
mod listing;
pub(crate) mod log;
mod paths;
mod pods;
pub(crate) mod read;
pub(crate) mod render;
mod review;
mod scale;
mod update;
mod used;
mod write;

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use hyper::{HeaderMap, Method, Request, body::Incoming, header};
use tracing::debug;

use self::update::Part;
use crate::{
    api::{Api, Call},
    auth::{
        Attributes, Decision, Identity, Peer, Verb,
        authorize::{Condition, decide, denial, may_see_path},
    },
    http::{Media, Output, Query, ResourcePath, Response, Target, body, respond},
    kinds::{self, Kind},
    selector::FieldSelector,
    status_error::StatusError,
    ui, watch,
};

/// Answers one request; whatever goes wrong is an answer, too.
pub(crate) async fn handle(api: Arc<Api>, peer: Peer, request: Request<Incoming>) -> Response {
    let begun = Instant::now();
    let target = Target::of(request.uri().path());
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (verb, resource, result) = match target {
        Target::Path if ui::is_ours(&path) => ("get", "", ui::answer(&api, &peer, &request).await),
        Target::Path => ("get", "", of_path(&api, &peer, &request).await),
        Target::Resource(resource) => of_resource(api.clone(), &peer, resource, request).await,
    };
    let response = result.unwrap_or_else(|error| {
        debug!(%method, path, code = error.code, error = error.message, "refused");
        respond::error(&error)
    });
    let duration = begun.elapsed();
    let code = response.status().as_u16();
    debug!(%method, path, code, ?duration, "request");
    api.metrics.request(verb, resource, code, duration);
    response
}

fn identity(peer: &Peer) -> Result<&Identity, StatusError> {
    match peer {
        Peer::Known(identity) => Ok(identity),
        Peer::Anonymous => Err(StatusError::unauthorized()),
        Peer::Refused => {
            let mut error = StatusError::forbidden_path("system:anonymous", "connect to", "/");
            error.message = "this port serves root on this machine only".to_owned();
            Err(error)
        }
    }
}

async fn of_path(
    api: &Api,
    peer: &Peer,
    request: &Request<Incoming>,
) -> Result<Response, StatusError> {
    let path = request.uri().path();
    if !paths::is_public(path) {
        let identity = identity(peer)?;
        if !may_see_path(identity, path) {
            let verb = request.method().as_str().to_ascii_lowercase();
            return Err(StatusError::forbidden_path(&identity.user, &verb, path));
        }
    }
    paths::answer(api, request.method(), path, request.headers()).await
}

/// The verb and kind, for the metrics, and the answer.
async fn of_resource(
    api: Arc<Api>,
    peer: &Peer,
    path: ResourcePath,
    request: Request<Incoming>,
) -> (&'static str, &'static str, Result<Response, StatusError>) {
    let identity = match identity(peer) {
        Ok(identity) => identity.clone(),
        Err(error) => return ("", "", Err(error)),
    };
    if review::is_review(&path) {
        let answer = answer_review(&api, &identity, request).await;
        return ("create", "selfsubjectaccessreviews", answer);
    }
    let Some(kind) = kinds::find(&path.group, &path.version, &path.plural) else {
        return ("", "", Err(StatusError::unknown_path()));
    };
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query());
    let verb = match verb_of(kind, &parts.method, &path, &query) {
        Ok(verb) => verb,
        Err(error) => return ("", kind.plural, Err(error)),
    };
    let result = async {
        let (output, dry_run) = (Output::of(&accept(&parts.headers))?, query.dry_run()?);
        let headers = parts.headers;
        let call = Call { api, identity, kind, path, query, headers, output, dry_run };
        let condition = authorize(&call, verb).await?;
        perform(call, verb, condition, body).await
    };
    (verb.name(), kind.plural, result.await)
}

async fn answer_review(
    api: &Api,
    identity: &Identity,
    request: Request<Incoming>,
) -> Result<Response, StatusError> {
    if request.method() != Method::POST {
        return Err(StatusError::method_not_allowed_here());
    }
    let _permit = api.request(identity)?;
    let media = Media::of(request.headers())?;
    let (body, _room) = body::read(api, identity, request.into_body()).await?;
    review::review(identity, media, &body)
}

/// All Accept headers as one.
pub(crate) fn accept(headers: &HeaderMap) -> String {
    let values = headers.get_all(header::ACCEPT).iter();
    values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(",")
}

/// What a method means on a path, if the kind has it.
fn verb_of(
    kind: &Kind,
    method: &Method,
    path: &ResourcePath,
    query: &Query,
) -> Result<Verb, StatusError> {
    let is_one = !path.name.is_empty();
    let misplaced = if kind.namespaced {
        path.namespace.is_empty() && (is_one || method != Method::GET)
    } else {
        !path.namespace.is_empty()
    };
    let subresource = path.subresource.as_str();
    let known = subresource.is_empty() || kind.has_subresource(subresource);
    if misplaced || !known {
        return Err(StatusError::unknown_path());
    }
    let verb = match *method {
        Method::GET if is_one => Verb::Get,
        Method::GET if query.flag("watch") => Verb::Watch,
        Method::GET => Verb::List,
        Method::POST if !is_one || !subresource.is_empty() => Verb::Create,
        Method::PUT if is_one => Verb::Update,
        Method::PATCH if is_one => Verb::Patch,
        Method::DELETE if is_one => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => return Err(StatusError::method_not_allowed_here()),
    };
    let has = match subresource {
        "" => kind.verbs.contains(&verb.name()),
        "binding" | "eviction" => verb == Verb::Create,
        "log" => verb == Verb::Get,
        "finalize" => verb == Verb::Update,
        "status" | "scale" => matches!(verb, Verb::Get | Verb::Update | Verb::Patch),
        _ => false,
    };
    if has { Ok(verb) } else { Err(StatusError::method_not_allowed_here()) }
}

fn attributes<'a>(call: &'a Call, verb: &'a str) -> Attributes<'a> {
    Attributes {
        verb,
        group: call.kind.group,
        plural: call.kind.plural,
        subresource: &call.path.subresource,
        namespace: &call.path.namespace,
        name: &call.path.name,
    }
}

/// Whether the request may be. A condition that only the new object can fulfil is returned.
async fn authorize(call: &Call, verb: Verb) -> Result<Option<Condition>, StatusError> {
    let mut wanted = attributes(call, verb.name());
    let selector;
    if matches!(verb, Verb::List | Verb::Watch) {
        selector = FieldSelector::parse(call.kind, call.query.text("fieldSelector"))?;
        wanted.name = selector.exact_name().unwrap_or_default();
    }
    let deny = || Err(denial(&call.identity, call.kind, &wanted));
    let condition = match decide(&call.identity, &wanted) {
        Decision::Allow => return Ok(None),
        Decision::Deny => return deny(),
        Decision::AllowIf(condition) => condition,
    };
    let Some(node) = call.identity.node() else { return deny() };
    let namespace = call.path.namespace.as_str();
    match condition {
        Condition::NamedAsNode => return Ok(Some(condition)),
        Condition::OwnPod => {
            let pod = call.registry().get(call.kind, namespace, wanted.name).await?;
            if pod["spec"]["nodeName"] != node {
                return deny();
            }
        }
        Condition::UsedByNode => {
            let used = !namespace.is_empty()
                && (used::by_pods(call, node, wanted.plural, wanted.name).await?
                    || used::by_peers(call, node, wanted.plural, wanted.name).await?);
            if !used {
                return deny();
            }
        }
    }
    Ok(None)
}

async fn perform(
    mut call: Call,
    verb: Verb,
    condition: Option<Condition>,
    body: Incoming,
) -> Result<Response, StatusError> {
    match (verb, call.path.subresource.as_str()) {
        (Verb::Watch, _) => return watch::watch(call).await,
        (Verb::Get, "log") => return log::log(&call).await,
        _ => {}
    }
    let api = call.api.clone();
    let permit = api.request(&call.identity)?;
    match (verb, call.path.subresource.as_str()) {
        (Verb::List, _) => return read::list(call).await,
        (Verb::Get, "" | "status") => return read::get(&call).await,
        _ => {}
    }
    let (body, room) = body::read(&call.api, &call.identity, body).await?;
    // A deletion of many takes turns as it looks for them.
    let is_long = body.len() > LONG_BODY_BYTES && verb != Verb::DeleteCollection;
    // A change is carried to its end also when the client goes away meanwhile: what the store has
    // taken must be known to the allocator.
    let changed = async move {
        let _held = (permit, room);
        change(&mut call, verb, condition, body).await
    };
    let changed = if is_long { tokio::spawn(beside(api, changed)) } else { tokio::spawn(changed) };
    changed.await.unwrap_or_else(|error| Err(StatusError::internal(error)))
}

/// A body from this size on is worked on beside the others.
const LONG_BODY_BYTES: usize = 64 << 10;

/// Works on a thread of its own, in turns with others of the kind. Nothing in between yields: a body
/// of some megabytes is parsed for a tenth of a second or more.
async fn beside<F>(api: Arc<Api>, long: F) -> Result<Response, StatusError>
where
    F: Future<Output = Result<Response, StatusError>> + Send + 'static,
{
    let _work = api.work.acquire().await.map_err(StatusError::internal)?;
    let runtime = tokio::runtime::Handle::current();
    let done = tokio::task::spawn_blocking(move || runtime.block_on(long)).await;
    done.unwrap_or_else(|error| Err(StatusError::internal(error)))
}

async fn change(
    call: &mut Call,
    verb: Verb,
    condition: Option<Condition>,
    body: Bytes,
) -> Result<Response, StatusError> {
    let subresource = call.path.subresource.clone();
    match (verb, subresource.as_str()) {
        (_, "scale") => scale::scale(call, verb, body).await,
        (Verb::Create, "binding") => pods::bind(call, body).await,
        (Verb::Create, "eviction") => evict::evict(call, body).await,
        (Verb::Create, "") => create::create(call, body, condition).await,
        (Verb::Delete, "") => delete::delete(call, body).await,
        (Verb::DeleteCollection, "") => delete::delete_collection(call, body).await,
        (Verb::Update | Verb::Patch, part) => match Part::of(part) {
            Some(part) if verb == Verb::Update => update::put(call, part, body).await,
            Some(part) => update::patch(call, part, body).await,
            None => Err(StatusError::unknown_path()),
        },
        _ => Err(StatusError::method_not_allowed_here()),
    }
}
