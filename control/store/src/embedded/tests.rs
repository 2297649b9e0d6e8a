use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const WINDOW: usize = 8;

fn options() -> Options {
    Options { history_events: WINDOW, ..Options::default() }
}

fn open(folder: &Path, options: Options) -> EmbeddedStore {
    EmbeddedStore::open(folder.join("store"), options).unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
}

fn value(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The store as a list of everything that ever happened.
#[derive(Debug, Default)]
struct Model {
    changes: Vec<(String, Option<u8>)>,
    compacted: Revision,
}

impl Model {
    fn revision(&self) -> Revision {
        self.changes.len() as u64
    }

    fn push(&mut self, key: &str, value: Option<u8>) -> Revision {
        self.changes.push((key.to_owned(), value));
        self.compacted = self.compacted.max(self.revision().saturating_sub(WINDOW as u64));
        self.revision()
    }

    /// Key to value, creation and last change.
    fn at(&self, revision: Revision) -> BTreeMap<&str, (u8, Revision, Revision)> {
        let mut state = BTreeMap::new();
        for ((key, value), rev) in self.changes.iter().zip(1..=revision) {
            match value {
                Some(value) => {
                    let created = state.get(&**key).map_or(rev, |&(_, created, _)| created);
                    state.insert(&**key, (*value, created, rev));
                }
                None => {
                    state.remove(&**key);
                }
            }
        }
        state
    }
}

#[derive(Clone, Debug)]
enum Step {
    Create(usize, u8),
    /// How far the expected revision is off.
    Update(usize, u8, u64),
    Delete(usize, u64),
    List {
        prefix: usize,
        start_after: Option<usize>,
        limit: usize,
        back: Option<u64>,
    },
    Watch {
        prefix: usize,
        back: u64,
    },
    Compact {
        back: u64,
    },
    Reopen,
}

const KEYS: [&str; 6] = ["a/1", "a/2", "a/2/x", "b", "b/1", "c"];
const PREFIXES: [&str; 5] = ["", "a/", "b", "b/", "z"];

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS.len();
    let off = prop_oneof![4 => Just(0u64), 1 => 1..4u64];
    prop_oneof![
        4 => (key.clone(), any::<u8>()).prop_map(|(k, v)| Step::Create(k, v)),
        4 => (key.clone(), any::<u8>(), off.clone()).prop_map(|(k, v, o)| Step::Update(k, v, o)),
        3 => (key.clone(), off).prop_map(|(k, o)| Step::Delete(k, o)),
        3 => (0..PREFIXES.len(), prop::option::of(key), 0..4usize, prop::option::of(0..12u64))
            .prop_map(|(prefix, start_after, limit, back)| Step::List {
                prefix, start_after, limit, back
            }),
        2 => (0..PREFIXES.len(), 0..12u64).prop_map(|(prefix, back)| Step::Watch { prefix, back }),
        1 => (0..12u64).prop_map(|back| Step::Compact { back }),
        1 => Just(Step::Reopen),
    ]
}

async fn check_write(store: &EmbeddedStore, model: &mut Model, step: Step) {
    let (key, off) = match step {
        Step::Create(key, _) => (KEYS[key], 0),
        Step::Update(key, _, off) | Step::Delete(key, off) => (KEYS[key], off),
        _ => return,
    };
    let known = model.at(model.revision()).get(key).copied();
    let expected = known.map_or(0, |(.., modified)| modified) + off;
    match step {
        Step::Create(_, v) => match store.create(key, Bytes::from(vec![v])).await {
            Ok(entry) => {
                assert!(known.is_none());
                assert_eq!(entry.mod_revision, model.push(key, Some(v)));
                assert_eq!(entry.create_revision, entry.mod_revision);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::AlreadyExists) && known.is_some(), "{error}");
            }
        },
        Step::Update(_, v, _) => match store.update(key, Bytes::from(vec![v]), expected).await {
            Ok(entry) => {
                assert!(off == 0);
                assert_eq!(entry.create_revision, known.unwrap().1);
                assert_eq!(entry.mod_revision, model.push(key, Some(v)));
            }
            Err(error) => check_refusal(&error, known, off),
        },
        Step::Delete(..) => match store.delete(key, expected).await {
            Ok(revision) => {
                assert!(off == 0 && known.is_some());
                assert_eq!(revision, model.push(key, None));
            }
            Err(error) => check_refusal(&error, known, off),
        },
        _ => unreachable!("returned above"),
    }
}

