//! `/etc/resolv.conf` of a pod, by its `dnsPolicy` and `dnsConfig`.

use std::{fs, net::IpAddr};

use k8s_openapi::api::core::v1::{Pod, PodSpec};
use tracing::warn;

use crate::KubeletConfig;

/// What resolvers read, and what Kubernetes admits: name servers, domains to search, and the length
/// of their line.
const SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;
const SEARCH_BYTES_MAX: usize = 2048;

/// So that the name of a service in another namespace is completed, too.
const NDOTS: &str = "ndots:5";

#[derive(Debug, Default)]
struct ResolvConf {
    servers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

/// `addresses` are the pod's.
pub(crate) fn resolv_conf(pod: &Pod, config: &KubeletConfig, addresses: &[IpAddr]) -> String {
    let Some(spec) = &pod.spec else { return String::new() };
    let mut file = ResolvConf::default();
    match policy(spec) {
        "None" => {}
        "ClusterFirst" | "ClusterFirstWithHostNet" if !config.cluster_dns.is_empty() => {
            let domain = &config.cluster_domain;
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            file.servers
                .extend(server_for(&config.cluster_dns, addresses).map(|ip| ip.to_string()));
            file.searches =
                vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
            file.searches.extend(of_node(config).searches);
            file.options.push(NDOTS.to_owned());
        }
        _ => file = of_node(config),
    }
    file.add(spec);
    file.bound(pod);
    file.text()
}

/// A pod in the node's network asks as the node does, unless it says that it does not.
fn policy(spec: &PodSpec) -> &str {
    match (spec.dns_policy.as_deref(), spec.host_network) {
        (Some("ClusterFirst") | None, Some(true)) => "Default",
        (Some(policy), _) => policy,
        (None, _) => "ClusterFirst",
    }
}

/// The one name server for a pod with these addresses: of a family that it has, as the cluster
/// prefers them.
///
/// Behind both addresses is the same process, so the second helps no one who did not get an answer
/// from the first; but resolvers that ask all at once would ask it twice.
fn server_for(servers: &[IpAddr], addresses: &[IpAddr]) -> Option<IpAddr> {
    let reached = |server: &&IpAddr| addresses.iter().any(|own| own.is_ipv4() == server.is_ipv4());
    servers.iter().find(reached).or(servers.first()).copied()
}

/// What the node itself asks.
fn of_node(config: &KubeletConfig) -> ResolvConf {
    match fs::read_to_string(&config.resolv_conf) {
        Ok(text) => ResolvConf::parse(&text),
        Err(error) => {
            warn!(file = %config.resolv_conf.display(), %error, "name servers of the node");
            ResolvConf::default()
        }
    }
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut file = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => file.servers.extend(words.next()),
                // Each replaces what stands before it.
                Some("search" | "domain") => file.searches = words.collect(),
                Some("options") => file.options.extend(words),
                _ => {}
            }
        }
        file
    }

    /// What the pod asks for besides.
    fn add(&mut self, spec: &PodSpec) {
        let Some(extra) = &spec.dns_config else { return };
        self.servers.extend(extra.nameservers.iter().flatten().cloned());
        self.searches.extend(extra.searches.iter().flatten().cloned());
        for option in extra.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options.retain(|known| known.split(':').next() != Some(name));
            self.options.push(match option.value.as_deref() {
                Some(value) if !value.is_empty() => format!("{name}:{value}"),
                _ => name.clone(),
            });
        }
    }

    /// Leaves out what is there twice and what nobody would read.
    fn bound(&mut self, pod: &Pod) {
        unique(&mut self.servers);
        unique(&mut self.searches);
        let before = (self.servers.len(), self.searches.len());
        self.servers.truncate(SERVERS_MAX);
        self.searches.truncate(SEARCHES_MAX);
        while self.searches.join(" ").len() > SEARCH_BYTES_MAX {
            self.searches.pop();
        }
        if (self.servers.len(), self.searches.len()) != before {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            warn!(pod, "resolv.conf would be too long: the last of it is left out");
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            text += &format!("nameserver {server}\n");
        }
        for (what, words) in [("search", &self.searches), ("options", &self.options)] {
            if !words.is_empty() {
                text += &format!("{what} {}\n", words.join(" "));
            }
        }
        text
    }
}

