//! What is written into a service about its virtual IPs, and said of it.

use std::{net::IpAddr, sync::Arc};

use k8s_openapi::{api::core::v1::Service, apimachinery::pkg::apis::meta::v1::Condition};
use serde_json::{Value, json};

use super::assigned;
use crate::{
    kinds::Object,
    operation::{Note, Now, Outcome, Step, patch},
};

const COMPONENT: &str = "vip-controller";
/// False, with the reason, while a service has not all that it asks for.
pub(super) const ASSIGNED: &str = "viaduct.dev/VIPsAssigned";
/// True while a service has its addresses on terms that others share them.
pub(super) const SHARED: &str = "viaduct.dev/VIPShared";

/// What is to be so.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) terms: Option<String>,
    /// What could not be had.
    pub(super) failures: Vec<String>,
    /// What could, but not as it was hoped.
    pub(super) remarks: Vec<String>,
}

/// The terms on which the service has its addresses.
pub(super) fn terms(service: &Service) -> Option<&str> {
    let conditions = service.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == SHARED).map(|one| one.message.as_str())
}

pub(super) fn settle(service: &Arc<Service>, wanted: Wanted, now: Now, outcome: &mut Outcome) {
    let object = Object::Service(service.clone());
    for why in &wanted.failures {
        outcome.notes.push(Note::warning(COMPONENT, &object, "AllocationFailed", why));
    }
    let known: Vec<Condition> =
        service.status.iter().flat_map(|s| s.conditions.iter().flatten()).cloned().collect();
    let conditions = conditions(&known, &wanted, now);
    let moved = assigned(service) != wanted.addresses;
    if !moved && known == conditions {
        return;
    }
    let mut status = json!({});
    if moved {
        let ingress: Vec<Value> =
            wanted.addresses.iter().map(|ip| json!({"ip": ip, "ipMode": "VIP"})).collect();
        let ingress = if ingress.is_empty() { Value::Null } else { json!(ingress) };
        status["loadBalancer"] = json!({"ingress": ingress});
    }
    if known != conditions {
        status["conditions"] = if conditions.is_empty() { Value::Null } else { json!(conditions) };
    }
    let text: Vec<String> = wanted.addresses.iter().map(ToString::to_string).collect();
    let note = match text.is_empty() {
        true => Note::normal(COMPONENT, &object, "IPReleased", "Released the virtual IPs"),
        false => {
            let mut message = format!("Assigned IP {}", text.join(", "));
            for remark in wanted.remarks {
                message = format!("{message}; {remark}");
            }
            Note::normal(COMPONENT, &object, "IPAllocated", message)
        }
    };
    outcome.push(Step {
        operation: patch(&object, Some("status"), json!({ "status": status })),
        done: moved.then_some(note),
        failed: None,
    });
}

/// Those that are there, with ours as they are to be.
fn conditions(known: &[Condition], wanted: &Wanted, now: Now) -> Vec<Condition> {
    let failed = (!wanted.failures.is_empty()).then(|| wanted.failures.join("; "));
    let shares = wanted.terms.clone().filter(|_| !wanted.addresses.is_empty());
    let mut ours = vec![
        (ASSIGNED, "False", "AllocationFailed", failed),
        (SHARED, "True", "SharingKey", shares),
    ];
    let mut conditions = Vec::new();
    for one in known {
        let Some(place) = ours.iter().position(|(type_, ..)| *type_ == one.type_) else {
            conditions.push(one.clone());
            continue;
        };
        let (_, status, reason, message) = ours.remove(place);
        if let Some(message) = message {
            let changed = one.status != status;
            conditions.push(Condition {
                status: status.into(),
                reason: reason.into(),
                message,
                last_transition_time: match changed {
                    true => now.time(),
                    false => one.last_transition_time.clone(),
                },
                ..one.clone()
            });
        }
    }
    for (type_, status, reason, message) in ours {
        conditions.extend(message.map(|message| Condition {
            type_: type_.into(),
            status: status.into(),
            reason: reason.into(),
            message,
            last_transition_time: now.time(),
            observed_generation: None,
        }));
    }
    conditions
}
