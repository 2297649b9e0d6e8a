use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

pub const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
pub const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Whether one of `tolerations` covers the taint.
pub fn tolerates(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or_default();
        let key = toleration.key.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let value = |value: &Option<String>| value.clone().unwrap_or_default();
        (effect.is_empty() || effect == taint.effect)
            // Without a key only "Exists" matches, and then everything.
            && (key == taint.key || key.is_empty() && exists)
            && (exists || value(&toleration.value) == value(&taint.value))
    })
}

/// The node's taints, and those that its condition comes to: a node that is not ready takes no
/// pods, whether or not someone has already tainted it.
pub(crate) fn taints_of(node: &Node) -> Vec<Taint> {
    let mut taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let ready = conditions.into_iter().flatten().find(|c| c.type_ == "Ready");
    let implied = match ready.map(|condition| condition.status.as_str()) {
        Some("True") => None,
        Some("Unknown") => Some(UNREACHABLE),
        _ => Some(NOT_READY),
    };
    let blocks = |key: &str| {
        let same = |taint: &Taint| taint.key == key && taint.effect == "NoSchedule";
        taints.iter().any(same)
    };
    if let Some(key) = implied.filter(|key| !blocks(key)) {
        taints.push(Taint { key: key.into(), effect: "NoSchedule".into(), ..Taint::default() });
    }
    taints
}

/// The first taint that keeps the pod away (`NoSchedule`, `NoExecute`).
pub(crate) fn untolerated<'a>(
    taints: &'a [Taint],
    tolerations: &[Toleration],
) -> Option<&'a Taint> {
    taints
        .iter()
        .filter(|taint| taint.effect == "NoSchedule" || taint.effect == "NoExecute")
        .find(|taint| !tolerates(tolerations, taint))
}

/// How many taints would rather see the pod elsewhere.
pub(crate) fn unwelcome(taints: &[Taint], tolerations: &[Toleration]) -> usize {
    taints
        .iter()
        .filter(|taint| taint.effect == "PreferNoSchedule" && !tolerates(tolerations, taint))
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, value: &str, effect: &str) -> Taint {
        Taint {
            key: key.into(),
            value: Some(value.into()),
            effect: effect.into(),
            time_added: None,
        }
    }

    fn toleration(key: &str, operator: &str, value: &str, effect: &str) -> Toleration {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Toleration {
            key: some(key),
            operator: some(operator),
            value: some(value),
            effect: some(effect),
            toleration_seconds: None,
        }
    }

    #[test]
    fn tolerations_match_as_in_kubernetes() {
        let gpu = taint("gpu", "a100", "NoSchedule");
        for (key, operator, value, effect, expected) in [
            ("gpu", "", "a100", "", true),
            ("gpu", "Equal", "a100", "NoSchedule", true),
            ("gpu", "Equal", "h100", "NoSchedule", false),
            ("gpu", "Exists", "", "NoSchedule", true),
            ("gpu", "Exists", "", "NoExecute", false),
            ("", "Exists", "", "", true),
            ("", "", "a100", "", false),
            ("other", "Exists", "", "", false),
        ] {
            let tolerations = [toleration(key, operator, value, effect)];
            assert_eq!(
                tolerates(&tolerations, &gpu),
                expected,
                "{key} {operator} {value} {effect}"
            );
        }
        assert!(!tolerates(&[], &gpu));
    }
}
