//! Service.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, age, joined, labels_text, list, name};

pub(crate) const SERVICE: Columns = Columns {
    columns: &[
        NAME,
        Column::new("Type", "string", "How the service is reached."),
        Column::new("Cluster-IP", "string", "Its virtual address within the cluster."),
        Column::new("External-IP", "string", "Its virtual addresses outside."),
        Column::new("Port(s)", "string", "Its ports, with the port on every node."),
        AGE,
        Column::wide("Selector", "string", "The pods behind it."),
    ],
    cells: |service, now| {
        let spec = &service["spec"];
        let cluster_ip = spec["clusterIP"].as_str().filter(|ip| !ip.is_empty());
        vec![
            name(service),
            spec["type"].clone(),
            cluster_ip.unwrap_or("<none>").into(),
            external_ip(service).into(),
            ports(&spec["ports"]).into(),
            age(service, now),
            labels_text(&spec["selector"]).into(),
        ]
    },
};

fn external_ip(service: &Value) -> String {
    let spec = &service["spec"];
    let external = list(&spec["externalIPs"]).filter_map(Value::as_str);
    match spec["type"].as_str().unwrap_or_default() {
        "LoadBalancer" => {
            let given = list(&service["status"]["loadBalancer"]["ingress"])
                .filter_map(|one| one["ip"].as_str().or_else(|| one["hostname"].as_str()));
            let all: Vec<&str> = given.chain(external).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        "ExternalName" => spec["externalName"].as_str().unwrap_or_default().to_owned(),
        _ => joined(external),
    }
}

fn ports(ports: &Value) -> String {
    let texts: Vec<String> = list(ports)
        .map(|port| {
            let protocol = port["protocol"].as_str().unwrap_or("TCP");
            match port["nodePort"].as_i64().unwrap_or_default() {
                0 => format!("{}/{protocol}", port["port"]),
                node_port => format!("{}:{node_port}/{protocol}", port["port"]),
            }
        })
        .collect();
    joined(texts.iter().map(String::as_str))
}
