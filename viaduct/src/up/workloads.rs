//! Waiting until the workloads of an application run.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use kube::{
    Api, Client, ResourceExt,
    api::DynamicObject,
    core::{Selector, SelectorExt},
};

use super::{progress::Progress, ready};

/// Something that has pods.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Workload {
    kind: Kind,
    namespace: String,
    name: String,
    selector: Selector,
    replicas: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Deployment,
    ReplicaSet,
    Pod,
}

impl Workload {
    /// `None` where an object is something else.
    pub(crate) fn of(object: &DynamicObject) -> Result<Option<Self>> {
        let (kind, selector, replicas) = match object.types.as_ref().map(|types| &*types.kind) {
            Some("Deployment") => {
                let spec = object.clone().try_parse::<Deployment>()?.spec;
                (Kind::Deployment, spec.selector, spec.replicas)
            }
            Some("ReplicaSet") => {
                let spec = object.clone().try_parse::<ReplicaSet>()?.spec;
                (Kind::ReplicaSet, spec.selector, spec.replicas)
            }
            Some("Pod") => (Kind::Pod, LabelSelector::default(), None),
            _ => return Ok(None),
        };
        Ok(Some(Self {
            kind,
            namespace: object.namespace().unwrap_or_else(|| "default".to_owned()),
            name: object.name_any(),
            selector: selector.try_into().context("its selector")?,
            replicas: usize::try_from(replicas.unwrap_or(1)).context("its replicas")?,
        }))
    }

    fn has(&self, pod: &Pod) -> bool {
        let is_mine = match self.kind {
            Kind::Pod => pod.metadata.name.as_ref() == Some(&self.name),
            Kind::Deployment | Kind::ReplicaSet => self.selector.matches(pod.labels()),
        };
        is_mine && pod.metadata.namespace.as_ref() == Some(&self.namespace)
    }

    /// What its controller says: everything is there, as it was asked for last.
    async fn status(&self, client: &Client) -> Result<()> {
        let (client, namespace) = (client.clone(), &self.namespace);
        match self.kind {
            Kind::Pod => Ok(()),
            Kind::Deployment => {
                let api = Api::<Deployment>::namespaced(client, namespace);
                deployment_status(&api.get(&self.name).await?)
            }
            Kind::ReplicaSet => {
                let api = Api::<ReplicaSet>::namespaced(client, namespace);
                replica_set_status(&api.get(&self.name).await?)
            }
        }
    }
}

fn deployment_status(deployment: &Deployment) -> Result<()> {
    let name = deployment.name_any();
    let status = deployment.status.clone().unwrap_or_default();
    if status.observed_generation < deployment.metadata.generation {
        bail!("deployment {name} was not looked at yet");
    }
    let wanted = deployment.spec.replicas.unwrap_or(1);
    let count = |count: Option<i32>| count.unwrap_or_default();
    let (updated, available) = (count(status.updated_replicas), count(status.available_replicas));
    if (updated, available, count(status.replicas)) != (wanted, wanted, wanted) {
        // The controller tells why there are no pods, where there is a reason.
        let failed = |one: &&k8s_openapi::api::apps::v1::DeploymentCondition| {
            one.type_.as_deref() == Some("ReplicaFailure") && one.status.as_deref() == Some("True")
        };
        let why = status.conditions.iter().flatten().find(failed);
        let why = why.and_then(|condition| condition.message.as_deref()).unwrap_or_default();
        bail!("deployment {name}: {updated} of {wanted} updated, {available} available {why}");
    }
    Ok(())
}

fn replica_set_status(set: &ReplicaSet) -> Result<()> {
    let name = set.name_any();
    let status = set.status.clone().unwrap_or_default();
    if status.observed_generation < set.metadata.generation {
        bail!("replica set {name} was not looked at yet");
    }
    let wanted = set.spec.replicas.unwrap_or(1);
    let ready = status.ready_replicas.unwrap_or_default();
    if ready < wanted {
        bail!("replica set {name}: {ready} of {wanted} ready");
    }
    Ok(())
}

/// Every pod of the workloads is ready. Pods of others may never be, and are not waited for.
pub(crate) async fn ready(
    client: &Client,
    workloads: &[Workload],
    progress: &Progress,
) -> Result<()> {
    let wanted: usize = workloads.iter().map(|workload| workload.replicas).sum();
    let living = |pod: &&Pod| pod.metadata.deletion_timestamp.is_none();
    ready::watch(Api::<Pod>::all(client.clone()), "pods", progress, |pods| {
        let pods: Vec<&Pod> = pods.iter().map(|pod| &**pod).filter(living).collect();
        let (mut count, mut all, mut done) = (0, 0, true);
        for workload in workloads {
            let mine: Vec<_> = pods.iter().filter(|pod| workload.has(pod)).collect();
            let ready = mine.iter().filter(|pod| is_ready(pod, progress.begun_at)).count();
            done &= ready >= workload.replicas && ready == mine.len();
            (count, all) = (count + ready, all + mine.len());
        }
        let mine = pods.iter().filter(|pod| workloads.iter().any(|one| one.has(pod)));
        let why = mine.filter_map(|pod| why_not(pod)).next().unwrap_or_default();
        (done, format!("{count}/{} ready{why}", all.max(wanted)))
    })
    .await?;
    for workload in workloads {
        let what = format!("the status of {}", workload.name);
        ready::ask(&what, progress, async || workload.status(client).await).await?;
    }
    Ok(())
}

