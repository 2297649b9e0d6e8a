//! `/etc/hosts` and `/etc/hostname` of a pod.

use std::{fs, net::IpAddr};

use k8s_openapi::api::core::v1::{Pod, PodSpec};

/// The kernel's bound on a host name.
const HOSTNAME_BYTES_MAX: usize = 63;

pub(crate) fn hostname(pod: &Pod, node_name: &str) -> String {
    let spec = pod.spec.as_ref();
    if spec.and_then(|s| s.host_network) == Some(true) {
        return node_name.to_owned();
    }
    let name = spec
        .and_then(|s| s.hostname.clone())
        .or_else(|| pod.metadata.name.clone())
        .unwrap_or_default();
    let cut: String = name.chars().take(HOSTNAME_BYTES_MAX).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The pod's full name, where it has one: that of an endpoint of the headless service which it names
/// as its subdomain.
pub(crate) fn full_name(pod: &Pod, hostname: &str, cluster_domain: &str) -> Option<String> {
    let subdomain = pod.spec.as_ref()?.subdomain.as_deref().filter(|name| !name.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref()?;
    Some(format!("{hostname}.{subdomain}.{namespace}.svc.{cluster_domain}"))
}

/// `names` are the pod's, the full one first.
pub(crate) fn hosts(spec: &PodSpec, names: &[String], addresses: &[IpAddr]) -> String {
    let mut text = if spec.host_network == Some(true) {
        fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        let mut text = String::from(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n",
        );
        for address in addresses {
            text.push_str(&format!("{address}\t{}\n", names.join("\t")));
        }
        text
    };
    for alias in spec.host_aliases.iter().flatten() {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "web-1", "namespace": "shop" }, "spec": spec }))
        .unwrap()
    }

    #[test]
    fn a_pod_knows_its_own_name() {
        let pod = pod(json!({ "containers": [] }));
        assert_eq!(hostname(&pod, "n"), "web-1");
        let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let text = hosts(pod.spec.as_ref().unwrap(), &["web-1".to_owned()], &addresses);
        assert!(text.ends_with("10.0.0.1\tweb-1\nfd00::1\tweb-1\n"), "{text}");
    }

    #[test]
    fn a_pod_of_a_subdomain_has_a_full_name() {
        let pod = pod(json!({ "containers": [], "hostname": "db-0", "subdomain": "db" }));
        let hostname = hostname(&pod, "n");
        let full = full_name(&pod, &hostname, "cluster.local").unwrap();
        assert_eq!(full, "db-0.db.shop.svc.cluster.local");
        let addresses = ["10.0.0.1".parse().unwrap()];
        let text = hosts(pod.spec.as_ref().unwrap(), &[full, hostname], &addresses);
        assert!(text.ends_with("10.0.0.1\tdb-0.db.shop.svc.cluster.local\tdb-0\n"), "{text}");
    }
}
