//! The file of a speaker that is no node of a cluster: YAML documents, as `kubectl` would apply them.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};
use viaduct_api::v1alpha1::{API_VERSION, BGPConfigurationSpec, BGPPeerSpec, CustomResource};

/// What a file says.
#[derive(Debug)]
pub(crate) struct Documents {
    pub configuration: BGPConfigurationSpec,
    pub peers: Vec<BGPPeerSpec>,
}

pub(crate) fn read(path: &Path) -> Result<Documents> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: serde_norway::Value,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
}

pub(crate) fn parse(text: &str) -> Result<Documents> {
    let mut configuration = None;
    let mut peers = Vec::new();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let head = Option::<Head>::deserialize(document)
            .with_context(|| format!("document {}", index + 1))?;
        // Empty, as what stands before the first `---` often is.
        let Some(head) = head else { continue };
        let what = || format!("{} {}", head.kind, head.metadata.name);
        if head.api_version != API_VERSION {
            bail!("{}: apiVersion: expected {API_VERSION}, not {}", what(), head.api_version);
        }
        if head.kind == BGPConfigurationSpec::KIND {
            let spec = spec(head.spec.clone()).with_context(what)?;
            if configuration.replace(spec).is_some() {
                bail!("{}: there is a {} already", what(), head.kind);
            }
        } else if head.kind == BGPPeerSpec::KIND {
            peers.push(spec(head.spec.clone()).with_context(what)?);
        } else {
            bail!(
                "{}: a speaker reads {} and {} only",
                what(),
                BGPConfigurationSpec::KIND,
                BGPPeerSpec::KIND
            );
        }
    }
    let configuration =
        configuration.with_context(|| format!("no {} is in it", BGPConfigurationSpec::KIND))?;
    Ok(Documents { configuration, peers })
}

/// A spec, or an error that begins with the path of the field that is wrong.
fn spec<T: DeserializeOwned>(value: serde_norway::Value) -> Result<T> {
    Ok(serde_path_to_error::deserialize(value)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\n\
                                 metadata: {name: default}\nspec: {asn: 64600}\n";

    #[test]
    fn reads_a_configuration_and_peers() {
        let text = format!(
            "{CONFIGURATION}---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\n\
             metadata: {{name: a}}\nspec: {{address: 192.0.2.1, asn: 64512}}\n"
        );
        let documents = parse(&text).unwrap();
        assert_eq!(documents.configuration.asn, 64600);
        assert_eq!(documents.peers[0].port, 179);
    }

    #[test]
    fn an_error_names_the_document_and_the_field() {
        let wrong = |text: &str| format!("{:#}", parse(text).err().unwrap());
        for empty in ["", "# a comment\n", "---\n---\n"] {
            assert!(wrong(empty).contains("no BGPConfiguration"), "{}", wrong(empty));
        }
        assert!(wrong(&CONFIGURATION.replace("asn: 64600", "asn: x")).contains("asn"));
        let peer = |spec: &str| {
            format!(
                "apiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: a}}\nspec: {spec}\n"
            )
        };
        assert!(wrong(&peer("{address: here, asn: 1}")).contains("BGPPeer a: address: "));
        let rules = "{address: 192.0.2.1, asn: 1, export: {rules: [{action: Acept}]}}";
        assert!(wrong(&peer(rules)).contains("export.rules[0].action: unknown variant"));
        assert!(wrong(&CONFIGURATION.replace("asn:", "as:")).contains("unknown field `as`"));
        assert!(wrong(&format!("{CONFIGURATION}---\n{CONFIGURATION}")).contains("already"));
        assert!(wrong(&CONFIGURATION.replace("BGPConfiguration", "Pod")).contains("reads"));
    }
}
