//! The identity that a client certificate states: CN is the user, each O a group.

use rustls::pki_types::CertificateDer;
use x509_parser::{parse_x509_certificate, x509::AttributeTypeAndValue};

use super::Identity;

/// Groups taken from one certificate; one with more is none of ours.
const MAX_GROUPS: usize = 64;

/// The identity of a certificate whose chain the TLS layer has verified; `None` where it names no
/// user.
pub(crate) fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = parse_x509_certificate(certificate).ok()?;
    let subject = parsed.subject();
    let text = |attribute: &AttributeTypeAndValue<'_>| attribute.as_str().ok().map(str::to_owned);
    let user = subject.iter_common_name().next().and_then(text).filter(|user| !user.is_empty())?;
    let groups: Vec<String> =
        subject.iter_organization().filter_map(text).take(MAX_GROUPS + 1).collect();
    (groups.len() <= MAX_GROUPS).then(|| Identity::new(user, groups))
}
