//! How many pods there may be at once, and how few.

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::util::intstr::IntOrString};

use super::is_recreated;
use crate::percent::{Rounding, part_of};

/// Of a Deployment, in pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub wanted: i64,
    /// How many more than wanted a rollout may have.
    pub surge: i64,
    /// How many fewer may be available.
    pub unavailable: i64,
}

impl Bounds {
    pub(super) fn of(deployment: &Deployment) -> Self {
        let spec = &deployment.spec;
        let wanted = i64::from(spec.replicas.unwrap_or(1));
        if is_recreated(deployment) {
            return Self { wanted, surge: 0, unavailable: 0 };
        }
        let rolling = spec.strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        let surge = rolling.and_then(|rolling| rolling.max_surge.as_ref());
        let surge = surge.map_or(0, |surge| amount(surge, wanted, Rounding::Up));
        let unavailable = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let mut unavailable = unavailable.map_or(0, |most| amount(most, wanted, Rounding::Down));
        // Percents of few pods may come to nothing twice, and nothing would ever move.
        if surge == 0 && unavailable == 0 {
            unavailable = 1;
        }
        Self { wanted, surge, unavailable: unavailable.min(wanted) }
    }

    pub(super) fn most(&self) -> i64 {
        self.wanted + self.surge
    }

    pub(super) fn fewest(&self) -> i64 {
        self.wanted - self.unavailable
    }
}

fn amount(value: &IntOrString, of: i64, rounding: Rounding) -> i64 {
    // The API server lets nothing else in; what is no percentage is none.
    part_of(value, of, rounding).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::deployment::tests::deployment;

    #[test]
    fn percents_are_rounded_so_that_more_pods_serve() {
        let percent = |text: &str| json!(text);
        for (replicas, surge, unavailable, expected) in [
            (10, percent("25%"), percent("25%"), (3, 2)),
            (4, percent("25%"), percent("25%"), (1, 1)),
            (1, percent("25%"), percent("25%"), (1, 0)),
            (3, json!(2), json!(1), (2, 1)),
            (3, json!(0), percent("10%"), (0, 1)),
            (3, json!(0), json!(9), (0, 3)),
            (0, percent("25%"), percent("25%"), (0, 0)),
            (10, percent("150%"), json!(0), (15, 0)),
            (2, percent("0%"), percent("0%"), (0, 1)),
        ] {
            let rolling = json!({"maxSurge": surge, "maxUnavailable": unavailable});
            let bounds = Bounds::of(&deployment(json!({"spec": {"replicas": replicas,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}})));
            assert_eq!((bounds.surge, bounds.unavailable), expected, "{replicas} {rolling}");
        }
        let recreate = deployment(json!({"spec": {"strategy":
            {"type": "Recreate", "rollingUpdate": null}}}));
        assert_eq!(Bounds::of(&recreate), Bounds { wanted: 3, surge: 0, unavailable: 0 });
    }
}
