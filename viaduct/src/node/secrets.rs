//! The Secrets that the BGPPeers of this node name for their passwords and keys.
//!
//! Each is watched by its name: a node may read no others. Only the values that are named are kept, in a
//! file of root's own, too, and never in the view: a session comes up again without the API server, and
//! what an operator collects of a node holds no password.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    fs, io,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    stream::{BoxStream, select_all},
};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::{
    Api, Client,
    runtime::{
        WatchStreamExt,
        watcher::{self, watch_object},
    },
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tracing::{debug, warn};
use viaduct_api::v1alpha1::{SECRET_NAMESPACE, SecretKeyRef};

use super::{
    bgp,
    cache::{Source, View},
};
use crate::{kubeclient::Retry, paths::write_atomically};

/// Each is a watch of its own.
const MAX_SECRETS: usize = 256;
/// The API says so long nothing of a Secret before its peers are said to be without.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// More than any password has.
pub(super) const MAX_VALUE_LEN: usize = 4096;

/// The keys that are named, by the name of their Secret.
pub(crate) type Wanted = BTreeMap<String, BTreeSet<String>>;
/// The values, by the name of the Secret and the key.
type Saved = BTreeMap<String, BTreeMap<String, ByteString>>;

pub(crate) fn wanted(view: &View, node: &str) -> Wanted {
    let mut wanted = Wanted::new();
    for reference in bgp::own_peers(view, node).flat_map(|peer| peer.spec.secrets()) {
        wanted.entry(reference.name.clone()).or_default().insert(reference.key.clone());
    }
    wanted
}

/// What is known of a value.
#[derive(Clone, PartialEq)]
enum Known {
    There(ByteString),
    /// The Secret has no such key.
    NoKey,
    NoSecret,
    /// It was not read, and why.
    Unread(String),
}

/// What is known of the values that are wanted. It is not to be printed.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Secrets {
    known: BTreeMap<SecretKeyRef, Known>,
    /// Why a Secret is not to be read any more of which the values are known.
    refused: BTreeMap<String, String>,
}

impl Secrets {
    /// Whether there is an answer for each, be it that there is none.
    pub(crate) fn answer(&self, wanted: &Wanted) -> bool {
        references(wanted).all(|reference| self.known.contains_key(&reference))
    }

    /// A value, or what is to be done for there to be one.
    pub(crate) fn value(&self, reference: &SecretKeyRef) -> Result<Vec<u8>, String> {
        let SecretKeyRef { name, key } = reference;
        let place = format!("Secret {SECRET_NAMESPACE}/{name}");
        Err(match self.known.get(reference) {
            Some(Known::There(value)) => return Ok(value.0.clone()),
            Some(Known::NoKey) => {
                format!("{place} has no key `{key}`: add it, or name one that is there")
            }
            Some(Known::NoSecret) => format!(
                "{place} is missing: kubectl -n {SECRET_NAMESPACE} create secret generic {name} \
                 --from-file={key}=FILE"
            ),
            Some(Known::Unread(why)) => format!("{place}, key `{key}`, cannot be read: {why}"),
            None => format!("{place}, key `{key}`, has not been read yet"),
        })
    }

    /// What the operator should know although every session has its password.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        self.refused.iter().map(|(name, why)| {
            format!(
                "BGP: Secret {SECRET_NAMESPACE}/{name} cannot be read any more, its peers go on with \
                 what it held: {why}"
            )
        })
    }

    /// Forgets what is not wanted any more.
    fn prune(&mut self, wanted: &Wanted) {
        let is_wanted =
            |one: &SecretKeyRef| wanted.get(&one.name).is_some_and(|keys| keys.contains(&one.key));
        self.known.retain(|reference, _| is_wanted(reference));
        self.refused.retain(|name, _| wanted.contains_key(name));
    }

    /// `None` where there is no such Secret.
    fn read(&mut self, name: &str, keys: &BTreeSet<String>, secret: Option<Secret>) {
        let is_there = secret.is_some();
        let mut data = secret.and_then(|secret| secret.data).unwrap_or_default();
        for reference in references_to(name, keys) {
            let known = match data.remove(&reference.key) {
                Some(mut value) => {
                    value.0.truncate(MAX_VALUE_LEN);
                    Known::There(value)
                }
                None if is_there => Known::NoKey,
                None => Known::NoSecret,
            };
            self.known.insert(reference, known);
        }
        self.refused.remove(name);
    }

    /// What is known stays: that the server is away says nothing of the Secret, and a right that was
    /// taken away is no reason to end sessions.
    fn unread(&mut self, name: &str, keys: &BTreeSet<String>, unread: &Unread) {
        for reference in references_to(name, keys) {
            match self.known.get(&reference) {
                None | Some(Known::Unread(_)) => {
                    self.known.insert(reference, Known::Unread(unread.why.clone()));
                }
                Some(_) if unread.refused => {
                    self.refused.insert(name.to_owned(), unread.why.clone());
                }
                Some(_) => {}
            }
        }
    }

    /// What is to outlive this process.
    fn saving(&self) -> Saved {
        let mut saving = Saved::new();
        for (SecretKeyRef { name, key }, known) in &self.known {
            if let Known::There(value) = known {
                saving.entry(name.clone()).or_default().insert(key.clone(), value.clone());
            }
        }
        saving
    }
}

