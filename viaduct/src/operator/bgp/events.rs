use std::{net::IpAddr, time::Duration};

use anyhow::{Result, bail};
use futures::{StreamExt, stream::SelectAll};
use viaduct_api::admin::{BgpEvent, EventQuery};

use super::{
    Target,
    admin::{Lines, sockets},
    output, question, table,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Go on with what happens from now on, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// Of this peer only.
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// Not older than this: 90s, 10m, 2h, 1d.
    #[arg(long, value_name = "AGE", value_parser = age)]
    since: Option<Duration>,
    #[command(flatten)]
    target: Target,
}

const PATH: &str = "/v1/bgp/events";
const HEADER: [&str; 5] = ["NODE", "TIME", "PEER", "KIND", "WHAT"];

pub(super) async fn print(args: &Args) -> Result<()> {
    let query = EventQuery {
        peer: args.peer,
        since_secs: args.since.map(|since| since.as_secs()),
        after: None,
        follow: args.follow,
    };
    let path = question::path(PATH, &query)?;
    if args.follow {
        return follow(&args.target, &path).await;
    }
    let answers = crate::operator::ask::<Vec<BgpEvent>>(&args.target, &path).await?;
    crate::operator::print(&args.target, &answers, |nodes| {
        let rows = nodes
            .iter()
            .flat_map(|(node, events)| events.iter().map(|event| row(node, event).to_vec()));
        table::columns(&HEADER, &rows.collect::<Vec<_>>())
    })
}

fn row(node: &str, event: &BgpEvent) -> [String; 5] {
    let peer = event.peer_name().unwrap_or_else(|| "-".to_owned());
    [node.to_owned(), event.time.clone(), peer, event.kind.clone(), event.text.clone()]
}

/// Events of all nodes as they come: a line of JSON for each, or columns of fixed width.
async fn follow(target: &Target, path: &str) -> Result<()> {
    let mut all = SelectAll::new();
    for (node, socket) in sockets(target)? {
        match Lines::ask(&socket, path, true).await {
            Ok(lines) => all.push(Box::pin(events_of(node, lines))),
            Err(error) => eprintln!("{node}: {error:#}"),
        }
    }
    if all.is_empty() {
        bail!("no node answered");
    }
    while let Some((node, event)) = all.next().await {
        match event {
            Ok(event) if target.output.is_json() => {
                let mut line = serde_json::to_value(&event)?;
                line["node"] = node.into();
                output::print(line.to_string())?;
            }
            Ok(event) => {
                let [node, time, peer, kind, what] = row(&node, &event);
                output::print(format!("{node:<10} {time}  {peer:<16} {kind:<22} {what}"))?;
            }
            Err(error) => eprintln!("{node}: {error:#}"),
        }
    }
    bail!("every daemon has ended")
}

fn events_of(
    node: String,
    lines: Lines,
) -> impl futures::Stream<Item = (String, Result<BgpEvent>)> {
    futures::stream::unfold(Some((node, lines)), async |state| {
        let (node, mut lines) = state?;
        match lines.next().await {
            Ok(Some(event)) => Some(((node.clone(), Ok(event)), Some((node, lines)))),
            Ok(None) => None,
            Err(error) => Some(((node, Err(error)), None)),
        }
    })
}

/// A number and a unit.
fn age(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no age: a number and s, m, h or d, as in 10m");
    let (digits, secs) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        Some((at, 'd')) => (&text[..at], 86_400),
        _ => return Err(wrong()),
    };
    let count: u32 = digits.parse().map_err(|_error| wrong())?;
    Ok(Duration::from_secs(u64::from(count) * secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages() {
        assert_eq!(age("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(age("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "10", "m", "-1s", "1w", "5é"] {
            assert!(age(wrong).is_err(), "{wrong}");
        }
    }
}
