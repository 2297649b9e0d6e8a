use anyhow::{Result, bail};
use viaduct_api::admin::ServiceStatus;

use super::{Target, table};

pub(crate) async fn print(target: &Target, service: Option<&str>) -> Result<()> {
    let mut answers = super::ask::<Vec<ServiceStatus>>(target, "/v1/services").await?;
    if let Some(wanted) = service {
        for services in answers.iter_mut().filter_map(|one| one.answer.as_mut()) {
            services.retain(|one| {
                one.name == wanted || format!("{}/{}", one.namespace, one.name) == wanted
            });
        }
        let mut known = answers.iter().filter_map(|one| one.answer.as_ref()).peekable();
        if known.peek().is_some() && known.all(Vec::is_empty) {
            bail!("no node knows a service `{wanted}`: `viaduct services` lists all");
        }
    }
    super::print(target, &answers, |nodes| {
        let mut rows = Vec::new();
        for (node, services) in nodes {
            for service in *services {
                for frontend in &service.frontends {
                    let about = if service.connections_approximate { "~" } else { "" };
                    let connections = frontend.backends.iter().map(|backend| backend.connections);
                    let connections = connections.map(|count| format!("{about}{count}"));
                    let backends = frontend.backends.iter().map(|backend| {
                        let state = match (backend.state.as_str(), &backend.why) {
                            ("active", None) => String::new(),
                            (state, None) => format!("({state})"),
                            (state, Some(why)) => format!("({state}: {why})"),
                        };
                        format!("{}{state}", backend.address)
                    });
                    rows.push(vec![
                        (*node).to_owned(),
                        format!("{}/{}", service.namespace, service.name),
                        frontend.kind.clone(),
                        format!("{}/{}", frontend.address, frontend.protocol),
                        if frontend.programmed { "yes" } else { "no" }.to_owned(),
                        table::list(connections),
                        table::list(backends),
                    ]);
                }
            }
        }
        let header =
            ["NODE", "SERVICE", "KIND", "FRONTEND", "IN KERNEL", "CONNECTIONS", "BACKENDS"];
        table::columns(&header, &rows)
    })
}
