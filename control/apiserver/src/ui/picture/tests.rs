use serde_json::json;

use super::*;

const NOW: u64 = 1_700_000_000_000;

fn report(asn: u32, address: &str, peers: Value, services: Value) -> Report {
    let status = json!({
        "node": "", "version": "", "pid": 1, "uptimeSecs": 1, "routerId": "10.0.0.1", "asn": asn,
        "addresses": [address], "peers": 1, "peersEstablished": 1, "routesWanted": 4,
        "routesInstalled": 3, "blocks": ["10.244.0.0/26"], "pods": 1, "services": 1,
        "backends": 1, "problems": [],
    });
    Report {
        status: serde_json::from_value(status).unwrap(),
        peers: serde_json::from_value(peers).unwrap(),
        services: serde_json::from_value(services).unwrap(),
    }
}

fn peer(address: &str, state: &str, flaps: u64) -> Value {
    json!({
        "address": address, "asn": 64512, "routerId": null, "state": state, "sinceSecs": 60,
        "holdTimeSecs": 90, "families": [], "prefixesReceived": 2, "prefixesAccepted": 2,
        "prefixesSent": 2, "prefixesStale": 0, "messagesReceived": 9, "messagesSent": 9,
        "flaps": flaps, "lastError": null,
    })
}

fn node(name: &str, rack: &str, address: &str, ready: &str) -> Value {
    json!({
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": rack}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}],
            "conditions": [{"type": "Ready", "status": ready, "message": "no sign of life"}],
        },
    })
}

fn seen(is_node: bool, answer: Result<Report, String>) -> Seen {
    let mut seen = Seen::new(is_node);
    seen.update(answer, NOW);
    seen
}

fn section(sections: &Sections, name: &str) -> Value {
    serde_json::from_str(&sections[name]).unwrap()
}

