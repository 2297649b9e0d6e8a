//! Watches, lists and logs: the answers that are long.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures::{StreamExt, future::join_all, stream};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    time::{Instant, timeout},
};

use crate::{
    bodies::counts,
    target::{CONFIG_MAPS, JSON, PODS, Target, parse, request},
};

const FOR: Duration = Duration::from_secs(8);

/// Makes so many objects of some kilobytes each, as the other user.
async fn fill(target: &Target, count: usize) {
    let filler = "x".repeat(2000);
    let made =
        stream::iter(0..count)
            .map(|n| {
                let object = json!({"metadata": {"name": format!("f{n}")}, "data": {"a": filler}});
                async move {
                    target.ask("other", "POST", CONFIG_MAPS, JSON, object.to_string()).await.code
                }
            })
            .buffer_unordered(32);
    let codes: Vec<u16> = made.collect().await;
    assert!(codes.iter().all(|code| *code == 201), "{}", counts(codes));
}

async fn open(
    target: &Target,
    path: &str,
) -> Option<(u16, tokio_rustls::client::TlsStream<tokio::net::TcpStream>)> {
    let mut stream = target.door.open(Some("hostile"), "http/1.1").await.ok()?;
    stream.write_all(&request("GET", path, JSON, b"")).await.ok()?;
    stream.flush().await.ok()?;
    let mut head = vec![0; 512];
    let length = stream.read(&mut head).await.ok()?;
    Some((parse(&head[..length]).code, stream))
}

/// A thousand clients that watch everything and read nothing, while all of it changes.
pub(crate) async fn watches_that_nobody_reads(target: &Target) -> String {
    fill(target, 1000).await;
    let path = format!("{CONFIG_MAPS}?watch=1");
    let watches: Vec<_> = stream::iter(0..990)
        .map(|_| open(target, &path))
        .buffer_unordered(50)
        .filter_map(std::future::ready)
        .collect()
        .await;
    let open = watches.iter().filter(|(code, _)| *code == 200).count();
    assert!(open >= 900, "{open} of 990 are open");
    let begun = Instant::now();
    let changes = stream::iter(0..10_000)
        .map(|n| async move {
            if begun.elapsed() > FOR * 3 {
                return 0;
            }
            let path = format!("{CONFIG_MAPS}/f{}", n % 1000);
            let patch = json!({"data": {"n": n.to_string()}}).to_string();
            let kind = "application/merge-patch+json";
            target.ask("other", "PATCH", &path, kind, patch).await.code
        })
        .buffer_unordered(16);
    let codes: Vec<u16> = changes.collect().await;
    let changed = codes.iter().filter(|code| **code == 200).count();
    assert!(changed > 500, "{}", counts(codes));
    format!("{open} watches, {changed} changes in {:.1?}", begun.elapsed())
}

pub(crate) async fn watches_that_come_and_go(target: &Target) -> String {
    fill(target, 200).await;
    let path = format!("{CONFIG_MAPS}?watch=1");
    let (path, begun) = (&path, Instant::now());
    let codes: Vec<u16> = stream::iter(0..3000)
        .map(|_| async move {
            if begun.elapsed() > FOR {
                return 1;
            }
            open(target, path).await.map_or(0, |(code, _dropped)| code)
        })
        .buffer_unordered(50)
        .collect()
        .await;
    let opened = codes.iter().filter(|code| **code == 200).count();
    assert!(opened > 100, "{}", counts(codes));
    format!("{opened} opened and dropped in {:.1?}", begun.elapsed())
}

/// Two hundred clients list everything, again and again; half of them do not read it.
pub(crate) async fn lists_of_everything(target: &Target) -> String {
    fill(target, 3000).await;
    let whole = target.get("other", CONFIG_MAPS).await;
    assert_eq!((whole.code, whole.json()["items"].as_array().map(Vec::len)), (200, Some(3001)));
    let selected = format!("{CONFIG_MAPS}?labelSelector=!a");
    let (lists, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let end = Instant::now() + FOR;
    join_all((0..200).map(|n| {
        let (path, lists, refused) = ([CONFIG_MAPS, &selected][n / 2 % 2], &lists, &refused);
        async move {
            while Instant::now() < end {
                if n % 2 == 0 {
                    let held = open(target, path).await;
                    lists.fetch_add(usize::from(held.is_some()), Ordering::Relaxed);
                    tokio::time::sleep_until(end).await;
                    continue;
                }
                let ask = target.get("hostile", path);
                let Ok(reply) = timeout(FOR * 4, ask).await else { continue };
                let count = if reply.code == 200 { &lists } else { &refused };
                count.fetch_add(1, Ordering::Relaxed);
                assert!(matches!(reply.code, 0 | 200 | 429), "{}", reply.code);
            }
        }
    }))
    .await;
    let (lists, refused) = (lists.into_inner(), refused.into_inner());
    assert!(lists > 0);
    format!("{lists} lists of 6 MB begun, {refused} refused")
}

/// A kubelet that never stops talking, and a client that never listens.
pub(crate) async fn a_log_that_nobody_reads(target: &Target) -> String {
    let kubelet = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = kubelet.local_addr().unwrap().port();
    let sent = std::sync::Arc::new(AtomicUsize::new(0));
    let count = sent.clone();
    let talking = tokio::spawn(async move {
        while let Ok((mut stream, _)) = kubelet.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
                let line = [b'x'; 16 << 10];
                let _request = stream.read(&mut [0; 1024]).await;
                let mut written = stream.write_all(head).await;
                while written.is_ok() {
                    count.fetch_add(line.len(), Ordering::Relaxed);
                    written = stream.write_all(&line).await;
                }
            });
        }
    });
    let node = json!({"metadata": {"name": "n"}}).to_string();
    assert_eq!(target.post("/api/v1/nodes", node).await.code, 201);
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }});
    let merge = "application/merge-patch+json";
    let path = "/api/v1/nodes/n/status";
    assert_eq!(target.ask("hostile", "PATCH", path, merge, status.to_string()).await.code, 200);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n",
        "containers": [{"name": "c", "image": "i"}]}});
    assert_eq!(target.post(PODS, pod.to_string()).await.code, 201);
    let path = format!("{PODS}/p/log?follow=true");
    let logs: Vec<_> = join_all((0..100).map(|_| open(target, &path))).await;
    let opened = logs.iter().flatten().filter(|(code, _)| *code == 200).count();
    let codes = || logs.iter().map(|log| log.as_ref().map_or(0, |(code, _)| *code));
    assert!(opened >= 90, "{}", counts(codes()));
    tokio::time::sleep(FOR / 2).await;
    talking.abort();
    format!(
        "{opened} logs, {} MB handed to the server's buffers",
        sent.load(Ordering::Relaxed) >> 20
    )
}