/// Ready, and running since this `up` began: the store remembers what was ready before `down`.
fn is_ready(pod: &Pod, begun: SystemTime) -> bool {
    let Some(status) = &pod.status else { return false };
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let is_ready = conditions.iter().any(|one| one.type_ == "Ready" && one.status == "True");
    // The API tells whole seconds.
    let begun = begun.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let mut containers = status.container_statuses.iter().flatten();
    is_ready
        && containers.all(|container| {
            let running = container.state.as_ref().and_then(|state| state.running.as_ref());
            let started = running.and_then(|running| running.started_at.as_ref());
            started.is_some_and(|at| at.0.as_second() >= begun.cast_signed())
        })
}

/// What a pod that waits says of it: why it is not placed, or why a container does not start.
fn why_not(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let waiting = status.container_statuses.iter().flatten().find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        // Without a message it waits its turn.
        Some((waiting.reason.as_deref()?, waiting.message.as_deref()?))
    });
    let unplaced = || {
        let all = status.conditions.iter().flatten();
        let mut failed = all.filter(|one| one.type_ == "PodScheduled" && one.status == "False");
        failed.find_map(|one| Some((one.reason.as_deref()?, one.message.as_deref()?)))
    };
    let (reason, message) = waiting.or_else(unplaced)?;
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Some(format!("; {name}: {reason}: {}", message.lines().next().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_pod_that_was_ready_before_is_not_ready_now() {
        let pod = |started: &str, ready: &str| -> Pod {
            serde_json::from_value(json!({"status": {
                "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{
                    "name": "a", "image": "", "imageID": "", "ready": true, "restartCount": 0,
                    "state": {"running": {"startedAt": started}},
                }],
            }}))
            .unwrap()
        };
        // A fraction of a second before this `up` is the second in which it began.
        let begun = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_900);
        assert!(is_ready(&pod("1970-01-12T13:46:40Z", "True"), begun));
        assert!(!is_ready(&pod("1970-01-12T13:46:39Z", "True"), begun));
        assert!(!is_ready(&pod("1970-01-12T13:46:40Z", "False"), begun));
        assert!(!is_ready(&Pod::default(), begun));
    }

    #[test]
    fn a_pod_that_waits_says_why() {
        let pod = |status| -> Pod {
            serde_json::from_value(json!({"metadata": {"name": "a"}, "status": status})).unwrap()
        };
        let container = |message: Option<&str>| {
            let waiting = json!({"reason": "CreateContainerError", "message": message});
            pod(json!({"containerStatuses": [{
                "name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": waiting},
            }]}))
        };
        let why = why_not(&container(Some("no runc\nat all")));
        assert_eq!(why.as_deref(), Some("; a: CreateContainerError: no runc"));
        assert_eq!(why_not(&container(None)), None);
        let unplaced = pod(json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "full",
        }]}));
        assert_eq!(why_not(&unplaced).as_deref(), Some("; a: Unschedulable: full"));
    }

    fn object(value: Value) -> DynamicObject {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_has_pods_knows_them() {
        let deployment = |replicas: Value| {
            object(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "a", "namespace": "x"},
                "spec": {
                    "replicas": replicas, "template": {}, "selector": {"matchLabels": {"app": "a"}},
                },
            }))
        };
        let workload = Workload::of(&deployment(json!(3))).unwrap().unwrap();
        assert_eq!((workload.kind, workload.replicas), (Kind::Deployment, 3));
        assert_eq!(Workload::of(&deployment(Value::Null)).unwrap().unwrap().replicas, 1);
        let pod = |namespace: &str, app: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {"name": "p", "namespace": namespace, "labels": {"app": app}},
            }))
            .unwrap()
        };
        assert!(workload.has(&pod("x", "a")));
        assert!(!workload.has(&pod("x", "b")) && !workload.has(&pod("y", "a")));
        let alone = json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "x"},
        });
        let alone = Workload::of(&object(alone)).unwrap().unwrap();
        assert!(alone.has(&pod("x", "a")) && !alone.has(&pod("y", "a")));
        let secret =
            object(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}));
        assert_eq!(Workload::of(&secret).unwrap(), None);
    }

    #[test]
    fn a_deployment_is_there_when_all_of_it_is_new() {
        let status = |generation: i64, counts: [i32; 3]| {
            let [replicas, updated, available] = counts;
            let deployment: Deployment = serde_json::from_value(json!({
                "metadata": {"name": "a", "generation": 2},
                "spec": {"replicas": 2, "selector": {}, "template": {}},
                "status": {
                    "observedGeneration": generation, "replicas": replicas,
                    "updatedReplicas": updated, "availableReplicas": available,
                    "conditions": [{"type": "ReplicaFailure", "status": "True", "message": "full"}],
                },
            }))
            .unwrap();
            deployment_status(&deployment)
        };
        assert!(status(2, [2, 2, 2]).is_ok());
        assert!(status(1, [2, 2, 2]).is_err());
        assert!(status(2, [3, 2, 2]).is_err(), "an old one is left");
        let error = status(2, [2, 2, 1]).unwrap_err().to_string();
        assert_eq!(error, "deployment a: 2 of 2 updated, 1 available full");
    }
}
