//! Whether two templates are the same, and the hash that tells the sets of different ones apart.

use k8s_openapi::{api::core::v1::PodTemplateSpec, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use serde_json::json;
use sha2::{Digest, Sha256};

/// On a ReplicaSet of a Deployment, in its selector and on its pods.
pub(super) const HASH_LABEL: &str = "pod-template-hash";

/// Letters and digits of which no word is made that somebody might mind.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const HASH_CHARS: usize = 10;

/// The same but for the label that tells them apart.
pub(super) fn is_same(one: &PodTemplateSpec, other: &PodTemplateSpec) -> bool {
    one.spec == other.spec && bare(one) == bare(other)
}

fn bare(template: &PodTemplateSpec) -> ObjectMeta {
    let mut metadata = template.metadata.clone().unwrap_or_default();
    if let Some(labels) = &mut metadata.labels {
        labels.remove(HASH_LABEL);
    }
    // Nothing said and nothing in it are the same.
    metadata.labels = metadata.labels.filter(|labels| !labels.is_empty());
    metadata.annotations = metadata.annotations.filter(|annotations| !annotations.is_empty());
    metadata
}

/// Another for the same template after every collision.
pub(super) fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let digest = Sha256::new()
        .chain_update(json!(template).to_string())
        .chain_update(collisions.to_be_bytes())
        .finalize();
    let letter = |byte: &u8| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]);
    digest.iter().take(HASH_CHARS).map(letter).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn template(labels: Value, image: &str) -> PodTemplateSpec {
        serde_json::from_value(json!({"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": image}]}}))
        .unwrap()
    }

    #[test]
    fn the_hash_label_makes_no_difference() {
        let one = template(json!({"app": "a"}), "x");
        assert!(is_same(&one, &template(json!({"app": "a", HASH_LABEL: "b"}), "x")));
        assert!(!is_same(&one, &template(json!({"app": "b"}), "x")));
        assert!(!is_same(&one, &template(json!({"app": "a"}), "y")));
        assert!(is_same(&template(json!({}), "x"), &template(json!({HASH_LABEL: "b"}), "x")));
    }

    #[test]
    fn hashes_differ_by_template_and_collision() {
        let one = template(json!({"app": "a"}), "x");
        let name = hash(&one, 0);
        assert_eq!(name.len(), HASH_CHARS);
        assert_eq!(hash(&one.clone(), 0), name);
        assert_ne!(hash(&one, 1), name);
        assert_ne!(hash(&template(json!({"app": "a"}), "y"), 0), name);
    }
}
