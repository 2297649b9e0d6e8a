//! EndpointSlice.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, age, list, name};

/// How many ports or addresses are shown before `+ N more...`.
const SHOWN: usize = 3;

pub(crate) const ENDPOINT_SLICE: Columns = Columns {
    columns: &[
        NAME,
        Column::new("AddressType", "string", "The family of the addresses."),
        Column::new("Ports", "string", "The ports of every endpoint."),
        Column::new("Endpoints", "string", "The addresses."),
        AGE,
    ],
    cells: |slice, now| {
        vec![
            name(slice),
            slice["addressType"].clone(),
            ports(&slice["ports"]).into(),
            addresses(&slice["endpoints"]).into(),
            age(slice, now),
        ]
    },
};

fn ports(ports: &Value) -> String {
    let texts = list(ports).map(|port| match (&port["port"], port["name"].as_str()) {
        (Value::Number(number), _) => number.to_string(),
        (_, Some(name)) if !name.is_empty() => name.to_owned(),
        _ => "*".to_owned(),
    });
    shortened(texts.collect(), "<unset>")
}

fn addresses(endpoints: &Value) -> String {
    let texts = list(endpoints)
        .flat_map(|endpoint| list(&endpoint["addresses"]))
        .filter_map(|address| address.as_str().map(str::to_owned));
    shortened(texts.collect(), "<unset>")
}

fn shortened(texts: Vec<String>, none: &str) -> String {
    match texts.len() {
        0 => none.to_owned(),
        n if n <= SHOWN => texts.join(","),
        n => format!("{} + {} more...", texts[..SHOWN].join(","), n - SHOWN),
    }
}
