//! The tests of TCP-AO (RFC 5925) under a kernel that has it, which Debian's have not: User Mode Linux of
//! Debian's source, a process like any other, whose root is this machine's.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{
    cache,
    run::{root, run},
};

const SOURCE: &str = "linux-source-6.12";
const BUSYBOX: &str = "/bin/busybox";
const MEMORY: &str = "mem=1G";
/// Sessions that must not come about are given their time.
const TIME_LIMIT: Duration = Duration::from_secs(300);
const DONE: &str = "tcp-ao done: ";

/// What the smallest configuration lacks for our tests: TCP-AO with both algorithms, namespaces with
/// links, and what libraries take for granted.
const OPTIONS: &[&str] = &[
    "64BIT",
    "PRINTK",
    "BINFMT_ELF",
    "BINFMT_SCRIPT",
    "HOSTFS",
    "PROC_FS",
    "PROC_SYSCTL",
    "SYSFS",
    "TMPFS",
    "SHMEM",
    "EPOLL",
    "EVENTFD",
    "TIMERFD",
    "SIGNALFD",
    "FUTEX",
    "POSIX_TIMERS",
    "HIGH_RES_TIMERS",
    "FILE_LOCKING",
    "INOTIFY_USER",
    "MULTIUSER",
    "ADVISE_SYSCALLS",
    "MEMBARRIER",
    "NAMESPACES",
    "NET_NS",
    "NET",
    "UNIX",
    "PACKET",
    "INET",
    "IPV6",
    "IP_MULTICAST",
    "TCP_MD5SIG",
    "TCP_AO",
    "NETDEVICES",
    "NET_CORE",
    "VETH",
    "CRYPTO_AES",
    "CRYPTO_CMAC",
    "CRYPTO_HMAC",
    "CRYPTO_SHA1",
    "TTY",
    "STDERR_CONSOLE",
];

pub(crate) fn tcp_ao() -> Result<()> {
    let folder = cache::folder("tcp-ao")?;
    let kernel = kernel(&folder)?;
    let tests = build_tests()?;
    let (init, log) = (folder.join("init"), folder.join("log"));
    fs::write(&init, init_text(&tests, &log)?)?;
    run(Command::new("chmod").arg("+x").arg(&init))?;
    boot(&kernel, &init)?;
    let said = fs::read_to_string(&log).context("the machine has said nothing")?;
    print!("{said}");
    ensure!(said.ends_with(&format!("{DONE}0\n")), "failed");
    Ok(())
}

/// Builds it, unless one lies in the cache already: some minutes.
fn kernel(folder: &Path) -> Result<PathBuf> {
    let source = folder.join(SOURCE);
    let kernel = source.join("linux");
    if kernel.exists() {
        return Ok(kernel);
    }
    println!("fetching {SOURCE}");
    run(Command::new("apt-get").current_dir(folder).args([
        "download",
        "--quiet",
        "--option",
        "APT::Sandbox::User=root",
        SOURCE,
    ]))?;
    let archive = only(folder, ".deb")?;
    run(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(folder))?;
    fs::remove_file(archive)?;
    let packed = folder.join(format!("usr/src/{SOURCE}.tar.xz"));
    run(Command::new("tar")
        .arg("--extract")
        .arg("--directory")
        .arg(folder)
        .arg("--file")
        .arg(packed))?;
    fs::remove_dir_all(folder.join("usr"))?;
    println!("building it");
    let make = |target: &str| {
        let jobs = thread::available_parallelism().map_or(1, Into::into);
        let mut make = Command::new("make");
        make.current_dir(&source).args(["--silent", "ARCH=um", &format!("--jobs={jobs}"), target]);
        run(make.stdout(Stdio::null()))
    };
    // To be merged with the smallest.
    let options: String = OPTIONS.iter().map(|option| format!("CONFIG_{option}=y\n")).collect();
    fs::write(source.join("arch/um/configs/viaduct.config"), options)?;
    make("tinyconfig")?;
    make("viaduct.config")?;
    let chosen = fs::read_to_string(source.join(".config"))?;
    for option in OPTIONS {
        let line = format!("CONFIG_{option}=y");
        ensure!(chosen.lines().any(|one| one == line), "{SOURCE} cannot be built with {line}");
    }
    make("linux")?;
    Ok(kernel)
}

fn only(folder: &Path, end: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(end) {
            return Ok(path);
        }
    }
    bail!("no {end} in {}", folder.display())
}

/// The programs that hold the tests, as cargo names them.
fn build_tests() -> Result<Vec<PathBuf>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo)
        .current_dir(root()?)
        .args(["test", "--no-run", "--quiet", "--package", "bgpd", "--lib", "--test", "interop"])
        .args(["--message-format", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .context("cargo cannot be started")?;
    let output = build.stdout.take().context("the output is piped")?;
    let mut programs = Vec::new();
    for line in BufReader::new(output).lines() {
        let message: Value = serde_json::from_str(&line?)?;
        let is_test = message["profile"]["test"] == true;
        programs.extend(message["executable"].as_str().filter(|_| is_test).map(PathBuf::from));
    }
    ensure!(build.wait()?.success(), "the tests cannot be built");
    ensure!(programs.len() == 2, "{} programs with tests", programs.len());
    Ok(programs)
}

/// The first process of the machine. Not busybox: before there is a /proc it takes for itself what is
/// behind the machine's, the kernel.
fn init_text(tests: &[PathBuf], log: &Path) -> Result<String> {
    let (place, log) = (root()?.join("bgpd"), log.display().to_string());
    // By what their names have in common; each at a time, for the machine has one processor.
    let runs = tests
        .iter()
        .map(|test| format!("{} tcp --test-threads 1 || failed=$((failed + 1))\n", test.display()));
    Ok(format!(
        "#!/bin/sh\n\
         exec >{log} 2>&1\n\
         export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sysfs /sys\n\
         mount -t tmpfs tmpfs /run\n\
         ip link set lo up\n\
         uname -sr\n\
         cd {place}\n\
         failed=0\n\
         {runs}\
         echo \"{DONE}$failed\"\n\
         {BUSYBOX} poweroff -f\n",
        place = place.display(),
        runs = runs.collect::<String>(),
    ))
}

fn boot(kernel: &Path, init: &Path) -> Result<()> {
    let mut machine = Command::new(kernel)
        .args([MEMORY, "quiet", "rootfstype=hostfs", "rootflags=/", "rw", "con=null", "con0=null"])
        .arg(format!("init={}", init.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("the kernel cannot be started")?;
    let deadline = Instant::now() + TIME_LIMIT;
    while machine.try_wait()?.is_none() {
        if Instant::now() > deadline {
            machine.kill()?;
            machine.wait()?;
            bail!("the machine has not come to its end in {} s", TIME_LIMIT.as_secs());
        }
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}