fn check_refusal(error: &StoreError, known: Option<(u8, Revision, Revision)>, off: u64) {
    match (error, known) {
        (StoreError::NotFound, None) => {}
        (StoreError::Conflict(entry), Some((value, created, modified))) => {
            assert!(off != 0);
            assert_eq!(entry.value.as_ref(), [value]);
            assert_eq!((entry.create_revision, entry.mod_revision), (created, modified));
        }
        other => panic!("{other:?}"),
    }
}

async fn check_read(store: &EmbeddedStore, model: &Model, step: Step) {
    match step {
        Step::List { prefix, start_after, limit, back } => {
            let at = back.map(|back| model.revision().saturating_sub(back));
            let list = List {
                prefix: PREFIXES[prefix].to_owned(),
                start_after: start_after.map(|key| KEYS[key].to_owned()),
                limit,
                at,
            };
            let page = match store.list(list).await {
                Ok(page) => page,
                Err(StoreError::Compacted { oldest, .. }) => {
                    assert!(at.unwrap() < model.compacted);
                    return assert_eq!(oldest, model.compacted);
                }
                Err(other) => panic!("{other}"),
            };
            assert!(at.is_none_or(|at| at >= model.compacted));
            assert_eq!(page.revision, at.unwrap_or(model.revision()));
            let wanted: Vec<_> = model
                .at(page.revision)
                .into_iter()
                .filter(|(key, _)| key.starts_with(PREFIXES[prefix]))
                .filter(|(key, _)| start_after.is_none_or(|after| *key > KEYS[after]))
                .collect();
            let cut = if limit == 0 { wanted.len() } else { limit.min(wanted.len()) };
            assert_eq!(page.remaining, wanted.len() - cut);
            assert_eq!(page.entries.len(), cut);
            for (entry, (key, (v, created, modified))) in page.entries.iter().zip(wanted) {
                assert_eq!((&*entry.key, &entry.value[..]), (key, &[v][..]));
                assert_eq!((entry.create_revision, entry.mod_revision), (created, modified));
            }
        }
        Step::Watch { prefix, back } => {
            let after = model.revision().saturating_sub(back);
            let mut watch = match store.watch(PREFIXES[prefix].to_owned(), after).await {
                Ok(watch) => watch,
                Err(error) => {
                    assert!(matches!(error, StoreError::Compacted { .. }), "{error}");
                    return assert!(after < model.compacted);
                }
            };
            assert!(after >= model.compacted);
            let wanted: Vec<_> = (1..=model.revision())
                .zip(&model.changes)
                .filter(|(rev, (key, _))| *rev > after && key.starts_with(PREFIXES[prefix]))
                .collect();
            let mut got: Vec<Arc<Event>> = Vec::new();
            while got.len() < wanted.len() {
                got.extend(watch.next().await.unwrap());
            }
            assert_eq!(got.len(), wanted.len());
            for (event, (revision, (key, now))) in got.iter().zip(wanted) {
                let before = model.at(revision - 1).get(&**key).map(|&(v, ..)| v);
                let side = |side: &Option<Arc<Entry>>| side.as_ref().map(|e| e.value[0]);
                assert_eq!((event.revision, &*event.key), (revision, &**key));
                assert_eq!((side(&event.current), side(&event.previous)), (*now, before));
            }
        }
        _ => {}
    }
}

/// Few, as each syncs to disk many times; `PROPTEST_CASES` asks for more.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").map_or(24, |cases| cases.parse().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_the_list_of_all_changes_does(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut store = open(folder.path(), options());
        let mut model = Model::default();
        block_on(async {
            for step in steps {
                match step {
                    Step::Reopen => {
                        drop(store);
                        store = open(folder.path(), options());
                    }
                    Step::Compact { back } => {
                        let up_to = model.revision().saturating_sub(back);
                        store.compact(up_to).await.unwrap();
                        model.compacted = model.compacted.max(up_to);
                    }
                    Step::List { .. } | Step::Watch { .. } => {
                        check_read(&store, &model, step).await;
                    }
                    _ => check_write(&store, &mut model, step).await,
                }
                assert_eq!(store.revision().await.unwrap(), model.revision());
            }
        });
    }
}

