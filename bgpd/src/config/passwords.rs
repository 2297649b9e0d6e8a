//! Passwords and keys that resources name and do not hold. Whoever reads the configuration has fetched
//! them: the reader itself does no I/O.

use std::{collections::BTreeMap, sync::Arc};

use bgp_speaker::Password;
use viaduct_api::v1alpha1::{BGPPeerSpec, SECRET_NAMESPACE, SecretKeyRef};

use super::reader::Reader;

/// Where a password or key stands.
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
    let password = (&spec.password_secret_ref, &spec.password_file);
    let keys = spec.tcp_ao.iter().map(|key| (&key.key_secret_ref, &key.key_file));
    std::iter::once(password).chain(keys).flat_map(|(secret, file)| {
        let secret = secret.clone().map(PasswordSource::Secret);
        secret.into_iter().chain(file.clone().map(PasswordSource::File))
    })
}

/// Two fields of which one says where a password or key stands.
pub(super) struct Place<'a> {
    /// What holds the fields.
    pub(super) place: &'a str,
    /// What it is for.
    pub(super) what: &'static str,
    pub(super) secret: (&'static str, Option<&'a SecretKeyRef>),
    pub(super) file: (&'static str, Option<&'a String>),
}

impl Reader<'_> {
    pub(super) fn password(&mut self, place: &str, spec: &BGPPeerSpec) -> Option<Password> {
        let (secret, file) = (spec.password_secret_ref.as_ref(), spec.password_file.as_ref());
        if secret.is_none() && file.is_none() {
            return None;
        }
        self.shared_secret(&Place {
            place,
            what: "password",
            secret: ("passwordSecretRef", secret),
            file: ("passwordFile", file),
        })
    }

    /// `None` where there is none, which has been said then.
    pub(super) fn shared_secret(&mut self, at: &Place<'_>) -> Option<Password> {
        let Place { place, what, secret, file } = at;
        let (field, source) = match (secret.1, file.1) {
            (None, None) => {
                self.wrong(format!("{place}.{}", secret.0), format!("is missing, or {}", file.0));
                return None;
            }
            (Some(reference), None) => (secret.0, PasswordSource::Secret(reference.clone())),
            (None, Some(path)) => (file.0, PasswordSource::File(path.clone())),
            (Some(_), Some(_)) => {
                self.wrong(format!("{place}.{}", file.0), format!("stands beside {}", secret.0));
                return None;
            }
        };
        let octets = match self.passwords.get(&source) {
            Some(Ok(octets)) => octets,
            Some(Err(problem)) => {
                self.not_there(place, field, problem.clone());
                return None;
            }
            None => {
                self.not_there(place, field, "cannot be read here".to_owned());
                return None;
            }
        };
        // Of a file written by an editor, or a Secret made of one.
        let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
        match Password::try_from(octets) {
            Ok(password) => Some(password),
            Err(error) => {
                let of = match &source {
                    PasswordSource::Secret(SecretKeyRef { name, key }) => {
                        format!("Secret {SECRET_NAMESPACE}/{name}, key `{key}`: ")
                    }
                    // The field names it.
                    PasswordSource::File(_) => String::new(),
                };
                self.not_there(place, field, format!("{of}the {what} {error}"));
                None
            }
        }
    }

    /// A password or key cannot be had from where it should stand.
    fn not_there(&mut self, place: &str, field: &str, problem: String) {
        if !self.holds_down {
            return self.wrong(format!("{place}.{field}"), problem);
        }
        // The peer is named by whoever says it.
        let within = place.split_once(": spec.").map(|(_, within)| format!("{within}."));
        self.obstacles.push(format!("{}{field}: {problem}", within.unwrap_or_default()));
    }

    /// Why the peer that has been read is held down.
    pub(super) fn take_obstacle(&mut self) -> Option<Arc<str>> {
        let obstacles = std::mem::take(&mut self.obstacles);
        (!obstacles.is_empty()).then(|| obstacles.join("; ").into())
    }
}
