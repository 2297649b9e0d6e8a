//! The server killed amid writes: what it acknowledged is there, and watches go on.

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use viaduct_lab::{Cluster, Load, Shell, wait_for};

use crate::routing::socket;

const WRITES: usize = 1000;
const WRITERS: usize = 4;
const PATH: &str = "/api/v1/namespaces/default/configmaps";
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) fn server_killed_amid_writes(cluster: &Cluster) -> Result<()> {
    let (cluster_ips, vips, _) = cluster.service("echo")?;
    let pods = cluster.ready_pods("app=echo", 3)?;
    let options = ["-n", "0", "--interval-ms", "10"];
    let load = |shell: Shell, ip| -> Result<Load> {
        let url = format!("http://{}/", socket(ip, 80));
        Load::start(&shell, &[&["get", url.as_str()], &options[..]].concat())
    };
    let inside = load(cluster.pod_shell(&pods[0])?, cluster_ips[0])?;
    let outside = load(cluster.host("outside"), vips[0])?;

    let port = cluster.api_port();
    let (status, list) = request(port, "GET", PATH, None)?;
    ensure!(status == 200, "list: {status} {list}");
    let revision = list["metadata"]["resourceVersion"].as_str().context("no revision")?.to_owned();
    let watched = Arc::new(AtomicBool::new(true));
    let watcher = {
        let watched = watched.clone();
        std::thread::spawn(move || watch(port, revision, &watched))
    };

    let acknowledged = Arc::new(AtomicUsize::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let acknowledged = acknowledged.clone();
            std::thread::spawn(move || write_all(port, writer, &acknowledged))
        })
        .collect();
    while acknowledged.load(Ordering::Relaxed) < WRITES / 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    cluster.kill("control.server")?;
    let mut names = BTreeSet::new();
    for writer in writers {
        names.extend(writer.join().map_err(|_panic| anyhow::anyhow!("a writer panicked"))??);
    }
    ensure!(names.len() == WRITES, "{} writes were acknowledged", names.len());

    let (status, list) = request(port, "GET", PATH, None)?;
    ensure!(status == 200, "list: {status} {list}");
    let stored = names_of(list["items"].as_array().context("no items")?.iter());
    let lost: Vec<_> = names.difference(&stored).collect();
    ensure!(lost.is_empty(), "{} acknowledged writes are lost: {lost:?}", lost.len());

    watched.store(false, Ordering::Relaxed);
    // Ends the watcher's wait for a further event.
    request(port, "POST", PATH, Some(&config_map("crash-last")))?;
    let seen = watcher.join().map_err(|_panic| anyhow::anyhow!("the watcher panicked"))??;
    let missed: Vec<_> = names.iter().filter(|name| !seen.names.contains(*name)).collect();
    ensure!(missed.is_empty(), "the watch missed {} objects: {missed:?}", missed.len());
    ensure!(seen.resumed > 0, "the watch was never interrupted");

    inside.stop()?.none_lost("pod → service while the server was away")?;
    outside.stop()?.none_lost("outside → VIP while the server was away")?;
    let (status, answer) =
        request(port, "DELETE", &format!("{PATH}?labelSelector=test%3Dcrash"), None)?;
    ensure!(status == 200, "clean up: {status} {answer}");
    println!(
        "{WRITES} writes acknowledged over a kill -9, none lost; the watch resumed {} times",
        seen.resumed
    );
    Ok(())
}

fn config_map(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"test": "crash"}},
        "data": {"key": "value"},
    })
}

/// Creates this writer's share, each name until it is acknowledged. A try that was cut off may
/// have taken place: then the name exists, which is an acknowledgement as good as the first.
fn write_all(port: u16, writer: usize, acknowledged: &AtomicUsize) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for number in (writer..WRITES).step_by(WRITERS) {
        let name = format!("crash-{number}");
        wait_for(&name, Duration::from_secs(20), || {
            match request(port, "POST", PATH, Some(&config_map(&name)))? {
                (201 | 409, _) => Ok(()),
                (status, answer) => bail!("{status}: {answer}"),
            }
        })?;
        acknowledged.fetch_add(1, Ordering::Relaxed);
        names.push(name);
    }
    Ok(names)
}

struct Seen {
    names: BTreeSet<String>,
    resumed: usize,
}

/// Follows the config maps from a revision, over every interruption, without listing again.
fn watch(port: u16, mut revision: String, go_on: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen { names: BTreeSet::new(), resumed: 0 };
    while go_on.load(Ordering::Relaxed) {
        let path = format!("{PATH}?watch=1&resourceVersion={revision}");
        let Ok(stream) = send(port, "GET", &path, None) else {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        // An event every few seconds at least, from the test itself.
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            // Headers and the lengths of chunks are no objects.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            if !event.is_object() {
                continue;
            }
            ensure!(event["type"] != "ERROR", "the watch from {revision} ended: {event}");
            let metadata = &event["object"]["metadata"];
            if let Some(next) = metadata["resourceVersion"].as_str() {
                revision = next.to_owned();
            }
            seen.names.extend(names_of([&event["object"]].into_iter()));
            if !go_on.load(Ordering::Relaxed) {
                return Ok(seen);
            }
        }
        seen.resumed += 1;
    }
    Ok(seen)
}

fn names_of<'a>(objects: impl Iterator<Item = &'a Value>) -> BTreeSet<String> {
    objects.filter_map(|object| object["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// One request of its own connection; its status and its body.
pub(crate) fn request(
    port: u16,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> Result<(u16, Value)> {
    let mut stream = send(port, method, path, body)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer was cut off")?;
    let status = head.split(' ').nth(1).context("no status line")?.parse()?;
    Ok((status, serde_json::from_str(body).with_context(|| format!("no JSON: {body}"))?))
}

fn send(port: u16, method: &str, path: &str, body: Option<&Value>) -> Result<TcpStream> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let body = body.map(Value::to_string).unwrap_or_default();
    // HTTP/1.0: the answer ends with the connection and comes unchunked.
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    Ok(stream)
}
