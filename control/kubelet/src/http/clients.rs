//! Who asks a node: logs and environments hold secrets.

use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

/// The group of the nodes, which a certificate names as its organization.
const NODES: &str = "system:nodes";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller {
    /// Without a certificate, or with one that says nothing.
    Stranger,
    /// Would learn of pods through others what the API server keeps from it.
    Node,
    /// The API server, or whoever else the cluster's CA has signed.
    Trusted,
}

impl Caller {
    /// By the certificate that the TLS layer has verified.
    pub(super) fn of(certificate: Option<&CertificateDer<'_>>) -> Self {
        let Some(certificate) = certificate else { return Self::Stranger };
        let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return Self::Stranger };
        let groups: Result<Vec<&str>, _> =
            parsed.subject().iter_organization().map(|group| group.as_str()).collect();
        match groups {
            Ok(groups) if groups.contains(&NODES) => Self::Node,
            Ok(_) => Self::Trusted,
            Err(_unreadable) => Self::Stranger,
        }
    }
}
