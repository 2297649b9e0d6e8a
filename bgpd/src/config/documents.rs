//! The file of a speaker that is no node of a cluster: YAML documents, as `kubectl` would apply them.

use std::collections::BTreeMap;

use serde::{Deserialize, de::DeserializeOwned};
use viaduct_api::v1alpha1::{
    API_VERSION, BGPConfigurationSpec, BGPPeerSpec, BGPReplaySpec, CustomResource,
};

/// What a file says.
#[derive(Clone, Debug)]
pub struct Documents {
    pub configuration: BGPConfigurationSpec,
    /// By name.
    pub peers: BTreeMap<String, BGPPeerSpec>,
    /// By name.
    pub replays: BTreeMap<String, BGPReplaySpec>,
}

/// What is wrong with a text, and where.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    #[error("document {number}: {source}")]
    Document { number: usize, source: serde_norway::Error },
    /// `what` is the kind and name; the error begins with the path of the field.
    #[error("{what}: {source}")]
    Spec { what: String, source: serde_path_to_error::Error<serde_norway::Error> },
    #[error("{what}: {problem}")]
    Resource { what: String, problem: String },
    #[error("no {} is in it", BGPConfigurationSpec::KIND)]
    NoConfiguration,
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

/// A text that is read as far as it can be.
#[derive(Debug, Default)]
pub struct Reading {
    pub configuration: Option<BGPConfigurationSpec>,
    /// By name.
    pub peers: BTreeMap<String, BGPPeerSpec>,
    /// By name.
    pub replays: BTreeMap<String, BGPReplaySpec>,
    /// One for each document at most; after [`MAX_ERRORS`] nothing is read any more.
    pub errors: Vec<DocumentsError>,
}

/// More mistakes than anybody corrects at once.
pub const MAX_ERRORS: usize = 100;

/// Reads the text of such a file; the first mistake ends it.
pub fn parse(text: &str) -> Result<Documents, DocumentsError> {
    let Reading { configuration, peers, replays, errors } = read(text);
    if let Some(first) = errors.into_iter().next() {
        return Err(first);
    }
    let configuration = configuration.ok_or(DocumentsError::NoConfiguration)?;
    Ok(Documents { configuration, peers, replays })
}

/// Reads all of it, with every mistake.
pub fn read(text: &str) -> Reading {
    let mut reading = Reading::default();
    for (index, document) in serde_norway::Deserializer::from_str(text).enumerate() {
        let wrong = |source| DocumentsError::Document { number: index + 1, source };
        let head = match Option::<serde_norway::Value>::deserialize(document) {
            Ok(value) => value.map(Head::deserialize).transpose().map_err(wrong),
            // Where the next document begins is not known behind what is no YAML.
            Err(source) => {
                reading.errors.push(wrong(source));
                break;
            }
        };
        // Empty, as what stands before the first `---` often is, they are nothing.
        let taken = head.and_then(|head| head.map_or(Ok(()), |head| reading.take(head)));
        reading.errors.extend(taken.err());
        if reading.errors.len() >= MAX_ERRORS {
            break;
        }
    }
    if reading.configuration.is_none() && reading.errors.is_empty() {
        reading.errors.push(DocumentsError::NoConfiguration);
    }
    reading
}

impl Reading {
    fn take(&mut self, head: Head) -> Result<(), DocumentsError> {
        let Head { api_version, kind, metadata, spec: value } = head;
        let what = format!("{kind} {}", metadata.name);
        let wrong = |problem| Err(DocumentsError::Resource { what: what.clone(), problem });
        if api_version != API_VERSION {
            return wrong(format!("apiVersion: expected {API_VERSION}, not {api_version}"));
        }
        if kind == BGPConfigurationSpec::KIND {
            if self.configuration.replace(spec(&what, value)?).is_some() {
                return wrong(format!("there is a {kind} already"));
            }
        } else if kind == BGPPeerSpec::KIND {
            if self.peers.insert(metadata.name, spec(&what, value)?).is_some() {
                return wrong("there is one of this name already".to_owned());
            }
        } else if kind == BGPReplaySpec::KIND {
            if self.replays.insert(metadata.name, spec(&what, value)?).is_some() {
                return wrong("there is one of this name already".to_owned());
            }
        } else {
            let (one, many) = (BGPConfigurationSpec::KIND, BGPPeerSpec::KIND);
            let others = BGPReplaySpec::KIND;
            return wrong(format!("a speaker reads {one}, {many} and {others} only"));
        }
        Ok(())
    }
}

fn spec<T: DeserializeOwned>(what: &str, value: serde_norway::Value) -> Result<T, DocumentsError> {
    serde_path_to_error::deserialize(value)
        .map_err(|source| DocumentsError::Spec { what: what.to_owned(), source })
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
        assert_eq!(documents.peers["a"].port, 179);
    }

    #[test]
    fn behind_what_is_no_yaml_nothing_is_read() {
        for text in ["&a: *b", "[", "a: b: c"] {
            let reading = read(&format!("{CONFIGURATION}---\n{text}\n---\n{CONFIGURATION}"));
            assert_eq!(reading.errors.len(), 1, "{text}: {:?}", reading.errors);
        }
        // What is YAML and no resource is one mistake among others.
        let reading = read(&format!("kind: Pod\n---\n{CONFIGURATION}---\n5\n"));
        assert_eq!((reading.errors.len(), reading.configuration.is_some()), (2, true));
    }

    #[test]
    fn an_error_names_the_document_and_the_field() {
        let wrong = |text: &str| parse(text).err().unwrap().to_string();
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
