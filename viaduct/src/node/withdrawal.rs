//! What kubelets ask before they end a pod: whether its addresses have left the services here, and
//! which other nodes are to be asked.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use axum::{Json, extract::RawQuery, http::StatusCode};
use k8s_openapi::api::core::v1::Node;
use viaduct_api::admin::{
    NodeEndpoint, WITHDRAWN_ADDRESSES_MAX, WITHDRAWN_WAIT_MILLIS_MAX, Withdrawal,
};

use super::{admin::Shared, cache::View};

#[derive(Debug, Default, PartialEq, Eq)]
struct Question {
    addresses: BTreeSet<IpAddr>,
    wait: Duration,
}

impl Question {
    /// `address=A&address=B&wait=MILLISECONDS`.
    fn parse(query: &str) -> Result<Self, String> {
        let mut question = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let wrong = |error: &dyn std::fmt::Display| format!("{name}={value}: {error}");
            match name.as_ref() {
                "address" => {
                    let address = value.parse().map_err(|error| wrong(&error))?;
                    question.addresses.insert(address);
                }
                "wait" => {
                    let millis: u64 = value.parse().map_err(|error| wrong(&error))?;
                    question.wait = Duration::from_millis(millis.min(WITHDRAWN_WAIT_MILLIS_MAX));
                }
                _ => return Err(wrong(&"no such parameter; there are address and wait")),
            }
        }
        match question.addresses.len() {
            0 => Err("address= is missing".to_owned()),
            1..=WITHDRAWN_ADDRESSES_MAX => Ok(question),
            count => Err(format!("{count} addresses, more than {WITHDRAWN_ADDRESSES_MAX}")),
        }
    }
}

pub(super) async fn withdrawn(
    axum::extract::State(state): Shared,
    RawQuery(query): RawQuery,
) -> Result<Json<Withdrawal>, (StatusCode, String)> {
    let question = Question::parse(query.as_deref().unwrap_or_default())
        .map_err(|wrong| (StatusCode::BAD_REQUEST, wrong))?;
    Ok(Json(match &state.services {
        Some(services) => services.withdrawn(question.addresses, question.wait).await,
        // A router has no services.
        None => Withdrawal { endpoint: false, withdrawn: true },
    }))
}

/// Every node of the cluster, this one among them.
pub(super) async fn nodes(axum::extract::State(state): Shared) -> Json<Vec<NodeEndpoint>> {
    let view = state.view.borrow().clone();
    Json(view.as_deref().map(endpoints).unwrap_or_default())
}

fn endpoints(view: &View) -> Vec<NodeEndpoint> {
    view.nodes.values().map(|node| endpoint(node)).collect()
}

fn endpoint(node: &Node) -> NodeEndpoint {
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref()).unwrap_or_default();
    let internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let daemons = status.and_then(|status| status.daemon_endpoints.as_ref());
    let kubelet = daemons.and_then(|daemons| daemons.kubelet_endpoint.as_ref());
    NodeEndpoint {
        name: node.metadata.name.clone().unwrap_or_default(),
        addresses: internal.filter_map(|address| address.address.parse().ok()).collect(),
        kubelet_port: kubelet.and_then(|endpoint| u16::try_from(endpoint.port).ok()),
        ready: conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_question_names_what_is_wrong_with_it() {
        let question = Question::parse("address=10.0.0.1&address=fd00%3A%3A1&wait=2000").unwrap();
        assert_eq!(question.addresses.len(), 2);
        assert_eq!(question.wait, Duration::from_secs(2));
        let bounded = Question::parse("address=10.0.0.1&wait=99999999").unwrap();
        assert_eq!(bounded.wait, Duration::from_millis(WITHDRAWN_WAIT_MILLIS_MAX));
        let many: String = (0..=16).map(|last| format!("&address=10.0.0.{last}")).collect();
        for (wrong, named) in [
            ("", "address"),
            ("wait=1", "address"),
            ("address=x", "address=x"),
            ("address=10.0.0.1&wait=soon", "wait=soon"),
            ("address=10.0.0.1&follow=1", "follow=1"),
            (&many, "17 addresses"),
        ] {
            let error = Question::parse(wrong).unwrap_err();
            assert!(error.contains(named), "{wrong}: {error}");
        }
    }

    #[test]
    fn a_node_tells_where_its_kubelet_listens() {
        let node = |status: serde_json::Value| {
            let object = json!({"metadata": {"name": "n1"}, "status": status});
            endpoint(&serde_json::from_value(object).unwrap())
        };
        let found = node(json!({
            "addresses": [{"type": "Hostname", "address": "n1"},
                          {"type": "InternalIP", "address": "fd00::1"}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        }));
        assert_eq!(found.addresses, ["fd00::1".parse::<IpAddr>().unwrap()]);
        assert_eq!((found.kubelet_port, found.ready), (Some(10250), true));
        let silent = node(json!({"conditions": [{"type": "Ready", "status": "Unknown"}]}));
        assert_eq!((silent.kubelet_port, silent.ready), (None, false));
    }
}
