//! The daemons under test: what each is told for a case, and how it is started. All of them listen
//! and wait for the peers, take everything, tell everything, and put nothing into the kernel.

mod bird;
mod frr;
mod gobgp;
mod openbgpd;
mod viaduct;

use std::{fs, net::Ipv4Addr, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use clap::ValueEnum;
use tempfile::TempDir;
use viaduct_lab::Shell;

use super::{
    lab::Lab,
    layout::{Layout, peer_address},
    process::Processes,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Daemon {
    Viaduct,
    Bird,
    Frr,
    Gobgp,
    Openbgpd,
}

impl Daemon {
    pub(crate) const ALL: [Self; 5] =
        [Self::Viaduct, Self::Bird, Self::Frr, Self::Gobgp, Self::Openbgpd];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Viaduct => "viaduct",
            Self::Bird => "bird",
            Self::Frr => "frr",
            Self::Gobgp => "gobgp",
            Self::Openbgpd => "openbgpd",
        }
    }

    /// How it is kept from doing more than the others.
    pub(crate) const fn confined_by(self) -> &'static str {
        match self {
            Self::Viaduct => "`viaduct reflector`: no kernel routes",
            Self::Bird => "no kernel protocol",
            Self::Frr => "bgpd -n: no routes to zebra, which runs for next hops",
            Self::Gobgp => "no zebra: it has no kernel routes of its own",
            Self::Openbgpd => "fib-update no",
        }
    }

    pub(crate) fn version(self) -> Result<String> {
        match self {
            Self::Viaduct => viaduct::version(),
            Self::Bird => bird::version(),
            Self::Frr => frr::version(),
            Self::Gobgp => gobgp::version(),
            Self::Openbgpd => openbgpd::version(),
        }
    }
}

/// A daemon with its folder, which goes with it.
pub(crate) struct Running {
    daemon: Daemon,
    place: Place,
    pub processes: Processes,
}

/// Where a daemon has its files and its network.
struct Place {
    folder: TempDir,
    shell: Shell,
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }
}

/// A neighbour, as every daemon is told of it.
struct Neighbour {
    address: Ipv4Addr,
    asn: u32,
}

fn neighbours(layout: &Layout) -> impl Iterator<Item = Neighbour> {
    let layout = *layout;
    (0..layout.peers())
        .map(move |peer| Neighbour { address: peer_address(peer), asn: layout.peer_asn(peer) })
}

impl Running {
    pub(crate) fn start(daemon: Daemon, lab: &Lab, layout: &Layout) -> Result<Self> {
        let place = Place { folder: TempDir::new()?, shell: lab.daemon.shell() };
        let mut running = Self { daemon, place, processes: Processes::default() };
        match daemon {
            Daemon::Viaduct => viaduct::configure(&running.place, layout),
            Daemon::Bird => bird::configure(&running.place, layout),
            Daemon::Frr => frr::configure(&running.place, layout),
            Daemon::Gobgp => gobgp::configure(&running.place, layout),
            Daemon::Openbgpd => openbgpd::configure(&running.place, layout),
        }?;
        running.run()?;
        Ok(running)
    }

    /// Starts the processes, also again after they were killed.
    pub(crate) fn run(&mut self) -> Result<()> {
        let (place, processes) = (&self.place, &mut self.processes);
        let mut start = |name: &str, command| processes.start(name, command, place.folder.path());
        match self.daemon {
            Daemon::Viaduct => start("viaduct", viaduct::command(place)?),
            Daemon::Bird => start("bird", bird::command(place)),
            Daemon::Frr => frr::commands(place)?.into_iter().try_for_each(|(n, c)| start(n, c)),
            Daemon::Gobgp => start("gobgpd", gobgp::command(place)),
            Daemon::Openbgpd => start("bgpd", openbgpd::command(place)),
        }
    }
}

impl Running {
    /// Where Viaduct is asked.
    pub(crate) fn admin_socket(&self) -> PathBuf {
        self.place.path("run").join("admin.sock")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.daemon == Daemon::Frr {
            frr::remove(&self.place);
        }
    }
}

/// The first line of what a program says of itself, on either output.
fn says(program: impl AsRef<std::ffi::OsStr>, argument: &str) -> Result<String> {
    let program = program.as_ref();
    let output = Command::new(program).arg(argument).output().with_context(|| {
        format!("{} is not there: xtask/deps.sh bench-bgp", program.to_string_lossy())
    })?;
    let both = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&both);
    Ok(text.lines().next().unwrap_or("of unknown version").trim().to_owned())
}
