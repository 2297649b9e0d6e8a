//! Services as kubectl shows them.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to panic")]

use k8s_openapi::api::core::v1::{Event, Service};

use crate::{
    cluster::{Cluster, vips},
    kubectl::Kubectl,
};

const SHARERS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web, annotations: {viaduct.dev/vip-sharing-key: front}}
spec: {type: LoadBalancer, loadBalancerIP: 198.51.100.80, ports: [{port: 80}], selector: {app: web}}
---
apiVersion: v1
kind: Service
metadata: {name: dns, annotations: {viaduct.dev/vip-sharing-key: front}}
spec:
  {type: LoadBalancer, loadBalancerIP: 198.51.100.80, ports: [{port: 53, protocol: UDP}],
   selector: {app: dns}}
---
apiVersion: v1
kind: Service
metadata: {name: late, annotations: {viaduct.dev/vip-sharing-key: front}}
spec: {type: LoadBalancer, loadBalancerIP: 198.51.100.80, ports: [{port: 80}], selector: {app: late}}
"#;

fn of<'a>(services: &'a [Service], name: &str) -> &'a Service {
    services.iter().find(|one| one.metadata.name.as_deref() == Some(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_shared_and_who_stands_in_the_way_is_named() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster);
    let (first, rest) = SHARERS.split_once("---").unwrap();
    kubectl.feed(&["apply", "-f", "-"], first);
    cluster
        .until::<Service>("the first address", |all| {
            all.iter().any(|one| vips(one) == ["198.51.100.80"])
        })
        .await;
    kubectl.feed(&["apply", "-f", "-"], rest);
    cluster
        .until::<Service>("the second, and a reason for the third", |all| {
            all.len() == 3
                && vips(of(all, "dns")) == ["198.51.100.80"]
                && of(all, "late").status.iter().any(|status| status.conditions.is_some())
        })
        .await;
    cluster
        .until::<Event>("an Event", |events| {
            events.iter().any(|event| event.reason.as_deref() == Some("AllocationFailed"))
        })
        .await;
    let table = kubectl.run(&["get", "services"]);
    assert_eq!(table.matches("198.51.100.80").count(), 2, "{table}");
    assert!(table.contains("<pending>"), "{table}");
    let why =
        "198.51.100.80 is the virtual IP of default/web, too, and port 80/TCP is taken by that";
    let described = kubectl.run(&["describe", "service", "late"]);
    assert!(described.contains("AllocationFailed") && described.contains(why), "{described}");
    let path = "-o=jsonpath={.status.conditions[?(@.type==\"viaduct.dev/VIPsAssigned\")].message}";
    assert_eq!(kubectl.run(&["get", "service", "late", path]), why);

    kubectl.run(&["delete", "service", "web"]);
    let services = cluster
        .until::<Service>("the address of the one that has gone", |all| {
            vips(of(all, "late")) == ["198.51.100.80"]
        })
        .await;
    assert_eq!(vips(of(&services, "dns")), ["198.51.100.80"]);
    assert_eq!(kubectl.run(&["get", "service", "late", path]), "");
}

const LOCAL: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: local}
spec: {type: LoadBalancer, externalTrafficPolicy: Local, ports: [{port: 80}], selector: {app: web}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_port_of_the_health_check_is_given_kept_and_taken_back() {
    let cluster = Cluster::start().await;
    let kubectl = Kubectl::new(&cluster);
    let port =
        || kubectl.run(&["get", "service", "local", "-o=jsonpath={.spec.healthCheckNodePort}"]);
    let patch = |spec: &str| ["patch", "service", "local", "-p", spec].map(str::to_owned);
    kubectl.feed(&["apply", "-f", "-"], LOCAL);
    let given: u16 = port().parse().unwrap();
    assert!((30000..=32767).contains(&given), "{given}");
    let described = kubectl.run(&["describe", "service", "local"]);
    assert!(
        described
            .lines()
            .any(|line| line.starts_with("HealthCheck NodePort:")
                && line.ends_with(&given.to_string())),
        "{described}"
    );
    // Applied again, and changed elsewhere, it stays.
    kubectl.feed(&["apply", "-f", "-"], &LOCAL.replace("port: 80", "port: 81"));
    assert_eq!(port(), given.to_string());
    let other = if given == 30000 { 30001 } else { given - 1 };
    let change = patch(&format!(r#"{{"spec":{{"healthCheckNodePort":{other}}}}}"#));
    let refused = kubectl.fails(&change.each_ref().map(String::as_str));
    assert!(refused.contains("spec.healthCheckNodePort"), "{refused}");
    assert!(refused.contains("field is immutable"), "{refused}");
    let change = patch(r#"{"spec":{"externalTrafficPolicy":"Cluster"}}"#);
    kubectl.run(&change.each_ref().map(String::as_str));
    assert_eq!(port(), "");
}