fn picture(objects: &Objects, all: &[(&'static str, &Seen)]) -> Sections {
    assemble(objects, &all.iter().copied().collect())
}

#[test]
fn a_session_is_what_both_of_its_ends_say() {
    let objects = Objects {
        nodes: vec![node("n1", "r1", "10.0.0.1", "True"), node("n2", "r2", "10.0.0.2", "True")],
        ..Objects::default()
    };
    let one = |state| report(64512, "10.0.0.1", json!([peer("10.0.0.2", state, 1)]), json!([]));
    let two = report(64512, "10.0.0.2", json!([peer("10.0.0.1", "Established", 3)]), json!([]));
    let n2 = seen(true, Ok(two));
    for (state, up) in [("Established", true), ("Active", false)] {
        let n1 = seen(true, Ok(one(state)));
        let sessions = section(&picture(&objects, &[("n1", &n1), ("n2", &n2)]), "sessions");
        assert_eq!(sessions.as_array().unwrap().len(), 1, "{sessions}");
        assert_eq!(sessions[0]["up"], up);
        assert_eq!(
            [&sessions[0]["a"], &sessions[0]["aState"], &sessions[0]["flaps"]],
            [&json!("n1"), &json!(state), &json!(3)]
        );
    }
}

#[test]
fn a_daemon_that_is_silent_says_since_when_and_is_not_believed() {
    let objects =
        Objects { nodes: vec![node("n1", "", "10.0.0.1", "False")], ..Objects::default() };
    let peers = json!([peer("10.0.0.9", "Established", 0)]);
    let mut n1 = seen(true, Ok(report(64512, "10.0.0.1", peers, json!([]))));
    for later in [1000, 2000] {
        n1.update(Err("connection refused".to_owned()), NOW + later);
    }
    let sections = picture(&objects, &[("n1", &n1)]);
    let nodes = section(&sections, "nodes");
    assert_eq!(nodes[0]["silence"], json!({"since": NOW + 1000, "why": "connection refused"}));
    assert_eq!(nodes[0]["reason"], "no sign of life");
    assert_eq!(nodes[0]["network"]["stale"], true, "what was known of it is still shown");
    assert_eq!(section(&sections, "sessions"), json!([]));
    n1.update(Ok(report(64512, "10.0.0.1", json!([]), json!([]))), NOW + 3000);
    assert_eq!(section(&picture(&objects, &[("n1", &n1)]), "nodes")[0]["silence"], Value::Null);
}

#[test]
fn speakers_are_told_apart_by_whom_they_speak_with() {
    let objects = Objects {
        nodes: vec![
            node("n1", "rack-1", "10.0.0.1", "True"),
            node("n2", "rack-2", "10.0.0.2", "True"),
        ],
        ..Objects::default()
    };
    let up = |addresses: &[&str]| -> Value {
        addresses.iter().map(|address| peer(address, "Established", 0)).collect()
    };
    let n1 = seen(true, Ok(report(64512, "10.0.0.1", up(&["10.0.1.1", "192.0.2.9"]), json!([]))));
    let n2 = seen(true, Ok(report(64512, "10.0.0.2", up(&[]), json!([]))));
    let router =
        seen(false, Ok(report(64601, "10.0.1.1", up(&["10.0.0.1", "10.0.2.1"]), json!([]))));
    let border = seen(false, Ok(report(64600, "10.0.2.1", up(&["10.0.1.1"]), json!([]))));
    let reflector = seen(false, Ok(report(64512, "10.0.3.1", up(&["10.0.0.1"]), json!([]))));
    let dead = seen(false, Err("its daemon does not run".to_owned()));
    let all = [
        ("n1", &n1),
        ("n2", &n2),
        ("a-router", &router),
        ("border", &border),
        ("reflector-1", &reflector),
        ("rack-2", &dead),
    ];
    let speakers = section(&picture(&objects, &all), "speakers");
    let told: BTreeMap<&str, (&str, Option<&str>)> = speakers
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (text(one, "name"), (text(one, "kind"), one["rack"].as_str())))
        .collect();
    let expected = [
        ("a-router", ("router", Some("rack-1"))),
        ("border", ("border", None)),
        ("reflector-1", ("reflector", None)),
        ("rack-2", ("router", Some("rack-2"))),
        ("192.0.2.9 (AS 64512)", ("external", None)),
    ];
    assert_eq!(told, expected.into());
}

#[test]
fn connections_are_those_of_all_nodes_by_pod() {
    let pod = json!({
        "metadata": {"namespace": "default", "name": "web-1"}, "spec": {"nodeName": "n1"},
        "status": {
            "phase": "Running", "podIPs": [{"ip": "10.244.0.1"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    });
    let service = json!({
        "metadata": {"namespace": "default", "name": "web"},
        "spec": {
            "type": "LoadBalancer", "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 80, "protocol": "TCP"}],
        },
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}},
    });
    let objects = Objects {
        nodes: vec![node("n1", "", "10.0.0.1", "True"), node("n2", "", "10.0.0.2", "True")],
        pods: vec![pod],
        services: vec![service],
    };
    let told = |connections: u64, programmed: bool, state: &str| {
        let backend = |address: &str| {
            json!({"address": address, "node": "n1", "id": 1, "state": state,
                   "connections": connections})
        };
        json!([{"namespace": "default", "name": "web", "frontends": [
            {"kind": "ClusterIP", "address": "10.96.0.9:80", "protocol": "TCP", "portName": null,
             "programmed": programmed, "backends": [backend("10.244.0.1:8080")]},
            {"kind": "LoadBalancer", "address": "[2001:db8::1]:80", "protocol": "TCP",
             "portName": null, "programmed": true, "backends": [backend("[fd00::1]:8080")]},
        ]}])
    };
    let n1 = seen(true, Ok(report(64512, "10.0.0.1", json!([]), told(3, true, "active"))));
    let n2 = seen(true, Ok(report(64512, "10.0.0.2", json!([]), told(2, false, "unready"))));
    let sections = picture(&objects, &[("n1", &n1), ("n2", &n2)]);
    let service = &section(&sections, "services")[0];
    assert_eq!(service["ways"], json!({"ClusterIP": 5, "LoadBalancer": 5}));
    assert_eq!(service["notProgrammed"], json!(["n2"]));
    assert_eq!(service["connections"], 10);
    let backends = json!([{
        "name": "web-1", "node": "n1", "addresses": ["10.244.0.1:8080", "[fd00::1]:8080"],
        "state": "active", "connections": 10,
    }]);
    assert_eq!(service["backends"], backends, "both addresses are one pod's");
    let pods = &section(&sections, "nodes")[0]["pods"];
    assert_eq!([&pods[0]["name"], &pods[0]["state"]], ["web-1", "ready"]);
}

/// Ages in whole seconds would make each picture another.
#[test]
fn a_session_that_stays_as_it_is_is_the_same_picture() {
    let objects = Objects::default();
    let told = |since_secs: u64| {
        let mut peer = peer("10.0.0.2", "Established", 0);
        peer["sinceSecs"] = since_secs.into();
        Ok(report(64512, "10.0.0.1", json!([peer]), json!([])))
    };
    let mut n1 = seen(true, told(60));
    let before = picture(&objects, &[("n1", &n1)]);
    n1.update(told(61), NOW + 1900);
    assert_eq!(picture(&objects, &[("n1", &n1)]), before);
    n1.update(told(0), NOW + 3000);
    assert_ne!(picture(&objects, &[("n1", &n1)]), before, "it was lost, and is back");
}
