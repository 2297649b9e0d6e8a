//! `viaduct image`: the images pods are started from. Nothing is pulled: what is not imported is
//! not there.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use control_kubelet::image;

use crate::{output, paths::ClusterPaths};

const STORE: &str = "/var/lib/viaduct/images";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Import the images of an OCI archive.
    #[command(after_help = "Example: viaduct image import program.tar --cluster viaduct")]
    Import {
        /// A tar file, as `skopeo copy … oci-archive:FILE` or `docker save` write it.
        archive: PathBuf,
        /// Keep them, though nobody uses them and the disk is full: nothing is ever pulled.
        #[arg(long)]
        pin: bool,
        #[command(flatten)]
        store: Store,
    },
    /// Keep an image, though nobody uses it and the disk is full.
    Pin {
        /// Name of the image, as in a pod's manifest.
        name: String,
        #[command(flatten)]
        store: Store,
    },
    /// Let a kubelet remove an image that nobody uses, when the disk is full.
    Unpin {
        /// Name of the image, as in a pod's manifest.
        name: String,
        #[command(flatten)]
        store: Store,
    },
    /// List the images that are there.
    List {
        #[command(flatten)]
        store: Store,
        /// How to print.
        #[arg(short, long, value_enum, default_value_t)]
        output: crate::operator::Output,
    },
    /// Make an OCI archive of one statically linked program.
    #[command(
        after_help = "Example: viaduct image pack ./program --name example.com/program:1 -f program.tar"
    )]
    Pack {
        /// The program; nothing else is in the image.
        program: PathBuf,
        /// Name of the image, as in a pod's manifest.
        #[arg(long)]
        name: String,
        /// The archive to write.
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
            Some(name) => {
                let paths = ClusterPaths::new(name)?;
                if !paths.state.exists() {
                    bail!(
                        "there is no cluster `{name}` here: `viaduct up --name {name}` starts one"
                    );
                }
                Ok(paths.images())
            }
            None => Ok(self.store.clone()),
        }
    }
}

pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Import { archive, pin, store } => {
            let folder = store.folder()?;
            for reference in import(&archive, &folder)? {
                if pin {
                    image::pin(&folder, &reference, true)?;
                }
                output::print(reference)?;
            }
            Ok(())
        }
        Command::Pin { name, store } => set_pin(&name, &store.folder()?, true),
        Command::Unpin { name, store } => set_pin(&name, &store.folder()?, false),
        Command::List { store, output } => list(&store.folder()?, output),
        Command::Pack { program, name, file } => pack(&program, &name, &file),
    }
}

fn set_pin(name: &str, store: &Path, pinned: bool) -> Result<()> {
    if image::find(store, name)?.is_none() {
        bail!("there is no image `{name}`; `viaduct image list` shows those that are there");
    }
    Ok(image::pin(store, name, pinned)?)
}

/// Imports every image of an archive; their names.
pub(crate) fn import(archive: &Path, store: &Path) -> Result<Vec<String>> {
    std::fs::create_dir_all(store).with_context(|| format!("create {}", store.display()))?;
    image::import(archive, store).with_context(|| format!("import {}", archive.display()))
}

/// Makes an archive of an image that holds one program and runs it.
pub(crate) fn pack(program: &Path, name: &str, archive: &Path) -> Result<()> {
    check_static(program)?;
    image::pack_static(program, name, archive)
        .with_context(|| format!("make an image of {}", program.display()))
}

/// Refuses a program that would not start in an image of its own: the kernel would look there for
/// the loader that is named in it.
fn check_static(program: &Path) -> Result<()> {
    let content = std::fs::read(program).with_context(|| format!("read {}", program.display()))?;
    match names_loader(&content) {
        Some(false) => Ok(()),
        Some(true) => bail!(
            "{} is linked dynamically, and its libraries would not be in the image: link it \
             statically (-static, or -C target-feature=+crt-static)",
            program.display()
        ),
        None => bail!("{} is no program: no ELF file for 64 bits", program.display()),
    }
}

/// Whether an ELF file has a `PT_INTERP` (System V ABI, "Program Header"); `None` for any other
/// file. Little-endian alone, as every machine is that we run on.
fn names_loader(content: &[u8]) -> Option<bool> {
    const ELF64_LITTLE_ENDIAN: &[u8] = b"\x7fELF\x02\x01";
    const PT_INTERP: &[u8] = &3u32.to_le_bytes();
    if !content.starts_with(ELF64_LITTLE_ENDIAN) {
        return None;
    }
    let offset = u64::from_le_bytes(content.get(0x20..0x28)?.try_into().ok()?);
    let half = |at: usize| Some(u16::from_le_bytes(content.get(at..at + 2)?.try_into().ok()?));
    let (size, count) = (usize::from(half(0x36)?), usize::from(half(0x38)?));
    let headers = content.get(usize::try_from(offset).ok()?..)?;
    (0..count)
        .map(|index| headers.get(index * size..)?.get(..4))
        .try_fold(false, |found, kind| Some(found || kind? == PT_INTERP))
}

fn list(store: &Path, output: crate::operator::Output) -> Result<()> {
    let images = if store.exists() { image::list(store)? } else { Vec::new() };
    if output.is_json() {
        output::print(serde_json::to_string_pretty(&images)?)?;
    } else {
        for image in images {
            output::print(image.reference)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An ELF file of nothing but program headers of these types.
    fn elf(types: &[u32]) -> Vec<u8> {
        let mut content = vec![0; 0x40 + types.len() * 0x38];
        content[..6].copy_from_slice(b"\x7fELF\x02\x01");
        content[0x20] = 0x40;
        content[0x36] = 0x38;
        content[0x38] = types.len() as u8;
        for (index, kind) in types.iter().enumerate() {
            content[0x40 + index * 0x38..][..4].copy_from_slice(&kind.to_le_bytes());
        }
        content
    }

    #[test]
    fn a_program_with_a_loader_is_told_from_one_without() {
        assert_eq!(names_loader(&elf(&[1, 1])), Some(false));
        assert_eq!(names_loader(&elf(&[6, 3, 1])), Some(true));
        assert_eq!(names_loader(b"#!/bin/sh\n"), None);
        let whole = elf(&[1, 1]);
        for end in 0..whole.len() - 0x38 {
            assert_eq!(names_loader(&whole[..end]), None, "cut at {end}");
        }
    }
}
