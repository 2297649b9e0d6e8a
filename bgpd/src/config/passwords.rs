//! Passwords that resources name and do not hold. Whoever reads the configuration has fetched them:
//! the reader itself does no I/O.

use std::collections::BTreeMap;

use bgp_speaker::Password;
use viaduct_api::v1alpha1::{BGPPeerSpec, SecretKeyRef};

use super::reader::Reader;

/// Where a password stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PasswordSource {
    Secret(SecretKeyRef),
    /// A path on the speaker's machine.
    File(String),
}

/// What is known of each source: its octets, or why there are none.
pub type Passwords = BTreeMap<PasswordSource, Result<Vec<u8>, String>>;

/// The sources that a peer names.
pub fn password_sources(spec: &BGPPeerSpec) -> impl Iterator<Item = PasswordSource> {
    let secret = spec.password_secret_ref.clone().map(PasswordSource::Secret);
    let file = spec.password_file.clone().map(PasswordSource::File);
    secret.into_iter().chain(file)
}

impl Reader<'_> {
    pub(super) fn password(&mut self, place: &str, spec: &BGPPeerSpec) -> Option<Password> {
        let (field, source) = match (&spec.password_secret_ref, &spec.password_file) {
            (None, None) => return None,
            (Some(secret), None) => ("passwordSecretRef", PasswordSource::Secret(secret.clone())),
            (None, Some(file)) => ("passwordFile", PasswordSource::File(file.clone())),
            (Some(_), Some(_)) => {
                self.wrong(format!("{place}.passwordFile"), "stands beside passwordSecretRef");
                return None;
            }
        };
        let octets = match self.passwords.get(&source) {
            Some(Ok(octets)) => octets,
            Some(Err(problem)) => {
                self.wrong(format!("{place}.{field}"), problem.clone());
                return None;
            }
            None => {
                self.wrong(format!("{place}.{field}"), "cannot be read here");
                return None;
            }
        };
        // Of a file written by an editor, or a Secret made of one.
        let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
        match Password::try_from(octets) {
            Ok(password) => Some(password),
            Err(error) => {
                self.wrong(format!("{place}.{field}"), format!("the password {error}"));
                None
            }
        }
    }
}