#[test]
fn one_of_many_writers_of_a_key_wins() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path(), Options::default()));
    let won = block_on(async {
        let first = store.create("k", value("0")).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..50 {
            let (store, expected) = (store.clone(), first.mod_revision);
            tasks.spawn(async move { store.update("k", value(&n.to_string()), expected).await });
        }
        tasks.join_all().await.into_iter().filter(Result::is_ok).count()
    });
    assert_eq!(won, 1);
}

#[test]
fn a_watcher_that_is_too_slow_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), options());
    block_on(async {
        let mut slow = store.watch(String::new(), 0).await.unwrap();
        let mut idle = store.watch("other/".to_owned(), 0).await.unwrap();
        for n in 0..=WINDOW {
            store.create(&format!("k{n}"), value("x")).await.unwrap();
            // What follows the store stays in the window, though nothing is for it.
            assert!(futures_poll_once(idle.next()).await.is_none());
        }
        assert_eq!(idle.revision(), WINDOW as u64 + 1);
        let error = slow.next().await.unwrap_err();
        assert!(matches!(error, StoreError::Compacted { requested: 0, oldest: 1 }), "{error}");
        let future = store.watch(String::new(), 99).await.err().unwrap();
        assert!(matches!(future, StoreError::Future { requested: 99, current: 9 }), "{future}");
    });
}

#[test]
fn a_watcher_far_behind_is_given_little_at_once_and_all_in_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), options());
    block_on(async {
        for n in 0..WINDOW {
            store.create(&format!("k{n}"), Bytes::from(vec![0; 30_000])).await.unwrap();
        }
        let mut watch = store.watch(String::new(), 0).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < WINDOW {
            let events = watch.next().await.unwrap();
            assert!(events.len() <= 3, "{}", events.len());
            seen.extend(events.iter().map(|event| event.revision));
            assert_eq!(watch.revision(), *seen.last().unwrap());
        }
        assert_eq!(seen, (1..=WINDOW as u64).collect::<Vec<_>>());
    });
}

/// Polls once: what a watcher does when it is woken and finds nothing.
async fn futures_poll_once<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn a_waiting_watcher_wakes_and_ends_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path(), options());
    block_on(async {
        let mut watch = store.watch("a/".to_owned(), 0).await.unwrap();
        let (events, _) = tokio::join!(watch.next(), async {
            store.create("b/1", value("x")).await.unwrap();
            store.create("a/1", value("y")).await.unwrap()
        });
        assert_eq!(events.unwrap()[0].revision, 2);
        drop(store);
        assert!(matches!(watch.next().await, Err(StoreError::Closed)));
    });
}

#[test]
fn limits_are_refusals() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Options { quota_bytes: 200, max_value_bytes: 100, ..Options::default() };
    let store = open(folder.path(), limits);
    block_on(async {
        let big = Bytes::from(vec![0; 101]);
        let error = store.create("k", big).await.unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { len: 101, max: 100 }), "{error}");
        let error = store.create(&"k".repeat(2000), value("x")).await.unwrap_err();
        assert!(matches!(error, StoreError::TooLarge { .. }), "{error}");
        let first = store.create("a", Bytes::from(vec![0; 100])).await.unwrap();
        let error = store.create("b", Bytes::from(vec![0; 100])).await.unwrap_err();
        assert!(matches!(error, StoreError::Full { .. }), "{error}");
        // What shrinks is taken, and makes room.
        store.update("a", value("small"), first.mod_revision).await.unwrap();
        store.create("b", Bytes::from(vec![0; 100])).await.unwrap();
    });
}

#[test]
fn the_file_has_one_owner_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path(), options());
    let again = EmbeddedStore::open(folder.path().join("store"), options());
    assert!(matches!(again, Err(StoreError::Io(_))));
    let mode = folder.path().join("store").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_is_no_store_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("store"), b"something else entirely").unwrap();
    assert!(EmbeddedStore::open(folder.path().join("store"), options()).is_err());
}
