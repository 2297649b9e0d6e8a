//! What a speaker runs by, for whoever compares another file with it.

use std::{collections::BTreeMap, fmt::Write, io, path::PathBuf};

use bgp_speaker::LocalAddresses;
use bgpd::config::{PasswordSource, Passwords, documents::Documents};
use rustls::crypto::ring::default_provider;
use sha2::{Digest, Sha256};
use viaduct_api::admin::RunningConfiguration;
use viaduct_net::RouterId;

/// The file as it was when it was found good, with the passwords that stood in theirs.
#[derive(Debug)]
pub(crate) struct Running {
    pub file: PathBuf,
    pub router_id: RouterId,
    pub addresses: LocalAddresses,
    pub documents: Documents,
    pub passwords: Passwords,
}

impl Running {
    /// For operators. The passwords stay here.
    pub(crate) fn shown(&self) -> io::Result<RunningConfiguration> {
        let mut random = [0; 16];
        let source = default_provider().secure_random;
        source.fill(&mut random).map_err(|_unknown| io::Error::other("no randomness"))?;
        let salt = hexadecimal(&random);
        let LocalAddresses { v4, v6 } = self.addresses;
        let documents = self.documents.clone();
        Ok(RunningConfiguration {
            file: self.file.display().to_string(),
            router_id: self.router_id,
            addresses: v4.map(Into::into).into_iter().chain(v6.map(Into::into)).collect(),
            configuration: documents.configuration,
            peers: documents.peers,
            replays: documents.replays,
            passwords: digests(&self.passwords, &salt),
            salt,
        })
    }
}

/// What stands for the passwords of files, by their paths.
pub(crate) fn digests(passwords: &Passwords, salt: &str) -> BTreeMap<String, String> {
    let known = passwords.iter().filter_map(|(source, octets)| match (source, octets) {
        (PasswordSource::File(path), Ok(octets)) => Some((path, octets)),
        _ => None,
    });
    let digest = |octets: &[u8]| {
        // As it is read for the session.
        let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
        hexadecimal(&Sha256::new().chain_update(salt).chain_update(octets).finalize())
    };
    known.map(|(path, octets)| (path.clone(), digest(octets))).collect()
}

fn hexadecimal(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // A String takes whatever it is given.
        let _infallible = write!(text, "{octet:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_compared_and_not_seen() {
        let passwords = |octets: &[u8]| -> Passwords {
            [(PasswordSource::File("/p".to_owned()), Ok(octets.to_owned()))].into()
        };
        let one = digests(&passwords(b"secret"), "salt");
        assert_eq!(one, digests(&passwords(b"secret\n"), "salt"));
        assert_ne!(one, digests(&passwords(b"secret"), "other"));
        assert_ne!(one, digests(&passwords(b"Secret"), "salt"));
        assert_eq!(one["/p"].len(), 64);
    }
}
