//! Names to addresses. A static binary cannot use the C library's resolver, which loads shared
//! objects; this one asks the servers of `/etc/resolv.conf` itself (RFC 1035, RFC 1123 §6.1).

mod config;
mod exchange;
mod message;

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

use self::{config::Config, exchange::Found, message::Name};
use crate::failure::Failure;

pub(crate) const RESOLV_CONF: &str = "/etc/resolv.conf";
const HOSTS: &str = "/etc/hosts";

/// The system's view of names, as it was when this was made.
#[derive(Debug)]
pub(crate) struct Resolver {
    config: Config,
    hosts: String,
}

impl Resolver {
    /// A file that is not there counts as an empty one.
    pub(crate) fn from_files(resolv_conf: &str) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self { config: Config::parse(&read(resolv_conf)), hosts: read(HOSTS) }
    }

    /// The addresses of a name, the better ones first; never none.
    pub(crate) fn lookup(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Failure> {
        let mut addresses = config::hosts(&self.hosts, name);
        if addresses.is_empty() {
            addresses = self.ask(name, deadline)?;
        }
        addresses.sort_by_key(precedence);
        Ok(addresses)
    }

    fn ask(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>, Failure> {
        let mut asked = 0;
        for candidate in self.config.candidates(name) {
            // A name of the search path may be too long though the name itself is not.
            let Some(candidate) = Name::parse(&candidate) else { continue };
            asked += 1;
            // A server that does not answer ends the search: the next candidate would be another
            // name, and its address a wrong answer.
            match exchange::ask(&self.config, &candidate, deadline, random)? {
                Found::Addresses(addresses) => return Ok(addresses),
                Found::Nothing => {}
            }
        }
        let why = if asked == 0 { "it cannot be a name" } else { "no such name, or no address" };
        Err(Failure::new("no-such-name", format!("{name}: {why}")))
    }
}

/// Which address to try first, as the default table of RFC 6724 §2.1 has it.
fn precedence(address: &IpAddr) -> u8 {
    match address {
        IpAddr::V6(v6) if *v6 == Ipv6Addr::LOCALHOST => 0,
        IpAddr::V6(v6) if v6.is_unique_local() => 3,
        IpAddr::V6(_) => 1,
        IpAddr::V4(_) => 2,
    }
}

/// The hasher's keys come from the kernel, and its output tells nothing of them.
fn random() -> u16 {
    RandomState::new().hash_one(0) as u16
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn hosts_come_first_and_are_ordered() {
        let hosts = "fd00::1 a\n10.0.0.1 a\n2001:db8::1 a\n";
        let resolver = Resolver { config: Config::default(), hosts: hosts.to_owned() };
        let found = resolver.lookup("a", Instant::now()).unwrap();
        let texts: Vec<String> = found.iter().map(IpAddr::to_string).collect();
        assert_eq!(texts, ["2001:db8::1", "10.0.0.1", "fd00::1"]);
    }

    #[test]
    fn what_cannot_be_a_name_is_not_asked_for() {
        let resolver = Resolver { config: Config::default(), hosts: String::new() };
        let deadline = Instant::now() + Duration::from_secs(5);
        let failure = resolver.lookup("a..b", deadline).unwrap_err();
        assert_eq!(failure.kind, "no-such-name");
    }

    #[test]
    fn random_numbers_differ() {
        let mut numbers: Vec<u16> = (0..64).map(|_| random()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert!(numbers.len() > 56, "{numbers:?}");
    }
}
