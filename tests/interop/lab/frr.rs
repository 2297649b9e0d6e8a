//! An FRR of our own: zebra, bfdd and bgpd in one namespace, with their sockets in a folder of their
//! own, so that any number of them live side by side.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::unistd::{User, chown};
use tempfile::TempDir;

use super::{
    netns::{Netns, output},
    node::PORT,
};

/// Where Debian and FRR's own packages have the daemons.
const DAEMONS: &str = "/usr/lib/frr";

/// What the daemons read at their start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FrrConfig<'a> {
    pub(crate) bgpd: &'a str,
    pub(crate) bfdd: &'a str,
}

pub(crate) struct Frr {
    netns: Arc<Netns>,
    folder: TempDir,
    /// In the order of their start.
    processes: Vec<(&'static str, Child)>,
}

impl Frr {
    /// Starts the three in a namespace and waits until each answers. bgpd listens at [`PORT`].
    pub(crate) fn start(netns: Arc<Netns>, config: FrrConfig<'_>) -> Self {
        // They leave root behind and make their sockets themselves.
        let folder = TempDir::new().unwrap();
        give_to_frr(folder.path());
        let mut frr = Self { netns, folder, processes: Vec::new() };
        for (daemon, text) in [("zebra", ""), ("bfdd", config.bfdd), ("bgpd", config.bgpd)] {
            let file = frr.at(&format!("{daemon}.conf"));
            fs::write(&file, text).unwrap();
            give_to_frr(&file);
            frr.run(daemon);
        }
        frr
    }

    /// Starts one of them, again if need be.
    pub(crate) fn run(&mut self, daemon: &'static str) {
        let mut command = Command::new(Path::new(DAEMONS).join(daemon));
        command.arg("-z").arg(self.at("zserv.api")).arg("--vty_socket").arg(self.folder.path());
        command.arg("-i").arg(self.at(&format!("{daemon}.pid")));
        command.arg("-f").arg(self.at(&format!("{daemon}.conf")));
        match daemon {
            "bfdd" => command.arg("--bfdctl").arg(self.at("bfdctl.sock")),
            "bgpd" => command.arg("-p").arg(PORT.to_string()),
            _ => &mut command,
        };
        let log = fs::File::create(self.at(&format!("{daemon}.log"))).unwrap();
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        let socket = self.at(&format!("{daemon}.vty"));
        // Left from a process that was killed, it would look like an answer.
        let _absent = fs::remove_file(&socket);
        let process = self.netns.run(move || command.spawn().expect("frr"));
        self.processes.push((daemon, process));
        let end = Instant::now() + Duration::from_secs(20);
        while !socket.exists() {
            assert!(Instant::now() < end, "{daemon} does not start: {}", self.log(daemon));
            sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: no word to anybody.
    pub(crate) fn kill(&mut self, daemon: &str) {
        let index = self.processes.iter().position(|(name, _)| *name == daemon).expect(daemon);
        let (_, mut process) = self.processes.remove(index);
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Where it lives.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    /// What `vtysh` answers; several commands, such as those that configure, one a line.
    pub(crate) fn ask(&self, commands: &str) -> String {
        let mut vtysh = Command::new("vtysh");
        vtysh.arg("--vty_socket").arg(self.folder.path());
        for command in commands.lines() {
            vtysh.arg("-c").arg(command.trim());
        }
        output(&mut vtysh)
    }

    pub(crate) fn log(&self, daemon: &str) -> String {
        fs::read_to_string(self.at(&format!("{daemon}.log"))).unwrap()
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        while let Some((_, mut process)) = self.processes.pop() {
            // Where it has died already there is nothing to be ended.
            let _dead = process.kill();
            let _waited = process.wait();
        }
    }
}

fn give_to_frr(path: &Path) {
    let user = User::from_name("frr").unwrap().expect("the package frr makes a user frr");
    chown(path, Some(user.uid), Some(user.gid)).unwrap();
}
