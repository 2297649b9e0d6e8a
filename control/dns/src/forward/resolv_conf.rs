//! The name servers of the node: resolv.conf(5).

use std::net::{IpAddr, SocketAddr};

const PORT: u16 = 53;
/// The resolver of libc reads no more either.
const SERVERS_MAX: usize = 3;

/// The name servers of a resolv.conf in their order, but for those that are `ours`: a question to
/// them would come back for ever.
pub(crate) fn upstreams(text: &str, ours: &[IpAddr]) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("nameserver") {
            continue;
        }
        // An address with a scope leads over one link; such name servers are not asked.
        let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
            continue;
        };
        let server = SocketAddr::new(address, PORT);
        if !ours.contains(&address) && !servers.contains(&server) && servers.len() < SERVERS_MAX {
            servers.push(server);
        }
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servers_in_their_order_without_ourselves() {
        let text = "# a comment\nsearch example.com\nnameserver 192.0.2.1\nnameserver 169.254.20.10\n\
                    nameserver 2001:db8::1 \nnameserver fe80::1%eth0\nnameserver 192.0.2.1\n\
                    nameserver\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n";
        let ours = ["169.254.20.10".parse().unwrap()];
        let servers: Vec<String> = upstreams(text, &ours).iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[2001:db8::1]:53", "192.0.2.2:53"]);
        assert!(upstreams("", &ours).is_empty());
    }
}
