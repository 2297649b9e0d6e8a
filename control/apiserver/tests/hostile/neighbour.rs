//! A client that behaves: now and then it reads, writes and comes anew, and times each.

use std::{fmt, time::Duration};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::target::{CONFIG_MAPS, Door, JSON, Target};

const PAUSE: Duration = Duration::from_millis(10);
/// Every so many requests over a connection, then another.
const PER_CONNECTION: usize = 10;
const WHO: &str = "neighbour";

pub(crate) struct Neighbour {
    stop: CancellationToken,
    task: JoinHandle<Vec<Duration>>,
}

/// Of its requests.
pub(crate) struct Latency {
    count: usize,
    p50: Duration,
    pub(crate) p99: Duration,
    max: Duration,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p99, max } = self;
        write!(f, "p50 {p50:.1?} p99 {p99:.1?} max {max:.1?} of {count}")
    }
}

impl Neighbour {
    pub(crate) async fn move_in(target: &Target) -> Self {
        let object = json!({"metadata": {"name": WHO}, "data": {"n": "0"}}).to_string();
        let made = target.ask(WHO, "POST", CONFIG_MAPS, JSON, object).await.code;
        assert!(matches!(made, 201 | 409), "{made}");
        let stop = CancellationToken::new();
        let live = live(target.door.clone(), stop.clone());
        Self { stop, task: tokio::spawn(live) }
    }

    pub(crate) async fn move_out(self) -> Latency {
        self.stop.cancel();
        let mut all = self.task.await.unwrap();
        all.sort();
        let at = |percent: usize| all[(all.len() * percent / 100).min(all.len() - 1)];
        Latency { count: all.len(), p50: at(50), p99: at(99), max: all[all.len() - 1] }
    }
}

async fn live(door: Door, stop: CancellationToken) -> Vec<Duration> {
    let path = format!("{CONFIG_MAPS}/{WHO}");
    let mut all = Vec::new();
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let stream = door.open(Some(WHO), "http/1.1").await.expect("a place for the neighbour");
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        // The handshake is part of the first request's time.
        let mut since = begun;
        for n in 0..PER_CONNECTION {
            let request = if n % 5 == 4 {
                let patch = json!({"data": {"n": all.len().to_string()}}).to_string();
                Request::patch(&path)
                    .header(header::CONTENT_TYPE, "application/merge-patch+json")
                    .body(Full::new(Bytes::from(patch)))
            } else {
                Request::get(&path).body(Full::new(Bytes::new()))
            };
            let mut request = request.unwrap();
            request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("x"));
            let response = sender.send_request(request).await.expect("an answer");
            let code = response.status().as_u16();
            response.into_body().collect().await.expect("a whole answer");
            assert_eq!(code, 200, "the neighbour was refused");
            all.push(since.elapsed());
            tokio::time::sleep(PAUSE).await;
            since = Instant::now();
        }
    }
    all
}
