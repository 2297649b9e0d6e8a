//! `viaduct bgp dump`: the speaker's table in a file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use http_body_util::BodyExt;
use tokio::{fs::File, io::AsyncWriteExt};

use super::{Target, admin};
use crate::operator::Output;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// All paths of the table as MRT (TABLE_DUMP_V2, RFC 6396), whatever was decided about them.
    #[command(after_help = "Example: viaduct bgp dump mrt --node node-1 --output rib.mrt")]
    Mrt(MrtArgs),
}

#[derive(Args)]
pub(crate) struct MrtArgs {
    /// The file to be written. What was there before is replaced when the table is whole.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Name of the cluster, where it was made by `viaduct up`.
    #[arg(long, default_value = crate::up::DEFAULT_NAME)]
    cluster: String,
    /// The node whose table it is; not needed where there is one.
    #[arg(long)]
    node: Option<String>,
    /// The admin socket itself, in place of --cluster and --node.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["cluster", "node"])]
    socket: Option<PathBuf>,
}

pub(super) async fn run(command: Command) -> Result<()> {
    match command {
        Command::Mrt(args) => mrt(args).await,
    }
}

async fn mrt(args: MrtArgs) -> Result<()> {
    let MrtArgs { output, cluster, node, socket } = args;
    let target = Target { cluster, node, socket, output: Output::Text };
    let socket = admin::socket(&target)?;
    let mut staged = output.clone().into_os_string();
    staged.push(".part");
    let staged = PathBuf::from(staged);
    let written = write(&socket, &staged).await;
    if written.is_err() {
        // The error says more than a second one would.
        let _absent = std::fs::remove_file(&staged);
    }
    let octets = written?;
    std::fs::rename(&staged, &output).with_context(|| format!("write {}", output.display()))?;
    println!("{}: {octets} octets", output.display());
    Ok(())
}

/// Gives the number of octets.
async fn write(socket: &Path, path: &Path) -> Result<u64> {
    let mut body = admin::request(socket, "/v1/bgp/dump/mrt").await?;
    let what = || format!("write {}", path.display());
    let mut file = File::create(path).await.with_context(what)?;
    let mut octets = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the table ends within: the speaker has ended")?;
        if let Ok(bytes) = frame.into_data() {
            octets += bytes.len() as u64;
            file.write_all(&bytes).await.with_context(what)?;
        }
    }
    file.flush().await.with_context(what)?;
    file.sync_all().await.with_context(what)?;
    Ok(octets)
}
