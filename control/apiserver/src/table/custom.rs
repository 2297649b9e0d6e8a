//! Our own kinds.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, age, joined, labels_text, list, name};

pub(crate) const BGP_CONFIGURATION: Columns = Columns {
    columns: &[
        NAME,
        Column::new("ASN", "integer", "The cluster's autonomous system."),
        Column::new("Mesh", "boolean", "Whether every node peers with every other."),
        Column::new("Hold-Time", "integer", "Seconds until a silent session is lost."),
        AGE,
        Column::wide("Port", "integer", "The port on which nodes listen."),
        Column::wide("Restart-Time", "integer", "Seconds for which peers keep routes."),
    ],
    cells: |object, now| {
        let spec = &object["spec"];
        vec![
            name(object),
            spec["asn"].clone(),
            spec["nodeToNodeMesh"].clone(),
            spec["holdTimeSeconds"].clone(),
            age(object, now),
            spec["listenPort"].clone(),
            spec["gracefulRestartSeconds"].clone(),
        ]
    },
};

pub(crate) const BGP_PEER: Columns = Columns {
    columns: &[
        NAME,
        Column::new("Address", "string", "The neighbour's address."),
        Column::new("ASN", "integer", "The neighbour's autonomous system."),
        Column::new("Nodes", "string", "The nodes that peer with it."),
        AGE,
        Column::wide("Port", "integer", "The neighbour's port."),
        Column::wide("Passive", "boolean", "Whether nodes wait for it to connect."),
    ],
    cells: |object, now| {
        let spec = &object["spec"];
        vec![
            name(object),
            spec["address"].clone(),
            spec["asn"].clone(),
            selected(&spec["nodeSelector"]).into(),
            age(object, now),
            spec["port"].clone(),
            spec["passive"].clone(),
        ]
    },
};

pub(crate) const IP_POOL: Columns = Columns {
    columns: &[
        NAME,
        Column::new("CIDR", "string", "The addresses of the pool."),
        Column::new("Block-Size", "string", "The prefix length of a block."),
        Column::new("Masquerade", "boolean", "Whether pods leave under their node's address."),
        Column::new("Disabled", "boolean", "Whether no new blocks are given out."),
        AGE,
        Column::wide("Nodes", "string", "The nodes that may own blocks."),
    ],
    cells: |object, now| {
        let spec = &object["spec"];
        let block = match spec["blockSize"].as_u64() {
            Some(len) => format!("/{len}"),
            None => "<default>".to_owned(),
        };
        vec![
            name(object),
            spec["cidr"].clone(),
            block.into(),
            spec["masquerade"].clone(),
            spec["disabled"].clone(),
            age(object, now),
            selected(&spec["nodeSelector"]).into(),
        ]
    },
};

pub(crate) const IP_BLOCK: Columns = Columns {
    columns: &[
        NAME,
        Column::new("CIDR", "string", "The addresses of the block."),
        Column::new("Node", "string", "The node it belongs to."),
        Column::new("Pool", "string", "The pool it was cut from."),
        AGE,
    ],
    cells: |object, now| {
        let spec = &object["spec"];
        vec![
            name(object),
            spec["cidr"].clone(),
            spec["node"].clone(),
            spec["pool"].clone(),
            age(object, now),
        ]
    },
};

pub(crate) const VIP_POOL: Columns = Columns {
    columns: &[
        NAME,
        Column::new("CIDRs", "string", "The addresses of the pool."),
        Column::new("Auto-Assign", "boolean", "Whether services get one without asking."),
        AGE,
        Column::wide("Services", "string", "The services that may have one."),
    ],
    cells: |object, now| {
        let spec = &object["spec"];
        vec![
            name(object),
            joined(list(&spec["cidrs"]).filter_map(Value::as_str)).into(),
            spec["autoAssign"].clone(),
            age(object, now),
            selected(&spec["serviceSelector"]).into(),
        ]
    },
};

/// A selector by labels, where an empty one selects all.
fn selected(labels: &Value) -> String {
    match labels.as_object() {
        Some(map) if !map.is_empty() => labels_text(labels),
        _ => "<all>".to_owned(),
    }
}
