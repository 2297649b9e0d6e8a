use anyhow::Result;
use viaduct_api::admin::{BfdSession, BfdStatus};

use super::{
    Target,
    table::{self, age},
};

pub(super) async fn print(target: &Target) -> Result<()> {
    let answers = crate::operator::ask::<BfdStatus>(target, "/v1/bgp/bfd").await?;
    crate::operator::print(target, &answers, |nodes| {
        let mut rows = Vec::new();
        let mut notes = String::new();
        for (node, status) in nodes {
            rows.extend(status.sessions.iter().map(|session| row(node, session)));
            let discarded = status.discarded.iter().filter(|(_, count)| **count > 0);
            let discarded: Vec<_> =
                discarded.map(|(reason, count)| format!("{reason} {count}")).collect();
            if !discarded.is_empty() {
                notes += &format!("\n{node}: packets discarded: {}", discarded.join(", "));
            }
            for problem in &status.problems {
                notes += &format!("\n{node}: {problem}");
            }
        }
        let header = [
            "NODE",
            "PEER",
            "HOPS",
            "STATE",
            "SINCE",
            "TX",
            "DETECT",
            "OFFER",
            "PEER OFFERS",
            "RECEIVED",
            "SENT",
            "DOWNS",
            "DIAGNOSTIC",
        ];
        table::columns(&header, &rows) + &notes
    })
}

fn row(node: &str, session: &BfdSession) -> Vec<String> {
    let millis = |micros: u64| format!("{}ms", micros as f64 / 1000.0);
    let or_none = |micros: Option<u64>| micros.map_or_else(|| "-".to_owned(), millis);
    let offer = |tx, rx, multiplier| format!("{}/{} x{multiplier}", millis(tx), millis(rx));
    let theirs = (|| {
        let tx = session.remote_min_transmit_micros?;
        Some(offer(tx, session.remote_min_receive_micros?, session.remote_multiplier?))
    })();
    vec![
        node.to_owned(),
        session.name(),
        if session.multihop { "many" } else { "one" }.to_owned(),
        session.state.clone(),
        age(session.since_secs),
        or_none(session.transmit_micros),
        or_none(session.detection_micros),
        offer(session.min_transmit_micros, session.min_receive_micros, session.multiplier),
        theirs.unwrap_or_else(|| "-".to_owned()),
        session.packets_received.to_string(),
        session.packets_sent.to_string(),
        session.downs.to_string(),
        session.diagnostic.clone(),
    ]
}
