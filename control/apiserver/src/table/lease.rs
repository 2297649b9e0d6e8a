//! Lease.

use super::{AGE, Column, Columns, NAME, age, name};

pub(crate) const LEASE: Columns = Columns {
    columns: &[NAME, Column::new("Holder", "string", "Who holds the lease."), AGE],
    cells: |lease, now| {
        let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
        vec![name(lease), holder.into(), age(lease, now)]
    },
};
