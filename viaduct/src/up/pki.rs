//! The certificates of a cluster: a CA, one server certificate, one client certificate for each
//! node and one for the controllers, kept over `down` and `up`.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::paths::write_atomically;

/// Files of one certificate in PEM.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// The CA kept in `folder`, made there if there is none.
    pub(crate) fn open(folder: &Path, cluster: &str) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let (certificate_path, key_path) = (folder.join("ca.crt"), folder.join("ca.key"));
        if certificate_path.exists() && key_path.exists() {
            let key = KeyPair::from_pem(&fs::read_to_string(&key_path)?)
                .with_context(|| format!("read the CA's key {}", key_path.display()))?;
            let issuer = Issuer::from_ca_cert_pem(&fs::read_to_string(&certificate_path)?, key)
                .with_context(|| format!("read the CA {}", certificate_path.display()))?;
            return Ok(Self { folder: folder.to_owned(), issuer });
        }
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("viaduct {cluster}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        write_atomically(&key_path, key.serialize_pem().as_bytes(), 0o600)?;
        write_atomically(&certificate_path, certificate.pem().as_bytes(), 0o644)?;
        Ok(Self { folder: folder.to_owned(), issuer: Issuer::new(params, key) })
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    /// For a server that is reached by these addresses and names. It may act as a client too: the
    /// API server asks the kubelets for logs.
    pub(crate) fn server(
        &self,
        name: &str,
        addresses: &[IpAddr],
        names: &[&str],
    ) -> Result<Credentials> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        for address in addresses {
            params.subject_alt_names.push(SanType::IpAddress(*address));
        }
        for name in names {
            params.subject_alt_names.push(SanType::DnsName((*name).try_into()?));
        }
        self.issue(
            name,
            params,
            &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        )
    }

    /// For a client: `user` and `group` are what Kubernetes reads from CN and O.
    pub(crate) fn client(&self, file: &str, user: &str, group: &str) -> Result<Credentials> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, group);
        self.issue(file, params, &[ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// For a node: the client that its daemon and its kubelet are, and the server its kubelet is.
    pub(crate) fn node(&self, file: &str, user: &str, addresses: &[IpAddr]) -> Result<Credentials> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
        params.subject_alt_names = addresses.iter().copied().map(SanType::IpAddress).collect();
        self.issue(
            file,
            params,
            &[ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        )
    }

    fn issue(
        &self,
        file: &str,
        mut params: CertificateParams,
        usages: &[ExtendedKeyUsagePurpose],
    ) -> Result<Credentials> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let credentials = Credentials {
            certificate: self.folder.join(format!("{file}.crt")),
            key: self.folder.join(format!("{file}.key")),
        };
        write_atomically(&credentials.key, key.serialize_pem().as_bytes(), 0o600)?;
        write_atomically(&credentials.certificate, certificate.pem().as_bytes(), 0o644)?;
        Ok(credentials)
    }
}

/// A kubeconfig that refers to the files of `credentials`.
pub(crate) fn kubeconfig(server: &str, ca: &Path, credentials: &Credentials) -> Result<Vec<u8>> {
    let document = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "viaduct", "cluster": {"server": server, "certificate-authority": ca}}],
        "users": [{"name": "viaduct", "user": {
            "client-certificate": credentials.certificate,
            "client-key": credentials.key,
        }}],
        "contexts": [{"name": "viaduct", "context": {"cluster": "viaduct", "user": "viaduct"}}],
        "current-context": "viaduct",
    });
    // JSON is YAML.
    Ok(serde_json::to_vec_pretty(&document)?)
}
