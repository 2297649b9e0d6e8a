//! An OpenBGPD of our own: its configuration, its processes, and its words.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;

use super::{
    netns::{Netns, ip, output},
    node::PORT,
    other::Also,
    setup::OTHERS,
};

/// FRR has a daemon of this name too, outside PATH.
const BGPD: &str = "/usr/sbin/bgpd";

/// Where the package has its engines shut in.
const CHROOT: &str = "/run/openbgpd";

pub(crate) struct OpenBgpd {
    /// The namespace lasts as long as this.
    _netns: Arc<Netns>,
    folder: TempDir,
    process: Child,
}

impl OpenBgpd {
    /// Starts OpenBGPD as 192.0.2.2 in `asn` with a neighbour 192.0.2.1 in `peer_asn`, of which
    /// `options` says more; `globals` stands beside it.
    pub(crate) fn start(
        netns: Arc<Netns>,
        asn: u32,
        peer_asn: u32,
        options: &str,
        globals: &str,
        also: &[Also],
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let [v4_route, v6_route] = OTHERS;
        let all = [(1, peer_asn, options)].into_iter().chain(also.iter().copied());
        let neighbours: String = all.map(neighbour).collect();
        let text = format!(
            "AS {asn}
router-id 192.0.2.2
fib-update no
holdtime 9
connect-retry 1
socket \"{socket}\"
listen on 192.0.2.2 port {PORT}
network {v4_route} set nexthop 192.0.2.2
network {v6_route} set nexthop 2001:db8::2
{globals}
{neighbours}allow from any
allow to any
",
            socket = folder.path().join("ctl").display(),
        );
        let file = folder.path().join("bgpd.conf");
        fs::write(&file, text).unwrap();
        // It reads no file that others can.
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir_all(CHROOT).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(BGPD);
        command.arg("-d").arg("-f").arg(file);
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        // On Linux it takes for its IPv6 next hop what it finds on loopback, whatever it is told.
        netns.run(|| {
            ip("addr del ::1/128 dev lo");
            ip("addr add 2001:db8::2/128 dev lo nodad");
        });
        let process = netns.run(move || command.spawn().expect("OpenBGPD's bgpd"));
        let bgpd = Self { _netns: netns, folder, process };
        bgpd.wait_for_answers();
        bgpd
    }

    fn bgpctl(&self, question: &str) -> Command {
        let mut command = Command::new("bgpctl");
        command.arg("-s").arg(self.folder.path().join("ctl")).args(question.split_whitespace());
        command
    }

    fn wait_for_answers(&self) {
        let end = Instant::now() + Duration::from_secs(20);
        let answers = || {
            let mut command = self.bgpctl("show summary");
            command.stdin(Stdio::null()).output().expect("bgpctl").status.success()
        };
        while !answers() {
            assert!(Instant::now() < end, "OpenBGPD does not start: {}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    /// What `bgpctl` answers.
    pub(crate) fn ask(&self, question: &str) -> String {
        output(&mut self.bgpctl(question))
    }

    /// The routes of one prefix with their attributes.
    pub(crate) fn route(&self, prefix: &str) -> Value {
        let said = self.ask(&format!("-j show rib detail {prefix}"));
        serde_json::from_str(&said).unwrap()
    }

    /// All about its neighbour.
    pub(crate) fn neighbour(&self) -> Value {
        serde_json::from_str(&self.ask("-j show neighbor 192.0.2.1")).unwrap()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for OpenBgpd {
    fn drop(&mut self) {
        // The parent ends its engines; without it they would have to notice.
        let pid = Pid::from_raw(self.process.id().cast_signed());
        let _dead = kill(pid, Signal::SIGTERM);
        let _waited = self.process.wait();
    }
}

fn neighbour((number, peer_asn, options): (u8, u32, &str)) -> String {
    format!(
        "neighbor 192.0.2.{number} {{
    remote-as {peer_asn}
    local-address 192.0.2.2
    port {PORT}
    announce IPv4 unicast
    announce IPv6 unicast
{options}
}}
"
    )
}
