//! The chores of the repository that cargo does not do: `cargo xtask --help`.

mod cache;
mod ebpf;
mod initramfs;
mod run;
mod tidy;
mod vm;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "The chores of the repository that cargo does not do")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the BPF object and put it in place of the committed one
    Ebpf {
        /// Change nothing: compare with the committed object, or, where the toolchain is another
        /// than the recorded one, test what it built
        #[arg(long)]
        check: bool,
    },
    /// Hold the crates against the rules of the house: who may import whom, unsafe, length of files
    Tidy,
    /// Load and attach every BPF program on other kernels, in a virtual machine, and run the fixtures
    Vm {
        /// The series to boot; both where none is named
        #[arg(long)]
        kernel: Vec<vm::Series>,
    },
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().chore {
        Chore::Ebpf { check: false } => ebpf::update(),
        Chore::Ebpf { check: true } => ebpf::check(),
        Chore::Tidy => tidy::tidy(),
        Chore::Vm { kernel } => vm::vm(&kernel),
    }
}
