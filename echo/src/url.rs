//! `http://ADDRESS[:PORT][/PATH]`, where the address is a literal: a pod needs no DNS to be tested,
//! and a static binary has no resolver worth the name.

use std::net::{IpAddr, SocketAddr};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) address: SocketAddr,
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
        Ok(Self {
            address: socket_address(authority)?,
            authority: authority.to_owned(),
            path: path.to_owned(),
        })
    }
}

/// `1.2.3.4:80`, `[::1]:80`, or either without its port, which is then 80.
pub(crate) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(address) => Ok(SocketAddr::new(address, 80)),
        Err(error) => Err(format!("{text}: {error}, and names are not resolved")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_with_and_without_port() {
        for (text, address, path) in [
            ("http://10.0.0.1:8080/healthz", "10.0.0.1:8080", "/healthz"),
            ("http://[fd00::1]:8080", "[fd00::1]:8080", "/"),
            ("http://[fd00::1]/a?b", "[fd00::1]:80", "/a?b"),
            ("10.0.0.1", "10.0.0.1:80", "/"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!(url.address, address.parse().unwrap(), "{text}");
            assert_eq!(url.path, path, "{text}");
        }
        assert!(Url::parse("http://example:80/").is_err());
    }
}
