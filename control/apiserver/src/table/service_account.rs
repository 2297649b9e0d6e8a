//! ServiceAccount.

use super::{AGE, Column, Columns, NAME, age, list, name};

pub(crate) const SERVICE_ACCOUNT: Columns = Columns {
    columns: &[NAME, Column::new("Secrets", "string", "How many secrets may be used."), AGE],
    cells: |account, now| {
        vec![name(account), list(&account["secrets"]).len().into(), age(account, now)]
    },
};
