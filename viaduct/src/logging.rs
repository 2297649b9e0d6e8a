use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Logs to standard error, for people on a terminal and as JSON elsewhere. `RUST_LOG` says how
/// much, `VIADUCT_LOG=text|json` in which form.
pub(crate) fn init() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_error| EnvFilter::new("info,kube=warn,hyper=warn,tower=warn"));
    let json = match std::env::var("VIADUCT_LOG").as_deref() {
        Ok("json") => true,
        Ok("text") => false,
        _ => !std::io::stderr().is_terminal(),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        builder.json().flatten_event(true).init();
    } else {
        builder.init();
    }
}
