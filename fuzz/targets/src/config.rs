use std::{net::Ipv4Addr, sync::Arc, time::Instant};

use bgp_speaker::{LocalAddresses, Speaker};
use bgpd::config::{
    Passwords,
    documents::{self, Documents},
    password_sources, standalone,
};
use viaduct_net::RouterId;

/// The text of a speaker's file: it is refused with words, or a speaker can begin with it.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let documents = match documents::parse(text) {
        Ok(documents) => documents,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let address = Ipv4Addr::new(192, 0, 2, 100);
    let addresses = LocalAddresses { v4: Some(address), v6: None };
    let router_id = RouterId::try_from(address).unwrap();
    // The password of a file is its own name, so some are too long and some are empty.
    let sources = documents.peers.values().flat_map(password_sources);
    let octets = |source: &_| format!("{source:?}").into_bytes();
    let passwords: Passwords = sources.map(|one| (one.clone(), Ok(octets(&one)))).collect();
    let Documents { configuration, peers, replays } = documents;
    drop(bgpd::config::monitoring("fuzz", &configuration));
    drop(bgpd::config::replays(&configuration, &replays));
    match standalone(&configuration, router_id, addresses, &peers, &passwords) {
        Ok(config) => {
            let mut speaker = Speaker::new(Arc::new(config), 1, Instant::now());
            while speaker.poll_action().is_some() {}
        }
        Err(errors) => {
            assert!(!errors.0.is_empty());
            assert!(errors.0.iter().all(|error| !error.field.is_empty()), "{errors}");
        }
    }
}
