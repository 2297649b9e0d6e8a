//! Namespace.

use super::{AGE, Column, Columns, NAME, age, name};

pub(crate) const NAMESPACE: Columns = Columns {
    columns: &[NAME, Column::new("Status", "string", "Active or Terminating."), AGE],
    cells: |namespace, now| {
        vec![name(namespace), namespace["status"]["phase"].clone(), age(namespace, now)]
    },
};
