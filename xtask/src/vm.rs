//! The programs and their fixtures on kernels other than this host's: Debian's, booted under qemu
//! without KVM.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;

use crate::{
    cache,
    initramfs::Initramfs,
    run::{output, root, run, text},
};

/// Emulated, a machine boots in some seconds and verifies each program in about one.
const TIME_LIMIT: Duration = Duration::from_secs(180);
const MEMORY_MIB: &str = "512";
const BUSYBOX: &str = "/bin/busybox";
const QEMU: &str = "qemu-system-x86_64";
/// What clsact and the fixtures' interfaces need and Debian builds as modules.
const MODULES: [&str; 3] = ["sch_ingress", "cls_bpf", "veth"];
/// Packets with what becomes of them, which the programs are held against.
const FIXTURES: &str = "ebpf/fixtures/packets";
/// The line by which the machine says that it is done.
const DONE: &str = "vm-check done: ";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Series {
    /// The oldest that is supported; without TCX
    #[value(name = "6.1")]
    Linux6_1,
    #[value(name = "6.12")]
    Linux6_12,
}

impl Series {
    /// The beginning of the package's name, up to the part that counts its versions.
    fn package_prefix(self) -> &'static str {
        match self {
            Self::Linux6_1 => "linux-image-6.1.0-",
            Self::Linux6_12 => "linux-image-6.12.",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Linux6_1 => "6.1",
            Self::Linux6_12 => "6.12",
        }
    }
}

/// Boots each of the series, or every one, and fails if a program did on any.
pub(crate) fn vm(series: &[Series]) -> Result<()> {
    for file in [BUSYBOX, &format!("/usr/bin/{QEMU}")] {
        ensure!(
            Path::new(file).exists(),
            "{file} is missing: apt-get install qemu-system-x86 busybox-static"
        );
    }
    let check = build_check()?;
    let series = if series.is_empty() { Series::value_variants() } else { series };
    let mut failed = Vec::new();
    for series in series {
        let kernel = Kernel::find(*series)?;
        println!("== Linux {} ({})", series.name(), kernel.release);
        let started = Instant::now();
        let passed = boot(&kernel, &check)?;
        println!(
            "== {} in {} s",
            if passed { "passed" } else { "FAILED" },
            started.elapsed().as_secs()
        );
        if !passed {
            failed.push(series.name());
        }
    }
    ensure!(failed.is_empty(), "failed on {}", failed.join(", "));
    Ok(())
}

/// The test program, linked so that it needs no library of the machine.
fn build_check() -> Result<PathBuf> {
    const TARGET: &str = "x86_64-unknown-linux-gnu";
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = cache::folder("vm")?.join("target");
    run(Command::new(cargo)
        .current_dir(root()?)
        .args(["build", "--quiet", "--package", "lb-check"])
        // Named, so that build scripts and macros keep the flags of the host.
        .args(["--target", TARGET])
        .env("CARGO_TARGET_DIR", &target)
        .env("RUSTFLAGS", "-Ctarget-feature=+crt-static"))?;
    Ok(target.join(TARGET).join("debug/vm-check"))
}

/// An unpacked kernel package.
struct Kernel {
    image: PathBuf,
    modules: PathBuf,
    release: String,
}

impl Kernel {
    /// Fetches the newest of the series, unless one lies in the cache already.
    fn find(series: Series) -> Result<Self> {
        let folder = cache::folder(&format!("vm/linux-{}", series.name()))?;
        if !folder.join("boot").exists() {
            let package = newest_package(series)?;
            println!("fetching {package}");
            // As root, apt would drop to a user who cannot write here, and warn that it did not.
            run(Command::new("apt-get").current_dir(&folder).args([
                "download",
                "--quiet",
                "--option",
                "APT::Sandbox::User=root",
                &package,
            ]))?;
            let archive = only_entry(&folder, ".deb")?;
            run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(&folder))?;
            fs::remove_file(archive)?;
        }
        let image = only_entry(&folder.join("boot"), "vmlinuz-")?;
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let release = name.trim_start_matches("vmlinuz-").to_owned();
        let modules = folder.join("lib/modules").join(&release);
        Ok(Self { image, modules, release })
    }

    /// The files of the modules we need, each behind those it needs itself.
    fn module_files(&self) -> Result<Vec<PathBuf>> {
        // Made by depmod at installation, so not in the package.
        let builtin = fs::read_to_string(self.modules.join("modules.builtin"))?;
        let mut files = Vec::new();
        for module in MODULES {
            if builtin.contains(&format!("/{module}.ko")) {
                continue;
            }
            let pattern = format!("{module}.ko*");
            let found = text(Command::new("find").arg(&self.modules).args(["-name", &pattern]))?;
            let file = found.lines().next().with_context(|| format!("no module {module}"))?;
            files.push(PathBuf::from(file));
        }
        Ok(files)
    }
}

fn newest_package(series: Series) -> Result<String> {
    let pattern = format!("^{}.*-cloud-amd64$", series.package_prefix().replace('.', "\\."));
    let found = text(Command::new("apt-cache").args(["search", "--names-only", &pattern]))?;
    let mut packages: Vec<&str> = found.lines().filter_map(|line| line.split(' ').next()).collect();
    let numbers = |name: &str| -> Vec<u64> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    packages.sort_by_key(|name| numbers(name));
    let newest = packages.last().with_context(|| {
        format!(
            "apt knows no {}*-cloud-amd64: on Debian 12, enable bookworm-backports and update",
            series.package_prefix()
        )
    })?;
    Ok((*newest).to_owned())
}

