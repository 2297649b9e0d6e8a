//! Who may ask a node about its pods: logs and environments hold secrets.

use rustls::pki_types::CertificateDer;
use x509_parser::parse_x509_certificate;

/// The group of the nodes, which a certificate names as its organization.
const NODES: &str = "system:nodes";

/// Whether the bearer of a certificate that the TLS layer has verified may. A node may not: it
/// would learn through others what the API server keeps from it.
pub(super) fn may_ask(certificate: &CertificateDer<'_>) -> bool {
    let Ok((_, parsed)) = parse_x509_certificate(certificate) else { return false };
    parsed.subject().iter_organization().all(|group| group.as_str().is_ok_and(|g| g != NODES))
}
