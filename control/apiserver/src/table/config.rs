//! ConfigMap and Secret.

use serde_json::Value;

use super::{AGE, Column, Columns, NAME, age, name};

const DATA: Column = Column::new("Data", "string", "How many keys there are.");

pub(crate) const CONFIG_MAP: Columns = Columns {
    columns: &[NAME, DATA, AGE],
    cells: |map, now| {
        vec![name(map), (keys(&map["data"]) + keys(&map["binaryData"])).into(), age(map, now)]
    },
};

pub(crate) const SECRET: Columns = Columns {
    columns: &[NAME, Column::new("Type", "string", "What sort of secret it is."), DATA, AGE],
    cells: |secret, now| {
        vec![name(secret), secret["type"].clone(), keys(&secret["data"]).into(), age(secret, now)]
    },
};

fn keys(data: &Value) -> usize {
    data.as_object().map_or(0, serde_json::Map::len)
}
