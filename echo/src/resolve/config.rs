//! `/etc/resolv.conf` and `/etc/hosts`, as resolv.conf(5) and hosts(5) describe them.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

const PORT: u16 = 53;
const SERVERS_MAX: usize = 3;
/// What Kubernetes allows a pod to have.
const SEARCH_MAX: usize = 32;
const NDOTS_MAX: usize = 15;
const TIMEOUT_SECS_MAX: u64 = 30;
const ATTEMPTS_MAX: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) servers: Vec<SocketAddr>,
    pub(crate) search: Vec<String>,
    /// A name with so many dots is tried as it is before the search path is.
    pub(crate) ndots: usize,
    /// How long one server is given at most, before another one is asked.
    pub(crate) timeout: Duration,
    /// How often every server may fail before the lookup does.
    pub(crate) attempts: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            servers: vec![SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT)],
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        }
    }
}

impl Config {
    /// Lines that are not understood are passed over, as every resolver does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut config = Self { servers: Vec::new(), ..Self::default() };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    if let Some(address) = address
                        && config.servers.len() < SERVERS_MAX
                    {
                        config.servers.push(SocketAddr::new(address, PORT));
                    }
                }
                // The last of them counts.
                Some("search" | "domain") => {
                    config.search = words
                        .map(|word| word.trim_end_matches('.').to_owned())
                        .filter(|word| !word.is_empty())
                        .take(SEARCH_MAX)
                        .collect();
                }
                Some("options") => words.for_each(|word| config.option(word)),
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers = Self::default().servers;
        }
        config
    }

    fn option(&mut self, word: &str) {
        let Some((name, value)) = word.split_once(':') else { return };
        let Ok(number) = value.parse::<u32>() else { return };
        match name {
            "ndots" => self.ndots = (number as usize).min(NDOTS_MAX),
            "timeout" => {
                self.timeout = Duration::from_secs(u64::from(number).clamp(1, TIMEOUT_SECS_MAX));
            }
            "attempts" => self.attempts = number.clamp(1, ATTEMPTS_MAX),
            _ => {}
        }
    }

    /// The names that are asked for one after another, each without its last dot.
    pub(crate) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self.search.iter().map(|domain| format!("{name}.{domain}"));
        let dots = name.bytes().filter(|&byte| byte == b'.').count();
        if dots >= self.ndots {
            std::iter::once(name.to_owned()).chain(searched).collect()
        } else {
            searched.chain([name.to_owned()]).collect()
        }
    }
}

/// The addresses that the hosts file has for a name, in its order. `localhost` is known without it
/// (RFC 6761 §6.3).
pub(crate) fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse) else { continue };
        if words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name))
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
        found = vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POD: &str = "\
# made by the kubelet
nameserver 169.254.20.10
nameserver fd00::a
nameserver what
search default.svc.cluster.local svc.cluster.local. cluster.local
options ndots:5 timeout:2 attempts:9 edns0
";

    #[test]
    fn what_a_pod_has() {
        let config = Config::parse(POD);
        let servers: Vec<SocketAddr> =
            ["169.254.20.10:53", "[fd00::a]:53"].iter().map(|one| one.parse().unwrap()).collect();
        assert_eq!(config.servers, servers);
        assert_eq!((config.ndots, config.attempts), (5, ATTEMPTS_MAX));
        assert_eq!(config.timeout, Duration::from_secs(2));
        assert_eq!(
            config.candidates("message-service"),
            [
                "message-service.default.svc.cluster.local",
                "message-service.svc.cluster.local",
                "message-service.cluster.local",
                "message-service",
            ]
        );
        assert_eq!(config.candidates("a.b.c.d.e.f")[0], "a.b.c.d.e.f");
        assert_eq!(config.candidates("example.org."), ["example.org"]);
    }

    #[test]
    fn an_empty_file_means_this_host() {
        assert_eq!(Config::parse(""), Config::default());
    }

    #[test]
    fn a_hosts_file_is_read() {
        let text =
            "127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.1 web.example web # b\n";
        let of = |name: &str| hosts(text, name).iter().map(IpAddr::to_string).collect::<Vec<_>>();
        assert_eq!(of("LOCALHOST"), ["127.0.0.1", "::1"]);
        assert_eq!(of("web"), ["10.0.0.1"]);
        assert_eq!(of("web."), ["10.0.0.1"]);
        assert!(of("b").is_empty());
        assert_eq!(hosts("", "localhost").len(), 2);
    }

    proptest! {
        #[test]
        fn no_file_is_too_strange(text: String, name in "[a-z.]{0,20}") {
            let config = Config::parse(&text);
            prop_assert!((1..=SERVERS_MAX).contains(&config.servers.len()));
            prop_assert!(config.search.len() <= SEARCH_MAX);
            prop_assert!(!config.candidates(&name).is_empty());
            hosts(&text, &name);
        }
    }
}
