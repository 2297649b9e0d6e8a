//! `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a pod.

use std::{fs, net::IpAddr};

use k8s_openapi::api::core::v1::{Pod, PodSpec};

use crate::KubeletConfig;

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

pub(crate) fn hosts(spec: &PodSpec, hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = if spec.host_network == Some(true) {
        fs::read_to_string("/etc/hosts").unwrap_or_default()
    } else {
        let mut text = String::from(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\n\
             fe00::2\tip6-allrouters\n",
        );
        for address in addresses {
            text.push_str(&format!("{address}\t{hostname}\n"));
        }
        text
    };
    for alias in spec.host_aliases.iter().flatten() {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

pub(crate) fn resolv_conf(pod: &Pod, config: &KubeletConfig) -> String {
    let Some(spec) = &pod.spec else { return String::new() };
    let policy = match (spec.dns_policy.as_deref(), spec.host_network) {
        (Some("ClusterFirst") | None, Some(true)) => "Default",
        (Some(policy), _) => policy,
        (None, _) => "ClusterFirst",
    };
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    match policy {
        "None" => {}
        "ClusterFirst" | "ClusterFirstWithHostNet" if !config.cluster_dns.is_empty() => {
            servers.extend(config.cluster_dns.iter().map(ToString::to_string));
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let domain = &config.cluster_domain;
            searches.push(format!("{namespace}.svc.{domain}"));
            searches.push(format!("svc.{domain}"));
            searches.push(domain.clone());
            options.push("ndots:5".to_owned());
        }
        _ => {
            let own = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
            read_resolv_conf(&own, &mut servers, &mut searches, &mut options);
        }
    }
    if let Some(extra) = &spec.dns_config {
        servers.extend(extra.nameservers.iter().flatten().cloned());
        searches.extend(extra.searches.iter().flatten().cloned());
        for option in extra.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            options.retain(|known| known.split(':').next() != Some(name));
            options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
    }
    write_resolv_conf(&servers, &searches, &options)
}

fn read_resolv_conf(
    text: &str,
    servers: &mut Vec<String>,
    searches: &mut Vec<String>,
    options: &mut Vec<String>,
) {
    for line in text.lines() {
        let mut words = line.split_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => servers.extend(words.next()),
            Some("search") => *searches = words.collect(),
            Some("options") => options.extend(words),
            _ => {}
        }
    }
}

fn write_resolv_conf(servers: &[String], searches: &[String], options: &[String]) -> String {
    let mut text = String::new();
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !searches.is_empty() {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
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
    fn a_pod_asks_the_clusters_name_server() {
        let mut config = KubeletConfig::new("n", "/r", "/i");
        config.cluster_dns = vec!["fd00::a".parse().unwrap()];
        let text = resolv_conf(&pod(json!({ "containers": [] })), &config);
        assert_eq!(
            text,
            "nameserver fd00::a\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
        );
        let own = pod(json!({ "containers": [], "dnsPolicy": "None", "dnsConfig": {
            "nameservers": ["192.0.2.53"], "options": [{ "name": "ndots", "value": "1" }] } }));
        assert_eq!(resolv_conf(&own, &config), "nameserver 192.0.2.53\noptions ndots:1\n");
    }

    #[test]
    fn a_pod_knows_its_own_name() {
        let pod = pod(json!({ "containers": [] }));
        assert_eq!(hostname(&pod, "n"), "web-1");
        let addresses = ["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let text = hosts(pod.spec.as_ref().unwrap(), "web-1", &addresses);
        assert!(text.ends_with("10.0.0.1\tweb-1\nfd00::1\tweb-1\n"), "{text}");
    }
}
