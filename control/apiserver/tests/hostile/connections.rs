//! Connections that take their time, end half-way, or come in crowds.

use std::time::Duration;

use futures::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, timeout},
};

use crate::target::{CONFIG_MAPS, JSON, PODS, Target, parse, request};

/// How long an attack that lasts goes on.
const FOR: Duration = Duration::from_secs(4);

pub(crate) async fn that_trickle(target: &Target) -> String {
    let head = request("GET", CONFIG_MAPS, JSON, b"");
    let trickle = |user: Option<&'static str>| {
        let head = head.clone();
        async move {
            let Ok(mut stream) = target.door.open(user, "http/1.1").await else { return false };
            let end = Instant::now() + FOR;
            for octet in head {
                if Instant::now() > end || stream.write_all(&[octet]).await.is_err() {
                    break;
                }
                let _refused = stream.flush().await;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            true
        }
    };
    let known = join_all((0..200).map(|_| trickle(Some("hostile"))));
    let strangers = join_all((0..100).map(|_| trickle(None)));
    let (known, strangers) = tokio::join!(known, strangers);
    let count = |all: Vec<bool>| all.into_iter().filter(|opened| *opened).count();
    format!("{} of 200 known, {} of 100 strangers were let in", count(known), count(strangers))
}

pub(crate) async fn bodies_that_trickle(target: &Target) -> String {
    let requests = join_all((0..250).map(|n| async move {
        let Ok(mut stream) = target.door.open(Some("hostile"), "http/1.1").await else {
            return 0;
        };
        let head = format!(
            "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n\
             Content-Length: {}\r\n\r\n{{",
            if n % 2 == 0 { 1000 } else { 3_000_000 }
        );
        let _refused = stream.write_all(head.as_bytes()).await;
        let _refused = stream.flush().await;
        let mut answer = vec![0; 1024];
        let trickle = async {
            let (mut reader, mut writer) = tokio::io::split(stream);
            let trickling = async {
                loop {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if writer.write_all(b" ").await.is_err() || writer.flush().await.is_err() {
                        return std::future::pending::<usize>().await;
                    }
                }
            };
            tokio::select! {
                read = reader.read(&mut answer) => read.unwrap_or(0),
                never = trickling => never,
            }
        };
        match timeout(FOR, trickle).await {
            Ok(length) => parse(&answer[..length]).code,
            Err(_still_waits) => 1,
        }
    }))
    .await;
    let refused = requests.iter().filter(|code| **code == 429).count();
    let waiting = requests.iter().filter(|code| **code == 1).count();
    // One client has its share of the places and no more.
    assert!(waiting <= 110, "{waiting} are being read");
    assert!(refused >= 90, "{refused} were refused");
    format!("{waiting} were waited for, {refused} were told to come later")
}

pub(crate) async fn half_closed(target: &Target) -> String {
    // Who says that he will send no more may be taken for gone, and may be answered what he has
    // asked before; his connection ends.
    let mut stream = TcpStream::connect(target.plain).await.unwrap();
    let whole = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n";
    stream.write_all(whole).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    assert!(read.is_ok(), "the connection stays open");
    assert!(matches!(parse(&answer).code, 0 | 200));
    let ended = join_all((0..300).map(|n| async move {
        let mut stream = TcpStream::connect(target.plain).await.unwrap();
        let head = format!("GET {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\n\r\n");
        let body =
            format!("POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{");
        let octets = [&head.as_bytes()[..n % head.len()], body.as_bytes()][usize::from(n % 2 == 0)];
        stream.write_all(octets).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.is_ok()
    }))
    .await;
    let kept = ended.iter().filter(|ended| !**ended).count();
    assert_eq!(kept, 0, "connections that were half closed stay open");
    format!("{} half requests ended", ended.len())
}

/// Those who never show who they are hold no place that one who does would need, though they come
/// from the same address.
pub(crate) async fn of_strangers(target: &Target) -> String {
    let end = Instant::now() + FOR;
    let mut held = Vec::new();
    let (mut opened, mut cut) = (0, 0);
    while Instant::now() < end && opened < 4000 {
        let Ok(stream) = TcpStream::connect(target.door.address).await else {
            cut += 1;
            continue;
        };
        opened += 1;
        held.push(stream);
        if held.len() > 500 {
            held.drain(..100);
        }
        if opened % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(target.get("other", "/readyz").await.code, 200);
        }
    }
    let anonymous = join_all((0..60).map(|_| async {
        let opened = target.door.open(None, "http/1.1").await;
        let Ok(mut stream) = opened else { return 0 };
        let _refused = stream.write_all(&request("GET", PODS, JSON, b"")).await;
        let _refused = stream.flush().await;
        let mut answer = Vec::new();
        let _end = stream.read_to_end(&mut answer).await;
        parse(&answer).code
    }))
    .await;
    assert!(anonymous.iter().all(|code| matches!(code, 0 | 401)), "{anonymous:?}");
    assert_eq!(target.get("other", "/readyz").await.code, 200);
    format!("{opened} connections without a word ({cut} not taken); one with a name came in beside")
}

pub(crate) async fn pipelined(target: &Target) -> String {
    let one = format!("GET {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\n\r\n");
    let all = one.repeat(20_000);
    let sent = join_all((0..20).map(|_| async {
        let mut stream = target.door.open(Some("hostile"), "http/1.1").await.unwrap();
        // Nobody reads the answers.
        timeout(FOR, stream.write_all(all.as_bytes())).await.is_ok_and(|sent| sent.is_ok())
    }))
    .await;
    let taken = sent.iter().filter(|sent| **sent).count();
    let head = format!("GET /version HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-A: b\r\n".repeat(2000));
    assert!(matches!(target.send("hostile", head.as_bytes()).await.code, 0 | 431));
    let head = format!("GET /version HTTP/1.1\r\nHost: x\r\nX-A: {}\r\n\r\n", "b".repeat(1 << 20));
    assert!(matches!(target.send("hostile", head.as_bytes()).await.code, 0 | 431));
    let head = "GET /version HTTP/1.1\r\nHost: x\r\n\0\r\n\r\n";
    assert!(matches!(target.send("hostile", head.as_bytes()).await.code, 0 | 400));
    format!("{taken} of 20 lines of 20,000 requests were taken whole")
}
