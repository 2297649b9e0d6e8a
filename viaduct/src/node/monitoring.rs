//! Who watches the speaker of this node, as the view of the API says.

use std::sync::Arc;

use bgpd::config;
use tokio::sync::watch;
use tracing::warn;

use super::{bgp, cache::View};

/// Tells the speaker, for as long as there is one.
pub(super) async fn follow(
    name: String,
    mut view: watch::Receiver<Option<Arc<View>>>,
    speaker: bgpd::Handle,
) {
    let mut told = None;
    loop {
        let spec = view.borrow_and_update().as_ref().map(|view| bgp::configuration(view));
        if let Some(spec) = spec {
            let wanted = (spec.bmp.clone(), spec.mrt.clone());
            if told.as_ref() != Some(&wanted) {
                match config::monitoring(&name, &spec) {
                    Ok(monitoring) => match speaker.monitor(monitoring).await {
                        Ok(()) => {}
                        Err(bgpd::Ended) => return,
                    },
                    Err(error) => warn!(%error, "who watches the speaker stays as it was"),
                }
                told = Some(wanted);
            }
        }
        if view.changed().await.is_err() {
            return;
        }
    }
}
