//! What a container wants done when it has begun, and before it is stopped.

use std::{net::IpAddr, time::Duration};

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::{context::NodeContext, probing};

/// Runs the hook to its end; the caller bounds its time.
pub(super) async fn run(
    node: &NodeContext,
    hook: &LifecycleHandler,
    id: &str,
    container: &Container,
    address: Option<IpAddr>,
    limit: Duration,
) -> Result<(), String> {
    if let Some(action) = &hook.exec {
        let command = action.command.as_deref().unwrap_or_default();
        let output = node.runtime.exec(id, command, limit).await.map_err(|e| e.to_string())?;
        return match output.exit_code {
            0 => Ok(()),
            code => Err(format!("exit code {code}: {}", output.output.trim())),
        };
    }
    if let Some(action) = &hook.sleep {
        let seconds = u64::try_from(action.seconds).unwrap_or(0);
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        return Ok(());
    }
    if let Some(action) = &hook.http_get {
        let target = probing::target(action.host.as_deref(), &action.port, address, container)?;
        return probing::http_get(action, target).await;
    }
    Err("neither exec nor sleep nor httpGet: this kind of hook is not supported".to_owned())
}
