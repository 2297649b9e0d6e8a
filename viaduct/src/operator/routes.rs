use anyhow::Result;
use viaduct_api::admin::FibRoute;

use super::{Target, table};

pub(crate) async fn print(target: &Target) -> Result<()> {
    let answers = super::ask::<Vec<FibRoute>>(target, "/v1/routes").await?;
    super::print(target, &answers, |nodes| {
        let mut rows = Vec::new();
        for (node, routes) in nodes {
            for route in *routes {
                rows.push(vec![
                    (*node).to_owned(),
                    route.prefix.to_string(),
                    via(route),
                    match (route.wanted, route.installed) {
                        (true, true) => "installed",
                        (true, false) => "missing",
                        (false, true) => "leftover",
                        (false, false) => "gone",
                    }
                    .to_owned(),
                ]);
            }
        }
        table::columns(&["NODE", "PREFIX", "VIA", "KERNEL"], &rows)
    })
}

fn via(route: &FibRoute) -> String {
    if !route.next_hops.is_empty() {
        return table::list(route.next_hops.iter().map(|hop| hop.address));
    }
    if route.interfaces.is_empty() {
        "blackhole".to_owned()
    } else {
        table::list(&route.interfaces)
    }
}