fn only_entry(folder: &Path, part: &str) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains(part) {
            found.push(entry.path());
        }
    }
    match <[PathBuf; 1]>::try_from(found) {
        Ok([path]) => Ok(path),
        Err(found) => bail!("{} files with {part} in {}", found.len(), folder.display()),
    }
}

/// Boots the machine and follows its console; whether every program fared well.
fn boot(kernel: &Kernel, check: &Path) -> Result<bool> {
    let archive = cache::folder("vm")?.join(format!("initramfs-{}", kernel.release));
    fs::write(&archive, image(kernel, check)?)?;
    let mut machine = Command::new(QEMU)
        // KVM is there on some hosts and hangs on others: emulation is the same everywhere.
        .args(["-accel", "tcg", "-cpu", "max", "-m", MEMORY_MIB])
        .args(["-nographic", "-no-reboot", "-nic", "none", "-append"])
        .arg("console=ttyS0 panic=-1 quiet")
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(&archive)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("qemu cannot be started")?;
    let console = machine.stdout.take().context("the console is piped")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let passed = follow(&lines);
    // It ends by itself, unless it hangs.
    let _ = machine.kill();
    machine.wait()?;
    drop(lines);
    let _ = reader.join();
    passed
}

fn follow(lines: &mpsc::Receiver<String>) -> Result<bool> {
    let deadline = Instant::now() + TIME_LIMIT;
    let mut last = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match lines.recv_timeout(left) {
            Ok(line) if line.starts_with(DONE) => return Ok(line == format!("{DONE}0")),
            Ok(line) => {
                if line.starts_with("ok ") || line.starts_with("FAIL ") {
                    println!("{line}");
                }
                last.push(line);
            }
            Err(reason) => {
                let start = last.len().saturating_sub(20);
                bail!(
                    "the machine did not come to its end ({reason}); its last words:\n{}",
                    last[start..].join("\n")
                );
            }
        }
    }
}

fn image(kernel: &Kernel, check: &Path) -> Result<Vec<u8>> {
    let mut image = Initramfs::default();
    for folder in ["bin", "dev", "proc", "sys", "modules", "bpf", "cgroup"] {
        image.folder(folder);
    }
    image.console();
    image.file("bin/busybox", 0o755, &fs::read(BUSYBOX)?);
    image.file("bin/vm-check", 0o755, &fs::read(check)?);
    let mut insert = String::new();
    for file in kernel.module_files()? {
        let path = file.to_string_lossy();
        let module = match path.strip_suffix(".xz") {
            Some(_) => output(Command::new("xz").args(["--decompress", "--stdout"]).arg(&file))?,
            None => fs::read(&file)?,
        };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_end_matches(".xz");
        image.file(&format!("modules/{name}"), 0o644, &module);
        insert.push_str(&format!("$b insmod /modules/{name}\n"));
    }
    image.folder("fixtures");
    fixtures(&mut image, &root()?.join(FIXTURES), "fixtures")?;
    image.file("init", 0o755, init(&insert).as_bytes());
    Ok(image.finish())
}

/// Puts what is in a folder, and in those below it, into a folder of the image.
fn fixtures(image: &mut Initramfs, folder: &Path, within: &str) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let within = format!("{within}/{name}");
        if path.is_dir() {
            image.folder(&within);
            fixtures(image, &path, &within)?;
        } else {
            image.file(&within, 0o644, &fs::read(&path)?);
        }
    }
    Ok(())
}

/// The first process of the machine.
fn init(insert: &str) -> String {
    format!(
        "#!/bin/busybox sh\n\
         b=/bin/busybox\n\
         # The firmware's last line has no end.\n\
         echo\n\
         $b mount -t proc proc /proc\n\
         $b mount -t sysfs sysfs /sys\n\
         $b mount -t bpf bpf /bpf\n\
         $b mount -t cgroup2 cgroup2 /cgroup\n\
         {insert}\
         $b ip link set lo up\n\
         # Forwarding, with a route to all but what the fixtures want to have none.\n\
         echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad\n\
         $b ip link add up0 type veth\n\
         $b ip link add pod0 type veth\n\
         # Their peers have the names that the kernel gives.\n\
         for name in up0 veth0 pod0 veth1; do $b ip link set $name up; done\n\
         echo 1 > /proc/sys/net/ipv4/ip_forward\n\
         echo 1 > /proc/sys/net/ipv6/conf/all/forwarding\n\
         $b ip address add 192.0.2.1/24 dev up0\n\
         $b ip address add 2001:db8:a::1/64 dev up0\n\
         $b ip route add default via 192.0.2.254\n\
         $b ip -6 route add default via 2001:db8:a::254\n\
         $b ip route add unreachable 203.0.113.0/24\n\
         $b ip -6 route add unreachable 2001:db8:dead::/48\n\
         $b mkdir /cgroup/check\n\
         /bin/vm-check /bpf /cgroup/check up0 pod0 /fixtures\n\
         echo \"{DONE}$?\"\n\
         $b poweroff -f\n"
    )
}