impl From<Saved> for Secrets {
    fn from(saved: Saved) -> Self {
        let values = saved.into_iter().flat_map(|(name, values)| {
            values.into_iter().map(move |(key, value)| {
                (SecretKeyRef { name: name.clone(), key }, Known::There(value))
            })
        });
        Self { known: values.collect(), refused: BTreeMap::new() }
    }
}

fn references(wanted: &Wanted) -> impl Iterator<Item = SecretKeyRef> {
    wanted.iter().flat_map(|(name, keys)| references_to(name, keys))
}

fn references_to(name: &str, keys: &BTreeSet<String>) -> impl Iterator<Item = SecretKeyRef> {
    keys.iter().map(move |key| SecretKeyRef { name: name.to_owned(), key: key.clone() })
}

/// Why a Secret was not read.
struct Unread {
    /// The node may not.
    refused: bool,
    why: String,
}

impl Unread {
    fn failed(error: impl Display) -> Self {
        Self { refused: false, why: format!("the API server does not answer: {error}") }
    }
}

impl From<&watcher::Error> for Unread {
    fn from(error: &watcher::Error) -> Self {
        use watcher::Error::{InitialListFailed, WatchError, WatchFailed, WatchStartFailed};
        let status = match error {
            InitialListFailed(error) | WatchStartFailed(error) | WatchFailed(error) => {
                match error {
                    kube::Error::Api(status) => status,
                    other => return Self::failed(other),
                }
            }
            WatchError(status) => status,
            other => return Self::failed(other),
        };
        match status.code {
            403 => Self {
                refused: true,
                why: format!(
                    "{}: a Role in {SECRET_NAMESPACE} has to let the node get, list and watch it; \
                     on Viaduct's own API server the nodeSelector has to be of labels under \
                     node-restriction.kubernetes.io/",
                    status.message
                ),
            },
            401 => Self { refused: true, why: format!("not known there: {}", status.message) },
            _ => Self { refused: false, why: status.message.clone() },
        }
    }
}

/// Follows the Secrets until the receiver is dropped. What an earlier run has left is there at once. The
/// file is written while it is our turn.
pub(crate) fn follow(
    source: watch::Receiver<Source>,
    view: watch::Receiver<Option<Arc<View>>>,
    node: &str,
    file: PathBuf,
    turn: watch::Receiver<bool>,
) -> watch::Receiver<Arc<Secrets>> {
    let saved = load(&file);
    let secrets = Secrets::from(saved.clone());
    let (publish, receiver) = watch::channel(Arc::new(secrets.clone()));
    let node = node.to_owned();
    let follower = Follower { source, view, node, file, turn, saved, secrets, publish };
    tokio::spawn(follower.run());
    receiver
}

struct Follower {
    source: watch::Receiver<Source>,
    view: watch::Receiver<Option<Arc<View>>>,
    node: String,
    file: PathBuf,
    turn: watch::Receiver<bool>,
    /// What the file holds.
    saved: Saved,
    secrets: Secrets,
    publish: watch::Sender<Arc<Secrets>>,
}

type Watches = futures::stream::SelectAll<BoxStream<'static, (String, Seen)>>;
type Seen = Result<Option<Secret>, watcher::Error>;

