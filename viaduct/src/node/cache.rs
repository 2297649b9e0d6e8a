//! The node's one watch cache: what the API says that any part of the daemon wants to know.
//!
//! It is kept on disk, too. A daemon that starts while the API server is away goes on from there:
//! the network of a node does not depend on the server being up.
//!
//! The view says of how late a start of the watches it is: see [`super::freshness`].

use std::{
    collections::BTreeMap,
    fmt::Debug,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use futures::StreamExt;
use k8s_openapi::api::{
    core::v1::{Namespace, Node, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::Object,
    runtime::{
        WatchStreamExt,
        watcher::{self, watcher},
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use viaduct_api::v1alpha1::{
    BGPConfigurationSpec, BGPPeerSpec, CustomResource, IPBlockSpec, IPPoolSpec,
};

use crate::{kubeclient::Retry, paths::write_atomically, up::api_resource};

/// How long changes gather before they are written to disk.
const SAVE_DELAY: Duration = Duration::from_secs(1);
/// Changes that were received and not yet looked at; the watches wait when there are so many.
const PENDING_MAX: usize = 1024;

/// A custom resource of ours; none of them has a status yet.
pub(crate) type Custom<Spec> = Object<Spec, serde_json::Value>;
/// All objects of a kind, by `namespace/name`.
pub(crate) type Objects<K> = BTreeMap<String, Arc<K>>;

macro_rules! view {
    ($($field:ident: $kind:ty,)*) => {
        /// What the API has told us.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct View {
            $(pub $field: Objects<$kind>,)*
            /// The latest start of the watches of which every kind has been listed; 0 for what an
            /// earlier run has left.
            pub generation: u64,
        }

        #[derive(Serialize)]
        struct Saving<'view> {
            $($field: Vec<&'view $kind>,)*
        }

        #[derive(Deserialize)]
        struct Saved {
            // A kind that the daemon which wrote the file did not follow yet.
            $(#[serde(default = "Vec::new")] $field: Vec<$kind>,)*
        }

        impl View {
            fn saving(&self) -> Saving<'_> {
                Saving { $($field: self.$field.values().map(AsRef::as_ref).collect(),)* }
            }
        }

        impl From<Saved> for View {
            fn from(saved: Saved) -> Self {
                Self {
                    $($field: saved.$field.into_iter().map(keyed).collect(),)*
                    generation: 0,
                }
            }
        }
    };
}

view! {
    nodes: Node,
    services: Service,
    slices: EndpointSlice,
    namespaces: Namespace,
    configurations: Custom<BGPConfigurationSpec>,
    peers: Custom<BGPPeerSpec>,
    pools: Custom<IPPoolSpec>,
    blocks: Custom<IPBlockSpec>,
}

/// How many kinds are followed: every one has to be listed before the view is whole.
const KINDS: usize = 8;

fn keyed<K: ResourceExt>(object: K) -> (String, Arc<K>) {
    let key = match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    };
    (key, Arc::new(object))
}

type Change = Box<dyn FnOnce(&mut View) + Send>;

enum Message {
    Change(Change),
    /// One kind has been listed for the first time since the watches were started.
    Listed {
        generation: u64,
        change: Change,
    },
}

/// With what the watches are made. Another one means: begin anew, over connections of its own.
#[derive(Clone)]
pub(crate) struct Source {
    /// Counts the starts, from 1.
    pub generation: u64,
    pub client: Client,
}

/// Follows the API until the receiver is dropped. `None` until there is a whole picture: from the
/// file of an earlier run at once, from the API as soon as every kind has been listed. The file is
/// written while it is our turn.
pub(crate) fn follow(
    source: watch::Receiver<Source>,
    node: &str,
    file: PathBuf,
    turn: watch::Receiver<bool>,
) -> watch::Receiver<Option<Arc<View>>> {
    let initial = load(&file);
    let (publish, view) = watch::channel(initial.map(Arc::new));
    let (changes, inbox) = mpsc::channel(PENDING_MAX);
    let custom = Follower { source, seed: node.to_owned(), changes };
    custom.follow::<Node>((), |view| &mut view.nodes);
    custom.follow::<Service>((), |view| &mut view.services);
    custom.follow::<EndpointSlice>((), |view| &mut view.slices);
    custom.follow::<Namespace>((), |view| &mut view.namespaces);
    custom.follow_custom::<BGPConfigurationSpec>(|view| &mut view.configurations);
    custom.follow_custom::<BGPPeerSpec>(|view| &mut view.peers);
    custom.follow_custom::<IPPoolSpec>(|view| &mut view.pools);
    custom.follow_custom::<IPBlockSpec>(|view| &mut view.blocks);
    tokio::spawn(collect(inbox, publish, file, turn));
    view
}

struct Follower {
    source: watch::Receiver<Source>,
    seed: String,
    changes: mpsc::Sender<Message>,
}

impl Follower {
    fn follow_custom<Spec>(&self, objects: fn(&mut View) -> &mut Objects<Custom<Spec>>)
    where
        Spec: CustomResource + Clone + Debug + Send + Sync + 'static,
    {
        self.follow::<Custom<Spec>>(api_resource::<Spec>(), objects);
    }

    fn follow<K>(&self, kind: K::DynamicType, objects: fn(&mut View) -> &mut Objects<K>)
    where
        K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
        K::DynamicType: Clone + Send,
    {
        let mut source = self.source.clone();
        let (seed, changes) = (self.seed.clone(), self.changes.clone());
        tokio::spawn(async move {
            // Each round is a start of the watch; the last ends with the daemon.
            loop {
                let Source { generation, client } = source.borrow_and_update().clone();
                let api = Api::<K>::all_with(client, &kind);
                let watch = follow_one(api, generation, Retry::new(&seed), &changes, objects);
                tokio::select! {
                    () = watch => return,
                    () = changed(&mut source) => {}
                }
            }
        });
    }
}

/// Hands on what happens to the objects of a kind, until nobody wants it any more.
async fn follow_one<K>(
    api: Api<K>,
    generation: u64,
    retry: Retry,
    changes: &mpsc::Sender<Message>,
    objects: fn(&mut View) -> &mut Objects<K>,
) where
    K: Resource + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    let what = api.resource_url().to_owned();
    let mut stream = watcher(api, watcher::Config::default()).backoff(retry).boxed();
    let mut listing = Objects::new();
    let mut listed = false;
    while let Some(event) = stream.next().await {
        let message = match event {
            Ok(event) => message(event, generation, &mut listing, &mut listed, objects),
            Err(error) => {
                debug!(kind = what, %error, "watch");
                None
            }
        };
        if let Some(message) = message
            && changes.send(message).await.is_err()
        {
            return;
        }
    }
}

/// Waits for a value that was not seen yet; for ever once nobody can send one.
async fn changed<T>(receiver: &mut watch::Receiver<T>) {
    if receiver.changed().await.is_err() {
        std::future::pending().await
    }
}

fn message<K>(
    event: watcher::Event<K>,
    generation: u64,
    listing: &mut Objects<K>,
    listed: &mut bool,
    objects: fn(&mut View) -> &mut Objects<K>,
) -> Option<Message>
where
    K: ResourceExt + Send + Sync + 'static,
{
    match event {
        watcher::Event::Init => {
            listing.clear();
            None
        }
        watcher::Event::InitApply(object) => {
            let (key, object) = keyed(trim(object));
            listing.insert(key, object);
            None
        }
        watcher::Event::InitDone => {
            let all = std::mem::take(listing);
            let change: Change = Box::new(move |view| *objects(view) = all);
            let first = !std::mem::replace(listed, true);
            Some(if first {
                Message::Listed { generation, change }
            } else {
                Message::Change(change)
            })
        }
        watcher::Event::Apply(object) => {
            let (key, object) = keyed(trim(object));
            Some(Message::Change(Box::new(move |view| {
                objects(view).insert(key, object);
            })))
        }
        watcher::Event::Delete(object) => {
            let (key, _) = keyed(object);
            Some(Message::Change(Box::new(move |view| {
                objects(view).remove(&key);
            })))
        }
    }
}

/// Leaves out what nobody here reads and what is larger than the rest of most objects.
fn trim<K: ResourceExt>(mut object: K) -> K {
    object.managed_fields_mut().clear();
    object
}

async fn collect(
    mut inbox: mpsc::Receiver<Message>,
    publish: watch::Sender<Option<Arc<View>>>,
    file: PathBuf,
    turn: watch::Receiver<bool>,
) {
    let mut view = Arc::new(View::default());
    let mut listed = Listed::default();
    let mut save_at = None;
    loop {
        let message = tokio::select! {
            message = inbox.recv() => message,
            () = at(save_at) => {
                if !*turn.borrow() {
                    save_at = Some(tokio::time::Instant::now() + SAVE_DELAY);
                    continue;
                }
                save_at = None;
                if let Err(error) = save(&view, &file) {
                    warn!(error = format!("{error:#}"), "view not saved");
                }
                continue;
            }
            () = publish.closed() => return,
        };
        let Some(message) = message else { return };
        apply(message, &mut view, &mut listed);
        // What has gathered meanwhile is one change for everybody behind us.
        while let Ok(message) = inbox.try_recv() {
            apply(message, &mut view, &mut listed);
        }
        if view.generation > 0 {
            save_at.get_or_insert_with(|| tokio::time::Instant::now() + SAVE_DELAY);
            publish.send_replace(Some(view.clone()));
        }
    }
}

/// How many kinds have been listed since the latest start of the watches that any has seen.
#[derive(Debug, Default)]
struct Listed {
    generation: u64,
    kinds: usize,
}

fn apply(message: Message, view: &mut Arc<View>, listed: &mut Listed) {
    let view = Arc::make_mut(view);
    let generation = match message {
        Message::Change(change) => return change(view),
        Message::Listed { generation, change } => {
            change(view);
            generation
        }
    };
    if generation > listed.generation {
        *listed = Listed { generation, kinds: 0 };
    }
    // A list of an earlier start may have waited here; it counts for nothing.
    if generation == listed.generation {
        listed.kinds += 1;
        if listed.kinds == KINDS {
            info!(generation, "the API has been read");
            view.generation = generation;
        }
    }
}

async fn at(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn save(view: &View, file: &Path) -> Result<()> {
    let content = serde_json::to_vec(&view.saving())?;
    write_atomically(file, &content, 0o600).with_context(|| format!("write {}", file.display()))
}

/// The view of an earlier run. A file that cannot be read is as good as none.
fn load(file: &Path) -> Option<View> {
    let content = std::fs::read(file).ok()?;
    match serde_json::from_slice::<Saved>(&content) {
        Ok(saved) => Some(saved.into()),
        Err(error) => {
            warn!(file = %file.display(), %error, "saved view not understood");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_of_the_latest_start_that_is_listed_whole() {
        let list = |generation| Message::Listed { generation, change: Box::new(|_| {}) };
        let (mut view, mut listed) = (Arc::new(View::default()), Listed::default());
        for _ in 0..KINDS {
            assert_eq!(view.generation, 0);
            apply(list(1), &mut view, &mut listed);
        }
        assert_eq!(view.generation, 1);
        // One watch was quicker than another, which still brings what it had before.
        for kind in 1..KINDS {
            apply(list(2), &mut view, &mut listed);
            if kind % 2 == 0 {
                apply(list(1), &mut view, &mut listed);
            }
            assert_eq!(view.generation, 1);
        }
        apply(list(2), &mut view, &mut listed);
        assert_eq!(view.generation, 2);
    }

    #[test]
    fn a_saved_view_is_read_again() {
        let folder = std::env::temp_dir().join(format!("viaduct-view-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("view.json");
        assert!(load(&file).is_none());
        let mut view = View::default();
        let node: Node =
            serde_json::from_value(serde_json::json!({"metadata": {"name": "node-1"}})).unwrap();
        let (key, node) = keyed(node);
        view.nodes.insert(key, node);
        save(&view, &file).unwrap();
        let loaded = load(&file).unwrap();
        assert_eq!(loaded.nodes.keys().collect::<Vec<_>>(), ["node-1"]);
        std::fs::write(&file, "{").unwrap();
        assert!(load(&file).is_none());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
