//! Bodies: too large, without an end, too deep, too many, and not what they say.

use std::{fmt::Write, time::Duration};

use futures::future::join_all;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, time::Instant};

use crate::target::{CONFIG_MAPS, JSON, PODS, Target, request};

const YAML: &str = "application/yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
/// As much as the server reads of a body.
const LIMIT: usize = 3 << 20;

/// How many of some answers had which code.
pub(crate) fn counts(codes: impl IntoIterator<Item = u16>) -> String {
    let mut counts = std::collections::BTreeMap::<u16, usize>::new();
    for code in codes {
        *counts.entry(code).or_default() += 1;
    }
    counts.iter().map(|(code, count)| format!("{count} × {code}")).collect::<Vec<_>>().join(", ")
}

pub(crate) async fn announced_as_huge(target: &Target) -> String {
    let head = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        1_u64 << 40
    );
    let replies = join_all((0..50).map(|_| target.send("hostile", head.as_bytes()))).await;
    for reply in &replies {
        reply.is_refused(413);
    }
    let gone = ["18446744073709551616", "-1", "1, 2", "0x10"];
    for length in gone {
        let head = head.replace(&(1_u64 << 40).to_string(), length);
        let reply = target.send("hostile", head.as_bytes()).await;
        assert!(matches!(reply.code, 0 | 400), "length {length}: {}", reply.code);
    }
    format!("{} bodies of a terabyte each were refused by their heads", replies.len())
}

pub(crate) async fn without_an_end(target: &Target) -> String {
    let mut octets = format!(
        "POST {CONFIG_MAPS} HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nConnection: close\r\n\
         Transfer-Encoding: chunked\r\n\r\n"
    )
    .into_bytes();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    // Not ended by a last chunk; a server that reads on would wait for it.
    octets.extend(chunk.as_bytes().repeat(LIMIT / 0x10000 + 4));
    let replies = join_all((0..40).map(|_| target.send("hostile", &octets))).await;
    for reply in &replies {
        // The connection may have been cut under the answer.
        assert!(matches!(reply.code, 0 | 413 | 429), "{}", reply.code);
    }
    counts(replies.iter().map(|reply| reply.code))
}

pub(crate) async fn as_large_as_may_be(target: &Target) -> String {
    // Many small values are many times as large when parsed.
    let mut entries = String::new();
    let mut n = 0;
    while entries.len() < LIMIT - 1000 {
        write!(entries, "\"k{n}\":\"\",").unwrap();
        n += 1;
    }
    let body = format!("{{\"metadata\":{{\"name\":\"big\"}},\"data\":{{{entries}\"z\":\"\"}}}}");
    let mut codes = Vec::new();
    for _ in 0..2 {
        let posts = (0..60).map(|_| target.ask("hostile", "POST", CONFIG_MAPS, JSON, &body));
        codes.extend(join_all(posts).await.iter().map(|reply| reply.code));
    }
    for code in &codes {
        assert!(matches!(code, 0 | 201 | 409 | 413 | 422 | 429), "{code}");
    }
    counts(codes)
}

