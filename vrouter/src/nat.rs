use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time};
use tracing::{info, warn};
use vrouter_kernel::masquerade::Masquerade;

use crate::LocalState;

/// Keeps the masquerade table what it should be: put in force when it changes, and again at every
/// audit, since a firewall that is reloaded may flush what is not its own. The replacement is
/// atomic and does not disturb a connection.
///
/// `problem` says why it is not in force.
pub(crate) async fn keep(
    mut local: watch::Receiver<Arc<LocalState>>,
    audit_interval: Duration,
    problem: watch::Sender<Option<String>>,
) {
    let mut in_force: Option<Masquerade> = None;
    let mut audit = time::interval(audit_interval);
    audit.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        let again = tokio::select! {
            changed = local.changed() => match changed {
                Ok(()) => false,
                // Nothing more will come, but what is in force is still guarded.
                Err(_closed) => { audit.tick().await; true }
            },
            _ = audit.tick() => true,
        };
        let state = local.borrow_and_update().clone();
        // Without pods to masquerade there is a table to remove at most once.
        let guarded = again && !state.masquerade.pod_cidrs.is_empty();
        if !state.complete || (in_force.as_ref() == Some(&state.masquerade) && !guarded) {
            continue;
        }
        match state.masquerade.apply().await {
            Ok(()) => {
                if in_force.as_ref() != Some(&state.masquerade) {
                    info!(pods = ?state.masquerade.pod_cidrs, "masquerade in force");
                }
                in_force = Some(state.masquerade.clone());
                problem.send_replace(None);
            }
            Err(error) => {
                warn!(%error, "masquerade not in force");
                problem.send_replace(Some(error.to_string()));
            }
        }
    }
}
