//! `http://HOST[:PORT][/PATH]`, where the host is a name or an address.

use std::net::{IpAddr, SocketAddr};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    Address(IpAddr),
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// As in the URL, for the Host field.
    pub(crate) authority: String,
    pub(crate) path: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        // Whatever separates words would end the request line, or begin another field.
        if text.contains(|c: char| c.is_ascii_control() || c == ' ') {
            return Err(format!("{text:?}: a URL has no spaces"));
        }
        let (host, port) = host_and_port(authority)?;
        Ok(Self { host, port, authority: authority.to_owned(), path: path.to_owned() })
    }
}

fn host_and_port(authority: &str) -> Result<(Host, u16), String> {
    if let Ok(address) = address_of(authority) {
        return Ok((Host::Address(address.ip()), address.port()));
    }
    let (name, port) = match authority.split_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|e| format!("{authority}: port: {e}"))?),
        None => (authority, 80),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(fits) {
        return Err(format!("{authority}: neither an address nor a name"));
    }
    Ok((Host::Name(name.to_owned()), port))
}

/// `1.2.3.4:80`, `[::1]:80`, or either without its port, which is then 80.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    address_of(text).map_err(|error| format!("{text}: {error}, and no name is looked up here"))
}

fn address_of(text: &str) -> Result<SocketAddr, std::net::AddrParseError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().map(|address| SocketAddr::new(address, 80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_with_and_without_port() {
        for (text, address, port, path) in [
            ("http://10.0.0.1:8080/healthz", "10.0.0.1", 8080, "/healthz"),
            ("http://[fd00::1]:8080", "fd00::1", 8080, "/"),
            ("http://[fd00::1]/a?b", "fd00::1", 80, "/a?b"),
            ("10.0.0.1", "10.0.0.1", 80, "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.host, Host::Address(address.parse().unwrap()), "{text}");
            assert_eq!((url.port, url.path.as_str()), (port, path), "{text}");
        }
    }

    #[test]
    fn names_with_and_without_port() {
        for (text, name, port) in [
            ("http://user-edge-service/", "user-edge-service", 80),
            (
                "http://message-service.default.svc.cluster.local.:8080/x",
                "message-service.default.svc.cluster.local.",
                8080,
            ),
            ("localhost:8081", "localhost", 8081),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.host, url.port), (Host::Name(name.to_owned()), port), "{text}");
        }
        for wrong in
            ["http:///", "http://a b/", "http://a:b/", "http://[::1", "http://a/\r\nX: y", "ü"]
        {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }
}