impl Follower {
    async fn run(mut self) {
        // Nothing is unwanted before it is known what is wanted.
        if self.view.wait_for(Option::is_some).await.is_err() {
            return;
        }
        loop {
            let wanted = self.wanted();
            let client = self.source.borrow_and_update().client.clone();
            self.secrets.prune(&wanted);
            for (name, keys) in wanted.iter().skip(MAX_SECRETS) {
                let why = format!("a node reads {MAX_SECRETS} Secrets at most");
                self.secrets.unread(name, keys, &Unread { refused: true, why });
            }
            self.publish();
            if !self.follow(&wanted, client).await {
                return;
            }
        }
    }

    /// Until other Secrets are wanted, or over another connection; gives whether anybody still wants any.
    async fn follow(&mut self, wanted: &Wanted, client: Client) -> bool {
        let mut watches = self.watches(wanted, client);
        let mut deadline = pin!(sleep_until(Instant::now() + ANSWER_WAIT));
        let mut waits = true;
        loop {
            tokio::select! {
                Some((name, seen)) = watches.next() => {
                    if let Some(keys) = wanted.get(&name) {
                        self.note(&name, keys, seen);
                    }
                }
                () = &mut deadline, if waits => {
                    waits = false;
                    self.give_up(wanted);
                }
                changed = self.view.changed() => match changed {
                    Ok(()) if self.wanted() == *wanted => {}
                    changed => return changed.is_ok(),
                },
                changed = self.source.changed() => return changed.is_ok(),
                Ok(()) = self.turn.changed() => self.publish(),
                () = self.publish.closed() => return false,
            }
        }
    }

    fn wanted(&mut self) -> Wanted {
        let view = self.view.borrow_and_update();
        view.as_ref().map(|view| wanted(view, &self.node)).unwrap_or_default()
    }

    fn watches(&self, wanted: &Wanted, client: Client) -> Watches {
        let api = Api::<Secret>::namespaced(client, SECRET_NAMESPACE);
        select_all(wanted.keys().take(MAX_SECRETS).map(|name| {
            let of = name.clone();
            let watch = watch_object(api.clone(), name).backoff(Retry::new(&self.node));
            watch.map(move |seen| (of.clone(), seen)).boxed()
        }))
    }

    fn note(&mut self, name: &str, keys: &BTreeSet<String>, seen: Seen) {
        match seen {
            Ok(secret) => self.secrets.read(name, keys, secret),
            Err(error) => {
                debug!(secret = name, %error, "watch");
                self.secrets.unread(name, keys, &Unread::from(&error));
            }
        }
        self.publish();
    }

    /// The other peers do not wait for ever.
    fn give_up(&mut self, wanted: &Wanted) {
        let why = Unread::failed(format_args!("nothing within {} s", ANSWER_WAIT.as_secs()));
        for (name, keys) in wanted {
            if !references_to(name, keys).all(|one| self.secrets.known.contains_key(&one)) {
                self.secrets.unread(name, keys, &why);
            }
        }
        self.publish();
    }

    fn publish(&mut self) {
        self.publish.send_if_modified(|known| {
            let differs = **known != self.secrets;
            if differs {
                *known = Arc::new(self.secrets.clone());
            }
            differs
        });
        let saving = self.secrets.saving();
        if saving == self.saved || !*self.turn.borrow() {
            return;
        }
        match save(&saving, &self.file) {
            Ok(()) => self.saved = saving,
            Err(error) => warn!(file = %self.file.display(), %error, "passwords not saved"),
        }
    }
}

fn save(values: &Saved, file: &Path) -> io::Result<()> {
    if !values.is_empty() {
        return write_atomically(file, &serde_json::to_vec(values)?, 0o600);
    }
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What an earlier run has left. A file that cannot be read is as good as none.
fn load(file: &Path) -> Saved {
    let content = match fs::read(file) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return BTreeMap::new(),
        Err(error) => {
            warn!(file = %file.display(), %error, "saved passwords not read");
            return BTreeMap::new();
        }
    };
    serde_json::from_slice(&content).unwrap_or_else(|_| {
        // What serde says of it may quote it.
        warn!(file = %file.display(), "saved passwords not understood");
        BTreeMap::new()
    })
}

#[cfg(test)]
mod tests;