fn unique(words: &mut Vec<String>) {
    let mut seen = std::collections::BTreeSet::new();
    words.retain(|word| seen.insert(word.clone()));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A file of this test alone, with the node's name servers.
    fn node() -> (tempfile::TempDir, KubeletConfig) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = KubeletConfig::new("n", "/r", "/i");
        config.resolv_conf = folder.path().join("resolv.conf");
        let text = "nameserver 192.0.2.1\nsearch old\nsearch example.com cluster.local\n\
                    options edns0\n";
        fs::write(&config.resolv_conf, text).unwrap();
        config.cluster_dns = vec!["169.254.20.10".parse().unwrap(), "fd00:20::10".parse().unwrap()];
        (folder, config)
    }

    fn of(spec: Value, addresses: &[&str]) -> String {
        let (_folder, config) = node();
        let mut spec = spec;
        spec["containers"] = json!([]);
        let metadata = json!({"name": "web-1", "namespace": "shop"});
        let pod = serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap();
        let addresses: Vec<IpAddr> = addresses.iter().map(|one| one.parse().unwrap()).collect();
        resolv_conf(&pod, &config, &addresses)
    }

    const CLUSTER: &str = "search shop.svc.cluster.local svc.cluster.local cluster.local \
                           example.com\noptions ndots:5\n";
    const DUAL: [&str; 2] = ["10.0.0.1", "fd00::1"];

    #[test]
    fn a_pod_asks_its_node_in_a_family_that_it_has() {
        let v4 = format!("nameserver 169.254.20.10\n{CLUSTER}");
        let v6 = format!("nameserver fd00:20::10\n{CLUSTER}");
        assert_eq!(of(json!({}), &DUAL), v4);
        assert_eq!(of(json!({}), &["10.0.0.1"]), v4);
        assert_eq!(of(json!({}), &["fd00::1"]), v6);
        assert_eq!(of(json!({"dnsPolicy": "ClusterFirst"}), &DUAL), v4);
    }

    #[test]
    fn a_pod_in_the_nodes_network_asks_as_the_node_does_unless_it_says_so() {
        let nodes = "nameserver 192.0.2.1\nsearch example.com cluster.local\noptions edns0\n";
        assert_eq!(of(json!({"hostNetwork": true, "dnsPolicy": "ClusterFirst"}), &DUAL), nodes);
        assert_eq!(of(json!({"dnsPolicy": "Default"}), &DUAL), nodes);
        let spec = json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"});
        assert_eq!(of(spec, &DUAL), format!("nameserver 169.254.20.10\n{CLUSTER}"));
    }

    #[test]
    fn what_a_pod_asks_for_comes_besides() {
        let extra = json!({
            "nameservers": ["192.0.2.53", "169.254.20.10"],
            "searches": ["example.org", "cluster.local"],
            "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}],
        });
        assert_eq!(
            of(json!({"dnsConfig": extra}), &DUAL),
            "nameserver 169.254.20.10\nnameserver 192.0.2.53\n\
             search shop.svc.cluster.local svc.cluster.local cluster.local example.com \
             example.org\noptions ndots:1 edns0\n"
        );
        let alone = json!({"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"]}});
        assert_eq!(of(alone, &DUAL), "nameserver 192.0.2.53\n");
    }

    #[test]
    fn what_nobody_would_read_is_left_out() {
        let searches: Vec<String> = (0..40).map(|number| format!("s{number}.example")).collect();
        let servers = ["192.0.2.1", "192.0.2.2", "192.0.2.3"];
        let text = of(json!({"dnsConfig": {"searches": searches, "nameservers": servers}}), &DUAL);
        assert_eq!(text.matches("nameserver").count(), 3);
        assert_eq!(text.matches("example").count(), 32 - 3);
    }

    #[test]
    fn without_a_cluster_dns_the_nodes_is_asked() {
        let (_folder, mut config) = node();
        config.cluster_dns.clear();
        let pod = serde_json::from_value(json!({"spec": {"containers": []}})).unwrap();
        assert!(resolv_conf(&pod, &config, &[]).starts_with("nameserver 192.0.2.1\n"));
    }
}
