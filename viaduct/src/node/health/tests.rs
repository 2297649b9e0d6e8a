use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A service that asks for the port, with endpoints on these nodes, ready or not.
fn view(port: u16, policy: &str, endpoints: &[(&str, bool)]) -> View {
    let mut view = View::default();
    let service = json!({
        "metadata": {"name": "s", "namespace": "a"},
        "spec": {"type": "LoadBalancer", "externalTrafficPolicy": policy,
            "healthCheckNodePort": port, "ports": [{"port": 80}]},
    });
    view.services.insert("a/s".into(), Arc::new(serde_json::from_value(service).unwrap()));
    for (family, network) in [("IPv4", "10.0.0."), ("IPv6", "fd00::")] {
        let of = |(number, (node, ready)): (usize, &(&str, bool))| -> Value {
            json!({"addresses": [format!("{network}{number}")], "nodeName": node,
                "conditions": {"ready": ready}, "targetRef": {"uid": format!("pod-{number}")}})
        };
        let slice = json!({
            "metadata": {"name": format!("s-{family}"), "namespace": "a",
                "labels": {"kubernetes.io/service-name": "s"}},
            "addressType": family,
            "endpoints": endpoints.iter().enumerate().map(of).collect::<Vec<Value>>(),
        });
        let slice = serde_json::from_value(slice).unwrap();
        view.slices.insert(format!("a/s-{family}"), Arc::new(slice));
    }
    view
}

#[test]
fn pods_of_this_node_that_are_ready_count_once() {
    let endpoints = [("n", true), ("n", true), ("n", false), ("m", true)];
    let checks = checks(&view(30100, "Local", &endpoints), "n");
    let expected = Check { namespace: "a".into(), name: "s".into(), local_endpoints: 2 };
    assert_eq!(checks, BTreeMap::from([(30100, expected)]));
    assert_eq!(super::checks(&view(30100, "Cluster", &endpoints), "n"), BTreeMap::new());
    assert_eq!(super::checks(&view(0, "Local", &endpoints), "n"), BTreeMap::new());
}

/// A port that nobody has at the moment.
async fn free_port() -> u16 {
    let listener = TcpListener::bind(("::", 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

/// Status, weight and body; `None` where nobody listens.
async fn ask(port: u16) -> Option<(u16, String, Value)> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: n\r\n\r\n").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let weight =
        head.lines().find_map(|line| line.strip_prefix("x-load-balancing-endpoint-weight: "));
    Some((status, weight.unwrap().to_owned(), serde_json::from_str(body).unwrap()))
}

/// Asks until the answer is as it should be.
async fn until(port: u16, is: impl Fn(&Option<(u16, String, Value)>) -> bool) {
    let asking = async {
        loop {
            let answer = ask(port).await;
            if is(&answer) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), asking).await.expect("the answer");
}

#[tokio::test]
async fn the_port_is_answered_while_a_service_asks_for_it() {
    let port = free_port().await;
    let (sender, receiver) = watch::channel(None);
    let (health, stop) = (Health::default(), CancellationToken::new());
    tokio::spawn(health.clone().follow("n".into(), receiver, stop.clone()));
    sender.send_replace(Some(Arc::new(view(port, "Local", &[("n", true), ("n", true)]))));
    until(port, Option::is_some).await;
    let (status, weight, body) = ask(port).await.unwrap();
    assert_eq!((status, weight.as_str()), (200, "2"));
    let expected = json!({"service": {"namespace": "a", "name": "s"}, "localEndpoints": 2,
        "serviceProxyHealthy": true});
    assert_eq!(body, expected);
    sender.send_replace(Some(Arc::new(view(port, "Local", &[("m", true)]))));
    until(port, |answer| answer.as_ref().is_some_and(|(status, ..)| *status == 503)).await;
    assert_eq!(ask(port).await.unwrap().1, "0");
    sender.send_replace(Some(Arc::new(view(port, "Cluster", &[("n", true)]))));
    until(port, Option::is_none).await;
    sender.send_replace(Some(Arc::new(view(port, "Local", &[("n", true)]))));
    until(port, Option::is_some).await;
    stop.cancel();
    until(port, Option::is_none).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_said_and_had_when_it_is_free() {
    let holder = TcpListener::bind(("::", 0)).await.unwrap();
    let port = holder.local_addr().unwrap().port();
    let (_sender, receiver) = watch::channel(Some(Arc::new(view(port, "Local", &[("n", true)]))));
    let (health, stop) = (Health::default(), CancellationToken::new());
    tokio::spawn(health.clone().follow("n".into(), receiver, stop.clone()));
    let said = async {
        while health.problems().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), said).await.expect("a problem");
    let problem = &health.problems()[0];
    assert!(problem.contains(&port.to_string()) && problem.contains("a/s"), "{problem}");
    drop(holder);
    until(port, Option::is_some).await;
    assert_eq!(health.problems(), [""; 0]);
}
