//! `viaduct image`: the images pods are started from. Nothing is pulled: what is not imported is
//! not there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Subcommand;
use control_kubelet::image;

const STORE: &str = "/var/lib/viaduct/images";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Import the images of an OCI archive.
    Import {
        archive: PathBuf,
        #[command(flatten)]
        store: Store,
    },
    /// List the images that are there.
    List {
        #[command(flatten)]
        store: Store,
        #[arg(short, long, value_enum, default_value_t)]
        output: crate::operator::Output,
    },
    /// Make an OCI archive of one statically linked program.
    Pack {
        program: PathBuf,
        /// Name of the image, as in a pod's manifest.
        #[arg(long)]
        name: String,
        #[arg(short = 'f', long, value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(clap::Args)]
pub(crate) struct Store {
    /// Folder of the images.
    #[arg(long, default_value = STORE, conflicts_with = "cluster")]
    store: PathBuf,
    /// Use the images of this cluster of `viaduct up`.
    #[arg(long)]
    cluster: Option<String>,
}

impl Store {
    fn folder(&self) -> Result<PathBuf> {
        match &self.cluster {
            Some(name) => Ok(crate::paths::ClusterPaths::new(name)?.images()),
            None => Ok(self.store.clone()),
        }
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Import { archive, store } => {
            for reference in import(&archive, &store.folder()?)? {
                println!("{reference}");
            }
            Ok(())
        }
        Command::List { store, output } => list(&store.folder()?, output),
        Command::Pack { program, name, file } => pack(&program, &name, &file),
    }
}

/// Imports every image of an archive; their names.
pub(crate) fn import(archive: &Path, store: &Path) -> Result<Vec<String>> {
    std::fs::create_dir_all(store).with_context(|| format!("create {}", store.display()))?;
    image::import(archive, store).with_context(|| format!("import {}", archive.display()))
}

/// Makes an archive of an image that holds one program and runs it.
pub(crate) fn pack(program: &Path, name: &str, archive: &Path) -> Result<()> {
    image::pack_static(program, name, archive)
        .with_context(|| format!("make an image of {}", program.display()))
}

fn list(store: &Path, output: crate::operator::Output) -> Result<()> {
    let images = if store.exists() { image::list(store)? } else { Vec::new() };
    if output.is_json() {
        println!("{}", serde_json::to_string_pretty(&images)?);
    } else {
        for image in images {
            println!("{}", image.reference);
        }
    }
    Ok(())
}
