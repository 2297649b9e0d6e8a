//! A writer is killed amid its writes; nothing that it was told is written may be missing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use bytes::Bytes;
use control_store::{EmbeddedStore, List, Options, Store};

const FILE: &str = "CONTROL_STORE_CRASH_FILE";
const ROUND: &str = "CONTROL_STORE_CRASH_ROUND";
const WRITERS: usize = 16;

/// The process that is killed: started by the test below with [`FILE`] set, it writes until then.
#[test]
fn writer_process() {
    let Ok(file) = std::env::var(FILE) else { return };
    let round = std::env::var(ROUND).unwrap();
    let store = Arc::new(EmbeddedStore::open(file, Options::default()).unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            writers.spawn(write_forever(store.clone(), format!("{round}/{writer}")));
        }
        writers.join_all().await;
    });
}

async fn write_forever(store: Arc<EmbeddedStore>, name: String) {
    let acknowledged = |what: String| {
        // One write call, so that lines of several writers do not mix.
        std::io::stdout().lock().write_all(format!("\nack {what}\n").as_bytes()).unwrap();
    };
    let counter = format!("counter/{name}");
    let mut entry = store.create(&counter, Bytes::from("0")).await.unwrap();
    for n in 1.. {
        store.create(&format!("key/{name}/{n}"), Bytes::from(n.to_string())).await.unwrap();
        acknowledged(format!("key/{name}/{n} {n}"));
        let value = Bytes::from(n.to_string());
        entry = store.update(&counter, value, entry.mod_revision).await.unwrap();
        acknowledged(format!("{counter} {n}"));
        if n > 4 {
            let gone = format!("key/{name}/{}", n - 4);
            let revision = store.get(&gone).await.unwrap().value.unwrap().mod_revision;
            store.delete(&gone, revision).await.unwrap();
            acknowledged(format!("{gone} -"));
        }
    }
}

/// The last thing each key was acknowledged to be.
type Acknowledged = BTreeMap<String, String>;

fn run_and_kill(file: &PathBuf, round: usize, after: usize, acknowledged: &mut Acknowledged) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer_process", "--nocapture"])
        .env(FILE, file)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = 0;
    let mut output = BufReader::new(child.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        // A line cut off by the kill is no acknowledgement.
        if output.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        let Some(rest) = line.trim_end().strip_prefix("ack ") else { continue };
        let (key, value) = rest.split_once(' ').unwrap();
        acknowledged.insert(key.to_owned(), value.to_owned());
        seen += 1;
        if seen == after {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(seen >= after, "the writer ended after {seen} writes");
}

#[test]
fn every_acknowledged_write_outlives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let mut acknowledged = Acknowledged::new();
    let mut newest = 0;
    for (round, after) in [1, 200, 1000, 37].into_iter().enumerate() {
        run_and_kill(&file, round, after, &mut acknowledged);
        let store = EmbeddedStore::open(&file, Options::default()).unwrap();
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            check(&store, &acknowledged).await;
            // A watcher from before the crash misses nothing.
            let mut watch = store.watch(String::new(), newest).await.unwrap();
            let revision = store.revision().await.unwrap();
            while newest < revision {
                for event in watch.next().await.unwrap() {
                    newest += 1;
                    assert_eq!(event.revision, newest);
                }
            }
        });
    }
}

async fn check(store: &EmbeddedStore, acknowledged: &Acknowledged) {
    let page = store.list(List::default()).await.unwrap();
    let found: BTreeMap<&str, &[u8]> =
        page.entries.iter().map(|e| (&*e.key, &e.value[..])).collect();
    for (key, value) in acknowledged {
        let now = found.get(key.as_str()).map(|v| std::str::from_utf8(v).unwrap());
        let number = |text: &str| text.parse::<u64>().unwrap();
        if key.starts_with("counter/") {
            // At most one more update can have been under way.
            let now = number(now.unwrap_or_else(|| panic!("{key} is gone")));
            assert!((number(value)..=number(value) + 1).contains(&now), "{key} {value} {now}");
        } else if value == "-" {
            assert_eq!(now, None, "{key}");
        } else if let Some(now) = now {
            assert_eq!(now, value, "{key}");
        } else {
            // Gone unacknowledged: only if its deletion was under way.
            let (name, n) = key.rsplit_once('/').unwrap();
            let later = format!("{name}/{}", number(n) + 4);
            assert!(acknowledged.contains_key(&later), "{key} is gone");
        }
    }
}
