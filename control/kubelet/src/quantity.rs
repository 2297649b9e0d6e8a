//! Kubernetes quantities as integers of a fixed unit.

use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};

/// The value in thousandths, rounded up; `None` where it is no quantity or does not fit.
pub(crate) fn millis(quantity: &Quantity) -> Option<u64> {
    scaled(&quantity.0, 1000.0)
}

/// The value in whole units, rounded up.
pub(crate) fn units(quantity: &Quantity) -> Option<u64> {
    scaled(&quantity.0, 1.0)
}

fn scaled(text: &str, scale: f64) -> Option<u64> {
    let text = text.trim();
    let end = text
        .char_indices()
        .find(|&(at, c)| {
            let exponent = (c == 'e' || c == 'E')
                && text[at + 1..].starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+');
            exponent || !(c.is_ascii_digit() || "+-.".contains(c))
        })
        .map_or(text.len(), |(at, _)| at);
    let (number, suffix) = text.split_at(end);
    let factor = match suffix {
        "" => 1.0,
        "n" => 1e-9,
        "u" => 1e-6,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "E" => 1e18,
        "Ki" => 1024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        "Ti" => 1_099_511_627_776.0,
        "Pi" => 1_125_899_906_842_624.0,
        "Ei" => 1_152_921_504_606_846_976.0,
        exponent => 10f64.powi(exponent.get(1..)?.parse().ok()?),
    };
    let value = number.parse::<f64>().ok()? * factor * scale;
    // A trace above a whole number is the binary fraction's, not the author's.
    let rounded = (value - 1e-6).ceil();
    (0.0..=9.0e18).contains(&rounded).then_some(rounded as u64)
}

/// Requests and limits of a container; a limit stands for a request that is not given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amounts {
    pub(crate) cpu_request_millis: Option<u64>,
    pub(crate) cpu_limit_millis: Option<u64>,
    pub(crate) memory_request_bytes: Option<u64>,
    pub(crate) memory_limit_bytes: Option<u64>,
}

impl Amounts {
    pub(crate) fn of(resources: Option<&ResourceRequirements>) -> Self {
        let limit = |name| resources?.limits.as_ref()?.get(name);
        let request = |name| {
            let own = resources.and_then(|r| r.requests.as_ref()).and_then(|r| r.get(name));
            own.or_else(|| limit(name))
        };
        Self {
            cpu_request_millis: request("cpu").and_then(millis),
            cpu_limit_millis: limit("cpu").and_then(millis),
            memory_request_bytes: request("memory").and_then(units),
            memory_limit_bytes: limit("memory").and_then(units),
        }
    }
}

/// What a pod as a whole asks for and may use: the sum of the containers that run at one time, or
/// what an init container takes alone, where that is more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodAmounts {
    pub(crate) cpu_request_millis: u64,
    /// Only where every container has one, as below.
    pub(crate) cpu_limit_millis: Option<u64>,
    pub(crate) memory_limit_bytes: Option<u64>,
}

impl PodAmounts {
    pub(crate) fn of(spec: &PodSpec) -> Self {
        let request = |a: Amounts| Some(a.cpu_request_millis.unwrap_or(0));
        Self {
            cpu_request_millis: peak(spec, request).unwrap_or(0),
            cpu_limit_millis: peak(spec, |a| a.cpu_limit_millis),
            memory_limit_bytes: peak(spec, |a| a.memory_limit_bytes),
        }
    }
}

