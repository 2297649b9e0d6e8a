use std::{io, path::PathBuf};

use aya::{EbpfError, programs::ProgramError};
use viaduct_net::IfIndex;

#[derive(Debug, thiserror::Error)]
pub enum MapError {
    #[error("map {map}")]
    Io { map: &'static str, source: io::Error },
    #[error("map {map} is full at {max_entries} entries")]
    Full { map: &'static str, max_entries: u32 },
    #[error("map {map} has keys of {key} and values of {value} bytes, not those of this version")]
    Layout { map: &'static str, key: usize, value: usize },
    #[error("map {map}: a table cannot begin at place {offset}, which is within a chunk")]
    Unaligned { map: &'static str, offset: u32 },
    #[error("the object has no map {map}")]
    Missing { map: &'static str },
}

/// Why the data plane could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("{path} is not on a bpf filesystem: mount one with `mount -t bpf bpf DIR`")]
    NotBpffs { path: PathBuf },
    #[error("pin folder {path}")]
    PinDir { path: PathBuf, source: io::Error },
    #[error("the kernel does not know {feature}, which Viaduct needs; Linux 6.1 or newer has it")]
    Unsupported { feature: &'static str },
    #[error("loading BPF programs needs root, or CAP_BPF and CAP_NET_ADMIN")]
    Privilege,
    #[error("BPF object")]
    Object(#[source] Box<EbpfError>),
    #[error("program {program} does not load")]
    Program { program: &'static str, source: Box<ProgramError> },
    #[error("the object has no program {program}")]
    MissingProgram { program: &'static str },
    #[error(transparent)]
    Map(#[from] MapError),
}

/// Why a program could not be attached or detached.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("cgroup {path} cannot be opened: a folder of a cgroup2 filesystem is needed")]
    Cgroup { path: PathBuf, source: io::Error },
    #[error(
        "program {program} cannot be attached to cgroup {path}: another program that refuses \
         company is attached there or above it"
    )]
    CgroupTaken { program: &'static str, path: PathBuf },
    #[error("program {program} cannot be attached to interface {ifindex}")]
    Interface { program: &'static str, ifindex: IfIndex, source: io::Error },
    #[error("pin {path}")]
    Pin { path: PathBuf, source: io::Error },
    #[error("program {program}: link {path}")]
    Link { program: &'static str, path: PathBuf, source: io::Error },
    #[error("program {program}")]
    Program { program: &'static str, source: Box<ProgramError> },
    #[error(transparent)]
    Map(#[from] MapError),
}
