//! The two halves of TLS in a cluster: servers that take clients of one CA, and clients of it.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

/// Serves with a certificate and knows the clients that `client_ca` signed; others are anonymous.
pub(crate) fn server(certificate: &Path, key: &Path, client_ca: &Path) -> Result<ServerConfig> {
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots(client_ca)?))
        .allow_unauthenticated()
        .build()
        .with_context(|| format!("use {} for clients", client_ca.display()))?;
    let mut config = ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(certificate)?, private_key(key)?)
        .with_context(|| format!("use {} with {}", certificate.display(), key.display()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Connects to servers that `ca` signed, and shows a certificate.
pub(crate) fn client(certificate: &Path, key: &Path, ca: &Path) -> Result<ClientConfig> {
    ClientConfig::builder()
        .with_root_certificates(roots(ca)?)
        .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
        .with_context(|| format!("use {} with {}", certificate.display(), key.display()))
}

fn roots(ca: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).with_context(|| format!("use {} as a CA", ca.display()))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || CertificateDer::pem_file_iter(path)?.collect::<Result<Vec<_>, _>>();
    read().with_context(|| format!("read certificate {}", path.display()))
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| format!("read key {}", path.display()))
}