/// `None` where a container has none.
fn peak(spec: &PodSpec, amount: impl Fn(Amounts) -> Option<u64>) -> Option<u64> {
    let of = |container: &Container| amount(Amounts::of(container.resources.as_ref()));
    // Sidecars that have been started go on beside whatever comes next.
    let mut sidecars = 0_u64;
    let mut most = 0;
    for container in spec.init_containers.iter().flatten() {
        let own = of(container)?;
        most = most.max(sidecars.saturating_add(own));
        if crate::core::is_sidecar(container) {
            sidecars = sidecars.saturating_add(own);
        }
    }
    let mut together = sidecars;
    for container in &spec.containers {
        together = together.saturating_add(of(container)?);
    }
    Some(most.max(together))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum QosClass {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl QosClass {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    pub(crate) fn of(spec: &PodSpec) -> Self {
        let containers: Vec<Amounts> = spec
            .init_containers
            .iter()
            .flatten()
            .chain(&spec.containers)
            .map(|c: &Container| Amounts::of(c.resources.as_ref()))
            .collect();
        if containers.iter().all(|a| *a == Amounts::default()) {
            return Self::BestEffort;
        }
        let guaranteed = |a: &Amounts| {
            a.cpu_limit_millis.is_some_and(|l| a.cpu_request_millis == Some(l))
                && a.memory_limit_bytes.is_some_and(|l| a.memory_request_bytes == Some(l))
        };
        if containers.iter().all(guaranteed) { Self::Guaranteed } else { Self::Burstable }
    }

    /// The customary scores: who asked for little memory goes first when there is none left.
    pub(crate) fn oom_score_adj(self, memory_request_bytes: u64, capacity_bytes: u64) -> i32 {
        match self {
            Self::Guaranteed => -997,
            Self::BestEffort => 1000,
            Self::Burstable => {
                let share = memory_request_bytes.saturating_mul(1000) / capacity_bytes.max(1);
                1000 - i32::try_from(share.clamp(1, 998)).unwrap_or(998)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notation_is_read() {
        for (text, expected) in [
            ("1", 1000),
            ("100m", 100),
            ("0.5", 500),
            ("1.1", 1100),
            ("2k", 2_000_000),
            ("1Ki", 1_024_000),
            ("1e3", 1_000_000),
            ("12E-1", 1200),
            ("1u", 1),
        ] {
            assert_eq!(millis(&Quantity(text.into())), Some(expected), "{text}");
        }
        assert_eq!(units(&Quantity("1E".into())), Some(1_000_000_000_000_000_000));
        assert_eq!(units(&Quantity("64Mi".into())), Some(64 << 20));
        for text in ["", "x", "1x", "-1", "99E", "1ee"] {
            assert_eq!(units(&Quantity(text.into())), None, "{text}");
        }
    }

    fn pod(resources: &str) -> PodSpec {
        serde_json::from_str(&format!(
            r#"{{"containers":[{{"name":"a","resources":{resources}}}]}}"#
        ))
        .unwrap()
    }

    #[test]
    fn quality_of_service_follows_requests_and_limits() {
        assert_eq!(QosClass::of(&pod("{}")), QosClass::BestEffort);
        let requests = r#"{"requests":{"cpu":"1"}}"#;
        assert_eq!(QosClass::of(&pod(requests)), QosClass::Burstable);
        let limits = r#"{"limits":{"cpu":"1","memory":"1Gi"}}"#;
        assert_eq!(QosClass::of(&pod(limits)), QosClass::Guaranteed);
    }

    #[test]
    fn a_pod_may_use_what_its_containers_may_at_one_time() {
        let container = |memory: &str| {
            format!(r#""resources":{{"limits":{{"memory":"{memory}","cpu":"100m"}}}}"#)
        };
        let spec = |init: &str, second: &str| -> PodSpec {
            let (first, init) = (container("10"), container(init));
            let sidecar = format!(r#"{{"name":"s","restartPolicy":"Always",{first}}}"#);
            let init = format!(r#"[{sidecar},{{"name":"i",{init}}}]"#);
            let containers = format!(r#"[{{"name":"a",{first}}},{{"name":"b"{second}}}]"#);
            let text = format!(r#"{{"initContainers":{init},"containers":{containers}}}"#);
            serde_json::from_str(&text).unwrap()
        };
        let second = format!(",{}", container("10"));
        let found = PodAmounts::of(&spec("1", &second));
        assert_eq!((found.memory_limit_bytes, found.cpu_limit_millis), (Some(30), Some(300)));
        assert_eq!(found.cpu_request_millis, 300);
        assert_eq!(PodAmounts::of(&spec("50", &second)).memory_limit_bytes, Some(60));
        let unlimited = PodAmounts::of(&spec("1", ""));
        assert_eq!((unlimited.memory_limit_bytes, unlimited.cpu_request_millis), (None, 200));
    }

    #[test]
    fn scores_stay_in_their_bounds() {
        assert_eq!(QosClass::Burstable.oom_score_adj(0, 100), 999);
        assert_eq!(QosClass::Burstable.oom_score_adj(100, 100), 2);
        assert_eq!(QosClass::Burstable.oom_score_adj(50, 100), 500);
    }
}
