//! Paths as they come: what was printed is not held.

use std::{io, net::IpAddr, path::Path};

use anyhow::{Result, bail};
use viaduct_api::admin::{BgpPath, PathQuery};

use super::{
    Target,
    admin::{Lines, sockets},
    paths::{Printer, Style},
    question,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this prefix; of an address, the most specific prefix around it.
    prefix: Option<String>,
    /// All prefixes inside PREFIX, too.
    #[arg(long, requires = "prefix")]
    longer: bool,
    /// Only paths from this peer.
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<IpAddr>,
    /// Only the best path of each prefix.
    #[arg(long, conflicts_with = "rejected")]
    best: bool,
    /// Only paths that import has refused.
    #[arg(long)]
    rejected: bool,
    /// Only paths with this community: 65000:1, 65000:1:2, rt:65000:1, no-export.
    #[arg(long)]
    community: Option<String>,
    /// No more than so many paths of each node.
    #[arg(long, value_name = "COUNT")]
    limit: Option<usize>,
    /// Sort by prefix, however many there are; all of them are held in memory.
    #[arg(long)]
    sort: bool,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn print(args: &Args) -> Result<()> {
    let query = PathQuery {
        prefix: args.prefix.clone(),
        longer: args.longer,
        peer: args.peer,
        best: args.best,
        rejected: args.rejected,
        community: args.community.clone(),
        limit: args.limit,
    };
    let path = question::path("/v1/bgp/routes", &query)?;
    let style = match args.prefix {
        _ if args.target.output.is_json() => Style::Json,
        Some(_) if !args.longer => Style::Details,
        _ => Style::Table,
    };
    match of_all(args, &path, Printer::new(style, io::stdout().lock())).await {
        // A reader that has seen enough (`| head`) need not be told more.
        Err(error) if is_broken_pipe(&error) => Ok(()),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

async fn of_all<W: io::Write>(args: &Args, path: &str, mut printer: Printer<W>) -> Result<()> {
    let mut answered = false;
    for (node, socket) in sockets(&args.target)? {
        printer.begin_node(&node);
        let error = of_node(&mut printer, &socket, path, args.sort).await?.err();
        answered |= error.is_none();
        let error = error.map(|error| format!("{error:#}"));
        if let Some(error) = error.as_ref().filter(|_| !args.target.output.is_json()) {
            eprintln!("{node}: {error}");
        }
        printer.end_node(error.as_deref())?;
    }
    printer.end()?;
    if !answered {
        bail!("no node answered");
    }
    Ok(())
}

/// The outer error is that nothing can be printed, the inner one that of the node.
async fn of_node<W: io::Write>(
    printer: &mut Printer<W>,
    socket: &Path,
    path: &str,
    sort: bool,
) -> io::Result<Result<()>> {
    let mut lines = match Lines::ask(socket, path, false).await {
        Ok(lines) => lines,
        Err(error) => return Ok(Err(error)),
    };
    let mut held = Vec::new();
    let result = loop {
        match lines.next::<BgpPath>().await {
            Ok(Some(path)) if sort => held.push(path),
            Ok(Some(path)) => printer.path(path)?,
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    held.sort_by_key(|path| (path.prefix, !path.best));
    held.into_iter().try_for_each(|path| printer.path(path))?;
    Ok(result)
}
