//! A GoBGP of our own: its configuration, its process, and its words.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use bgp_speaker::Config;
use tempfile::TempDir;

use super::{
    netns::{Netns, output},
    node::{Node, PORT, v4, v6},
    other::Also,
    setup::{OWN, linked},
};

/// What a GoBGP announces.
pub(crate) const GOBGPS: [&str; 2] = ["203.0.113.0/24", "2001:db8:aa00::/40"];

/// A GoBGP of `asn` and a node as `ours` with a session, both in sync, on one thread. `options` are
/// those of [`neighbour`].
pub(crate) fn with_gobgp_and(
    options: &'static str,
    asn: u32,
    ours: Config,
    test: impl AsyncFnOnce(GoBgp, Node) + Send + 'static,
) {
    linked(async move |netns| {
        let gobgp =
            GoBgp::start(netns, asn, (["192.0.2.2", "192.0.2.1"], ours.asn.to_u32(), options), &[]);
        let node = Node::start(ours, &OWN);
        node.wait("gobgp's routes", async |node| {
            node.hops(GOBGPS[0]) == [v4(2)] && node.hops(GOBGPS[1]) == [v6(2)]
        })
        .await;
        let has_ours = || OWN.iter().all(|own| gobgp.routes().contains(own));
        node.wait("gobgp has ours", async |_| has_ours()).await;
        test(gobgp, node).await;
    });
}

pub(crate) struct GoBgp {
    netns: Arc<Netns>,
    folder: TempDir,
    process: Option<Child>,
}

impl GoBgp {
    /// Starts GoBGP as 192.0.2.2 in `asn` with a session between two addresses, of whose other side
    /// `options` say more, and neighbours beside it. Its clients talk to it over loopback, which is
    /// the namespace's own.
    pub(crate) fn start(
        netns: Arc<Netns>,
        asn: u32,
        (ends, peer_asn, options): ([&str; 2], u32, &str),
        also: &[Also],
    ) -> Self {
        let mut config = format!(
            "[global.config]
             as = {asn}
             router-id = \"192.0.2.2\"
             port = {PORT}\n"
        );
        config += &neighbour(ends, peer_asn, options);
        for &(number, peer_asn, options) in also {
            let ends = ["192.0.2.2", &format!("192.0.2.{number}")];
            config += &neighbour(ends, peer_asn, options);
        }
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("gobgp.toml"), config).unwrap();
        let mut gobgp = Self { netns, folder, process: None };
        gobgp.run(&[]);
        gobgp
    }

    /// Starts the process again after [`Self::kill`]: it knows that it has been there before.
    pub(crate) fn recover(&mut self) {
        self.run(&["-r"]);
    }

    /// SIGKILL: no word to anybody.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn run(&mut self, options: &[&str]) {
        let at = |name: &str| self.folder.path().join(name);
        let log = fs::File::create(at("log")).unwrap();
        let mut command = Command::new("gobgpd");
        command.arg("-f").arg(at("gobgp.toml")).arg("-p").args(options);
        command.args(["--api-hosts", "127.0.0.1:50051"]);
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        self.process = Some(self.netns.run(move || command.spawn().expect("gobgpd")));
        self.wait_for_answers();
        for (family, route, hop) in
            [("ipv4", GOBGPS[0], "192.0.2.2"), ("ipv6", GOBGPS[1], "2001:db8::2")]
        {
            self.ask(&format!("global rib add -a {family} {route} nexthop {hop}"));
        }
    }

    fn wait_for_answers(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        let answers = || {
            let mut command = Command::new("gobgp");
            command.arg("global").stdin(Stdio::null());
            self.netns.run(move || command.output().expect("gobgp").status.success())
        };
        while !answers() {
            assert!(Instant::now() < end, "gobgpd does not start: {}", self.log());
            sleep(Duration::from_millis(20));
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn ask(&self, question: &str) -> String {
        let mut command = Command::new("gobgp");
        command.args(question.split_whitespace());
        self.netns.run(move || output(&mut command))
    }

    /// The same, for which it has no words where there is nothing.
    pub(crate) fn try_ask(&self, question: &str) -> Option<String> {
        let mut command = Command::new("gobgp");
        command.args(question.split_whitespace()).stdin(Stdio::null());
        let said = self.netns.run(move || command.output().expect("gobgp"));
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).into_owned())
    }

    /// What it knows of both families.
    pub(crate) fn routes(&self) -> String {
        self.ask("global rib -a ipv4") + &self.ask("global rib -a ipv6")
    }
}

impl Drop for GoBgp {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A neighbour, by the two ends of its session. The options are settings of its own, then after a `|` tables below it, then
/// after another tables below each of its families.
fn neighbour([local, peer]: [&str; 2], peer_asn: u32, options: &str) -> String {
    let mut options = options.split('|');
    let mut next = || options.next().unwrap_or_default();
    let [own, tables, family] = [next(), next(), next()];
    let families = ["ipv4-unicast", "ipv6-unicast"].map(|name| {
        format!(
            "[[neighbors.afi-safis]]
             [neighbors.afi-safis.config]
             afi-safi-name = \"{name}\"
             {family}\n"
        )
    });
    format!(
        "[[neighbors]]
         [neighbors.config]
         neighbor-address = \"{peer}\"
         peer-as = {peer_asn}
         {own}
         [neighbors.timers.config]
         hold-time = 9
         connect-retry = 1
         idle-hold-time-after-reset = 1
         [neighbors.transport.config]
         local-address = \"{local}\"
         remote-port = {PORT}
         {families}
         {tables}\n",
        families = families.concat(),
    )
}