pub(crate) async fn deep_and_multiplying(target: &Target) -> String {
    let repeated = |text: &str| text.repeat(LIMIT / text.len() - 16);
    let mut laughs = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for n in 1..400 {
        let alias = format!("*a{},", n - 1).repeat(10);
        writeln!(laughs, "a{n}: &a{n} [{alias}]").unwrap();
    }
    let merging = (1..2000).fold("m0: &m0 {a: b}\n".to_owned(), |mut text, n| {
        writeln!(text, "m{n}: &m{n} {{<<: [*m{}, *m{}], k{n}: v}}", n - 1, n / 2).unwrap();
        text
    });
    let anchors = (0..100_000).fold(String::new(), |mut text, n| {
        writeln!(text, "- &a{n} x").unwrap();
        text
    });
    let mut slowest = (Duration::ZERO, "");
    for (what, kind, body) in [
        ("JSON arrays", JSON, repeated("[")),
        ("JSON objects", JSON, repeated("{\"a\":")),
        ("YAML flow sequences", YAML, repeated("[")),
        ("YAML flow mappings", YAML, repeated("{a: ")),
        ("YAML block sequences", YAML, repeated("- ")),
        ("YAML complex keys", YAML, repeated("? ")),
        ("YAML indentation", YAML, {
            let lines = (0..2000).map(|n| format!("{}a:\n", " ".repeat(n)));
            lines.collect::<String>()
        }),
        ("YAML quotes", YAML, repeated("\"\\x41")),
        ("YAML tags", YAML, repeated("!<a> ")),
        ("YAML documents", YAML, repeated("---\n")),
        ("YAML directives", YAML, repeated("%YAML 1.1\n")),
        ("YAML aliases", YAML, laughs),
        ("YAML merge keys", YAML, merging),
        ("YAML anchors", YAML, anchors),
        ("YAML plain scalar", YAML, repeated("a")),
        ("YAML colons", YAML, repeated("a:b:")),
        ("YAML comments", YAML, repeated("#\n")),
    ] {
        let begun = Instant::now();
        target.ask("hostile", "POST", CONFIG_MAPS, kind, body).await.is_refused(400);
        if begun.elapsed() > slowest.0 {
            slowest = (begun.elapsed(), what);
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {:?}", begun.elapsed());
    }
    format!("all refused; the slowest were {} in {:.1?}", slowest.1, slowest.0)
}

pub(crate) async fn thousands_of_entries(target: &Target) -> String {
    let map = |count: usize, value: &str| -> Value {
        (0..count)
            .map(|n| (format!("key-{n}"), Value::from(value)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    };
    let owners = |count: usize| -> Value {
        (0..count)
            .map(|n| json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": n.to_string()}))
            .collect()
    };
    let containers = |count: usize| -> Value {
        (0..count).map(|n| json!({"name": format!("c{n}"), "image": "i"})).collect()
    };
    let mut codes = Vec::new();
    let mut slowest = (Duration::ZERO, "");
    for (what, path, field, value) in [
        ("labels that are wrong", CONFIG_MAPS, "/metadata/labels", map(50_000, "not a value!")),
        ("labels", CONFIG_MAPS, "/metadata/labels", map(50_000, "v")),
        ("annotations", CONFIG_MAPS, "/metadata/annotations", map(50_000, "v")),
        (
            "finalizers",
            CONFIG_MAPS,
            "/metadata/finalizers",
            (0..50_000).map(|n| format!("example.com/{n}")).collect(),
        ),
        (
            "finalizers that are wrong",
            CONFIG_MAPS,
            "/metadata/finalizers",
            (0..100_000).map(|n| format!("{n} ?")).collect(),
        ),
        ("owners", CONFIG_MAPS, "/metadata/ownerReferences", owners(20_000)),
        ("containers", PODS, "/spec/containers", containers(20_000)),
        (
            "containers of one name",
            PODS,
            "/spec/containers",
            (0..20_000).map(|_| json!({"name": "c", "image": "i"})).collect(),
        ),
        (
            "variables",
            PODS,
            "/spec/containers/0/env",
            (0..50_000).map(|n| json!({"name": format!("E{n}"), "value": "$(E0)"})).collect(),
        ),
        (
            "ports",
            PODS,
            "/spec/containers/0/ports",
            (0..20_000)
                .map(|n| json!({"containerPort": n % 60_000 + 1, "hostPort": n + 1}))
                .collect(),
        ),
        (
            "volumes",
            PODS,
            "/spec/volumes",
            (0..20_000).map(|n| json!({"name": format!("v{n}"), "emptyDir": {}})).collect(),
        ),
        (
            "mounts",
            PODS,
            "/spec/containers/0/volumeMounts",
            (0..20_000).map(|n| json!({"name": "v", "mountPath": format!("/{n}")})).collect(),
        ),
        (
            "tolerations",
            PODS,
            "/spec/tolerations",
            (0..20_000).map(|n| json!({"key": format!("k{n}"), "operator": "Exists"})).collect(),
        ),
        ("unknown fields", PODS, "/spec", map(100_000, "x")),
        (
            "ports of a service",
            "/api/v1/namespaces/default/services",
            "/spec/ports",
            (0..20_000).map(|n| json!({"name": format!("p{n}"), "port": n + 1})).collect(),
        ),
        (
            "endpoints",
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            "/endpoints",
            (0..20_000)
                .map(|n| json!({"addresses": [format!("10.0.{}.{}", n / 256, n % 256)]}))
                .collect(),
        ),
    ] {
        let mut object = json!({
            "metadata": {"name": what.replace(' ', "-")},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
            "addressType": "IPv4",
        });
        if !path.contains("pods") && !path.contains("services") {
            object.as_object_mut().unwrap().remove("spec");
        }
        let (parent, last) = field.rsplit_once('/').unwrap();
        object.pointer_mut(parent).unwrap()[last] = value;
        let begun = Instant::now();
        let reply = target.post(path, object.to_string()).await;
        match reply.code {
            201 => {}
            code => reply.is_refused(code),
        }
        assert!(matches!(reply.code, 201 | 400 | 413 | 422), "{what}: {}", reply.code);
        codes.push(reply.code);
        if begun.elapsed() > slowest.0 {
            slowest = (begun.elapsed(), what);
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{what}: {:?}", begun.elapsed());
    }
    format!("{}; the slowest were {} in {:.1?}", counts(codes), slowest.1, slowest.0)
}

pub(crate) async fn not_what_they_say(target: &Target) -> String {
    let map = |data: &str| format!("{{\"metadata\":{{\"name\":\"a\"}},{data}}}").into_bytes();
    let deployment = "/apis/apps/v1/namespaces/default/replicasets";
    let set = |replicas: &str| {
        format!(
            "{{\"metadata\":{{\"name\":\"a\"}},\"spec\":{{\"replicas\":{replicas},\"selector\":\
             {{\"matchLabels\":{{\"a\":\"b\"}}}},\"template\":{{\"metadata\":{{\"labels\":\
             {{\"a\":\"b\"}}}},\"spec\":{{\"containers\":[{{\"name\":\"c\",\"image\":\"i\"}}]}}}}}}}}"
        )
        .into_bytes()
    };
    let mut tried = 0;
    let strict = format!("{CONFIG_MAPS}?fieldValidation=Strict");
    for (path, kind, body, codes) in [
        (CONFIG_MAPS, JSON, map("\"data\":{\"k\":\"\u{0}\"}"), &[400][..]),
        (
            CONFIG_MAPS,
            JSON,
            [map("\"data\":{\"k\":\"")[..].to_vec(), vec![0xff, 0xfe]].concat(),
            &[400],
        ),
        (CONFIG_MAPS, JSON, b"\xef\xbb\xbf{}".to_vec(), &[400]),
        (CONFIG_MAPS, YAML, b"a: \xff\xfe".to_vec(), &[400]),
        (CONFIG_MAPS, JSON, map("\"data\":{\"k\":\"\\ud800\"}"), &[400]),
        (CONFIG_MAPS, JSON, map("\"data\":{\"k\":NaN}"), &[400]),
        (CONFIG_MAPS, JSON, map("\"data\":{\"k\":1}"), &[400, 422]),
        (CONFIG_MAPS, JSON, b"{} {}".to_vec(), &[400]),
        (CONFIG_MAPS, JSON, b"".to_vec(), &[400]),
        (CONFIG_MAPS, JSON, b"null".to_vec(), &[400]),
        (CONFIG_MAPS, JSON, b"[]".to_vec(), &[400]),
        (&strict, JSON, map("\"data\":{\"k\":\"1\",\"k\":\"2\"}"), &[400]),
        (&strict, JSON, map("\"nonsense\":1"), &[400]),
        (deployment, JSON, set("1e999"), &[400, 422]),
        (deployment, JSON, set("1.5"), &[400, 422]),
        (deployment, JSON, set("-1"), &[400, 422]),
        (deployment, JSON, set("99999999999999999999999999"), &[400, 422]),
        (deployment, JSON, set("4294967296"), &[400, 422]),
        (CONFIG_MAPS, "application/xml", b"<a/>".to_vec(), &[415]),
        (CONFIG_MAPS, "text/html, application/json", b"{}".to_vec(), &[415]),
        (CONFIG_MAPS, PROTOBUF, b"".to_vec(), &[400, 415]),
        (CONFIG_MAPS, PROTOBUF, b"k8s\0".to_vec(), &[400, 415]),
        (
            CONFIG_MAPS,
            PROTOBUF,
            b"k8s\0\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f".to_vec(),
            &[400, 415],
        ),
        (CONFIG_MAPS, PROTOBUF, b"k8s\0\x12\xff\xff\xff\xff\x0f".to_vec(), &[400, 415]),
        (CONFIG_MAPS, PROTOBUF, [&b"k8s\0"[..], &[0xff; 4096]].concat(), &[400, 415]),
        (CONFIG_MAPS, PROTOBUF, [&b"k8s\0"[..], &[0x0b; 100_000]].concat(), &[400, 415]),
        (
            CONFIG_MAPS,
            PROTOBUF,
            [&b"k8s\0"[..], &b"\x0a\x02\x0a\x00".repeat(100_000)].concat(),
            &[400, 415],
        ),
        // Packed by the client, read as it stands.
        (CONFIG_MAPS, JSON, b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec(), &[400]),
    ] {
        let reply = target.ask("hostile", "POST", path, kind, &body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        assert!(codes.contains(&reply.code), "{kind} {shown:?}: {} {:?}", reply.code, reply.json());
        reply.is_refused(reply.code);
        tried += 1;
    }
    // Half a request, and then nothing more: no answer is due, and no place is kept.
    let half = request("POST", CONFIG_MAPS, JSON, b"{}");
    for cut in [1, 10, half.len() / 2, half.len() - 1] {
        let mut stream = target.door.open(Some("hostile"), "http/1.1").await.unwrap();
        stream.write_all(&half[..cut]).await.unwrap();
        stream.shutdown().await.unwrap();
    }
    format!("{tried} bodies refused")
}
