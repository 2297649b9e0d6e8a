//! What the pods of the node use.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use serde_json::{Value, json};

use crate::runtime::cgroup::{Hierarchies, Usage};

/// What all pods of the node together use.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NodeUsage {
    /// Thousandths of a processor, on average since the sample before.
    pub(crate) cpu_millis: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) cpu_nanos: u64,
}

/// Turns processor time into a rate.
#[derive(Debug)]
pub(crate) struct Sampler {
    hierarchies: Hierarchies,
    group: String,
    last: Mutex<(Instant, u64, NodeUsage)>,
}

impl Sampler {
    pub(crate) fn new(hierarchies: Hierarchies, group: String) -> Self {
        let used = hierarchies.usage(&group).unwrap_or_default();
        let last = Mutex::new((Instant::now(), used.cpu_nanos, NodeUsage::default()));
        Self { hierarchies, group, last }
    }

    /// Takes a sample; the rate is over the time since the last.
    pub(crate) fn sample(&self) -> NodeUsage {
        // Without a pod there is no group, and nothing used.
        let used = self.hierarchies.usage(&self.group).unwrap_or_default();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let nanos = last.0.elapsed().as_nanos().max(1);
        let spent = u128::from(used.cpu_nanos.saturating_sub(last.1));
        let usage = NodeUsage {
            cpu_millis: u64::try_from(spent * 1000 / nanos).unwrap_or(u64::MAX),
            memory_bytes: used.memory_bytes,
            cpu_nanos: used.cpu_nanos,
        };
        *last = (Instant::now(), used.cpu_nanos, usage);
        usage
    }

    /// The last sample, for whoever only looks.
    pub(crate) fn last(&self) -> NodeUsage {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).2
    }
}

/// A container and what it uses.
#[derive(Clone, Debug)]
pub(crate) struct ContainerUsage {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) uid: String,
    pub(crate) container: String,
    pub(crate) usage: Usage,
}

/// The summary API's document, as far as it is known here.
pub(crate) fn summary(node: &str, total: NodeUsage, containers: &[ContainerUsage]) -> Value {
    let mut pods: Vec<Value> = Vec::new();
    for of_pod in containers.chunk_by(|a, b| a.uid == b.uid) {
        let Some(first) = of_pod.first() else { continue };
        let cpu: u64 = of_pod.iter().map(|c| c.usage.cpu_nanos).sum();
        let memory: u64 = of_pod.iter().map(|c| c.usage.memory_bytes).sum();
        let containers: Vec<Value> = of_pod
            .iter()
            .map(|c| {
                json!({
                    "name": c.container,
                    "cpu": { "usageCoreNanoSeconds": c.usage.cpu_nanos },
                    "memory": { "workingSetBytes": c.usage.memory_bytes },
                })
            })
            .collect();
        pods.push(json!({
            "podRef": { "name": first.pod, "namespace": first.namespace, "uid": first.uid },
            "cpu": { "usageCoreNanoSeconds": cpu },
            "memory": { "workingSetBytes": memory },
            "containers": containers,
        }));
    }
    json!({
        "node": {
            "nodeName": node,
            "cpu": {
                "usageNanoCores": total.cpu_millis.saturating_mul(1_000_000),
                "usageCoreNanoSeconds": total.cpu_nanos,
            },
            "memory": { "workingSetBytes": total.memory_bytes },
        },
        "pods": pods,
    })
}

/// Prometheus text, under the names that cAdvisor and the kubelet have made customary.
pub(crate) fn metrics(pods: usize, total: NodeUsage, containers: &[ContainerUsage]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
        // Writing to a String cannot fail.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: usize| vec![(String::new(), value.to_string())];
    family("kubelet_running_pods", "gauge", "Pods with a worker.", &one(pods));
    let running = one(containers.len());
    family("kubelet_running_containers", "gauge", "Containers that run.", &running);
    let labels = |c: &ContainerUsage| {
        format!("{{namespace=\"{}\",pod=\"{}\",container=\"{}\"}}", c.namespace, c.pod, c.container)
    };
    let seconds = |nanos: u64| format!("{:.6}", nanos as f64 / 1e9);
    let cpu: Vec<_> = containers.iter().map(|c| (labels(c), seconds(c.usage.cpu_nanos))).collect();
    let help = "Processor time used.";
    family("container_cpu_usage_seconds_total", "counter", help, &cpu);
    let memory: Vec<_> =
        containers.iter().map(|c| (labels(c), c.usage.memory_bytes.to_string())).collect();
    let help = "Memory without reclaimable page cache.";
    family("container_memory_working_set_bytes", "gauge", help, &memory);
    let node = [(String::new(), seconds(total.cpu_nanos))];
    family("node_cpu_usage_seconds_total", "counter", "Processor time of all pods.", &node);
    let node = [(String::new(), total.memory_bytes.to_string())];
    family("node_memory_working_set_bytes", "gauge", "Memory of all pods.", &node);
    text
}
