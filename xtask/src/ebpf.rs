//! The BPF object: built by a toolchain of its own, committed, and compared.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    cache,
    run::{root, run, text},
};

/// Debian's rustc-web: its `core` for bpfel is prebuilt.
const RUSTC: &str = "/usr/bin/rustc";
const CARGO: &str = "/usr/bin/cargo";
const TARGET: &str = "bpfel-unknown-none";
const LINKER_VERSION: &str = "0.13.0";
/// The LLVM that the linker is built against; rustc's own must not be newer.
const LLVM: &str = "/usr/lib/llvm-22";
const PACKAGES: &str = "rustc-web cargo-web libstd-rust-web-dev-bpf llvm-22-dev";

const OBJECT: &str = "ebpf/program/viaduct.bpf.o";
/// The toolchain that built the committed object.
const RECORD: &str = "ebpf/program/toolchain.txt";

/// Builds the object and writes it, and the toolchain, in place of what is committed.
pub(crate) fn update() -> Result<()> {
    let root = root()?;
    let toolchain = Toolchain::find()?;
    let built = build(&root, &toolchain)?;
    let committed = fs::read(root.join(OBJECT)).unwrap_or_default();
    if built == committed {
        println!("{OBJECT} is up to date");
    } else {
        fs::write(root.join(OBJECT), &built)?;
        println!("{OBJECT} written, {} bytes", built.len());
    }
    fs::write(root.join(RECORD), toolchain.record()?)?;
    Ok(())
}

/// Fails where the committed object is not what its sources give.
pub(crate) fn check() -> Result<()> {
    let root = root()?;
    let toolchain = Toolchain::find()?;
    let built = build(&root, &toolchain)?;
    let committed = fs::read(root.join(OBJECT)).with_context(|| format!("no {OBJECT}"))?;
    if built == committed {
        println!("{OBJECT} is what its sources give");
        return Ok(());
    }
    let recorded = fs::read_to_string(root.join(RECORD)).with_context(|| format!("no {RECORD}"))?;
    let found = toolchain.record()?;
    ensure!(
        recorded != found,
        "{OBJECT} is not what its sources give: run `cargo xtask ebpf` and commit the result"
    );
    println!("the toolchain is not the recorded one, so the object differs; testing what it built");
    println!("recorded:\n{recorded}found:\n{found}");
    test_with(&root.join(OBJECT), &built, &committed)
}

/// Runs the tests of the loader with the rebuilt object in the place of the committed one.
fn test_with(object: &Path, built: &[u8], committed: &[u8]) -> Result<()> {
    fs::write(object, built)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let result =
        run(Command::new(cargo).args(["test", "--package", "lb-maps", "--package", "lb-check"]));
    fs::write(object, committed)?;
    result
}

struct Toolchain {
    linker: PathBuf,
}

impl Toolchain {
    /// Finds the toolchain, and builds the linker where it is missing.
    fn find() -> Result<Self> {
        for file in [RUSTC, CARGO] {
            ensure!(Path::new(file).exists(), "{file} is missing: apt-get install {PACKAGES}");
        }
        let core = format!("/usr/lib/rustlib/{TARGET}");
        ensure!(Path::new(&core).exists(), "{core} is missing: apt-get install {PACKAGES}");
        ensure!(Path::new(LLVM).exists(), "{LLVM} is missing: apt-get install {PACKAGES}");
        let tools = cache::folder("tools")?;
        let linker = tools.join("bin/bpf-linker");
        if !linker.exists() {
            println!("building bpf-linker {LINKER_VERSION}, which takes some minutes once");
            let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            run(Command::new(cargo)
                .args(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked"])
                .args(["--no-default-features", "--features", "llvm-22", "--root"])
                .arg(&tools)
                // The folder of this workspace would be locked against other builds.
                .env_remove("CARGO_TARGET_DIR")
                .env("LLVM_PREFIX", LLVM))?;
        }
        Ok(Self { linker })
    }

    /// What decides about the bytes of the object, apart from the sources.
    fn record(&self) -> Result<String> {
        let rustc = text(Command::new(RUSTC).arg("--version"))?;
        let linker = text(Command::new(&self.linker).arg("--version"))?;
        let strip = text(Command::new(format!("{LLVM}/bin/llvm-strip")).arg("--version"))?;
        let llvm = strip.lines().find(|line| line.contains("version")).unwrap_or("LLVM").trim();
        Ok(format!("{rustc}\n{linker}\n{llvm}\n"))
    }
}

fn build(root: &Path, toolchain: &Toolchain) -> Result<Vec<u8>> {
    let folder = cache::folder("ebpf")?;
    let (stage, target) = (folder.join("stage"), folder.join("target"));
    lay_out(root, &stage)?;
    let mut flags = vec![
        // Read by aya-ebpf: the layout of registers of the machine that will run the object.
        "--cfg=bpf_target_arch=\"x86_64\"".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("--remap-path-prefix={}=viaduct", stage.display()),
    ];
    flags.extend(remapped_registries()?);
    run(Command::new(CARGO)
        .args(["build", "--quiet", "--release", "--locked", "--package", "viaduct-bpf"])
        .args(["--target", TARGET])
        .current_dir(&stage)
        .env("RUSTC", RUSTC)
        // The target is one that only nightly compilers offer.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        // Not one of the flags, of which a digest goes into the names of symbols.
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        // Set by the cargo that runs us, for its own toolchain.
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO"))?;
    let object = folder.join("viaduct.bpf.o");
    fs::copy(target.join(TARGET).join("release/viaduct-bpf"), &object)?;
    // DWARF goes, BTF stays.
    run(Command::new(format!("{LLVM}/bin/llvm-strip")).arg("-g").arg(&object))?;
    Ok(fs::read(&object)?)
}

/// Lays the three crates out as a workspace of their own, see `ebpf/program/workspace.toml`.
fn lay_out(root: &Path, stage: &Path) -> Result<()> {
    if stage.exists() {
        fs::remove_dir_all(stage)?;
    }
    fs::create_dir(stage)?;
    let ebpf = root.join("ebpf");
    fs::copy(ebpf.join("program/workspace.toml"), stage.join("Cargo.toml"))?;
    fs::copy(ebpf.join("program/Cargo.lock"), stage.join("Cargo.lock"))?;
    for package in ["abi", "datapath", "program"] {
        fs::create_dir(stage.join(package))?;
        let manifest = fs::read_to_string(ebpf.join(package).join("Cargo.toml"))?;
        // What their tests on the host need is none of this workspace's.
        let manifest = manifest.split("[dev-dependencies]").next().unwrap_or_default();
        fs::write(stage.join(package).join("Cargo.toml"), manifest)?;
        copy_folder(&ebpf.join(package).join("src"), &stage.join(package).join("src"))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// The sources of dependencies lie in a folder named after where they were fetched from.
fn remapped_registries() -> Result<Vec<String>> {
    let home = match env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => PathBuf::from(env::var_os("HOME").context("HOME is not set")?).join(".cargo"),
    };
    let sources = home.join("registry/src");
    let Ok(entries) = fs::read_dir(&sources) else {
        bail!("no sources of dependencies in {}: run `cargo fetch` first", sources.display());
    };
    entries
        .map(|entry| Ok(format!("--remap-path-prefix={}=registry", entry?.path().display())))
        .collect()
}
