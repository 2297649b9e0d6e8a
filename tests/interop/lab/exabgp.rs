//! An ExaBGP of our own. It has no table: what it has been told it hands to a process beside it, in
//! lines of JSON, and takes its orders from there.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::Value;
use tempfile::TempDir;

use super::{netns::Netns, node::PORT, setup::OTHERS};

pub(crate) struct ExaBgp {
    /// The namespace lasts as long as this.
    _netns: Arc<Netns>,
    folder: TempDir,
    process: Child,
    orders: File,
}

impl ExaBgp {
    /// Starts ExaBGP as 192.0.2.2 in `asn` with a session between two addresses, of whose other side
    /// `options` says more. `routes` is what it tells, or, where that is empty, one route of each
    /// family.
    pub(crate) fn start(
        netns: Arc<Netns>,
        asn: u32,
        ([local, peer], peer_asn, options): ([&str; 2], u32, &str),
        routes: &str,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name);
        let [v4_route, v6_route] = OTHERS;
        let own =
            format!("route {v4_route} next-hop 192.0.2.2; route {v6_route} next-hop 2001:db8::2;");
        let routes = if routes.is_empty() { &own } else { routes };
        let text = format!(
            "process watch {{ run {script}; encoder json; }}
             neighbor {peer} {{
                 router-id 192.0.2.2; local-address {local}; local-as {asn}; peer-as {peer_asn};
                 connect {PORT}; hold-time 9; {options}
                 family {{ ipv4 unicast; ipv6 unicast; }}
                 api {{
                     processes [ watch ]; neighbor-changes;
                     receive {{ parsed; open; update; notification; refresh; }}
                 }}
                 static {{ {routes} }}
             }}\n",
            script = at("watch").display(),
        );
        fs::write(at("conf"), text).unwrap();
        mkfifo(&at("orders"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        // What it says goes to a file; what is written into the FIFO goes to it.
        let script = format!(
            "#!/bin/sh\ncat <'{}' &\nexec cat >'{}'\n",
            at("orders").display(),
            at("said").display()
        );
        fs::write(at("watch"), script).unwrap();
        fs::set_permissions(at("watch"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(at("said"), "").unwrap();
        // Both ends, so that neither this side nor the other waits or sees an end.
        let orders = OpenOptions::new().read(true).write(true).open(at("orders")).unwrap();
        let log = File::create(at("log")).unwrap();
        let mut command = Command::new("exabgp");
        for (name, value) in [
            ("exabgp.daemon.user", "root"),
            ("exabgp.tcp.bind", ""),
            ("exabgp.api.cli", "false"),
            ("exabgp.api.ack", "false"),
            ("exabgp.log.packets", "false"),
        ] {
            command.env(name, value);
        }
        command.arg(at("conf")).stdin(Stdio::null());
        command.stderr(log.try_clone().unwrap()).stdout(log);
        let process = netns.run(move || command.spawn().expect("exabgp"));
        Self { _netns: netns, folder, process, orders }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// One command of its API, such as `announce route …`.
    pub(crate) fn order(&self, command: &str) {
        (&self.orders).write_all(format!("{command}\n").as_bytes()).unwrap();
    }

    /// Everything it has said of the neighbour so far, whole lines of it.
    pub(crate) fn said(&self) -> Vec<Value> {
        let said = fs::read_to_string(self.at("said")).unwrap();
        let whole = said.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The same as it is, and what it has written of itself.
    pub(crate) fn log(&self) -> String {
        let said = fs::read_to_string(self.at("said")).unwrap();
        said + &fs::read_to_string(self.at("log")).unwrap()
    }

    /// What it has been told of a prefix since its session came up, by path identifier, in the
    /// order of the words: attributes and the next hop.
    pub(crate) fn route(&self, prefix: &str) -> Vec<(Value, String)> {
        let mut paths = BTreeMap::new();
        for value in self.said() {
            let neighbor = &value["neighbor"];
            if neighbor["state"] == "down" {
                paths.clear();
            }
            let update = &neighbor["message"]["update"];
            for withdrawn in entries(&update["withdraw"]).flat_map(elements) {
                if withdrawn["nlri"] == prefix {
                    paths.remove(&withdrawn["path-information"].to_string());
                }
            }
            for (hop, told) in entries(&update["announce"]).flat_map(pairs) {
                for told in elements(told).filter(|told| told["nlri"] == prefix) {
                    let id = told["path-information"].to_string();
                    paths.insert(id, (update["attribute"].clone(), hop.clone()));
                }
            }
        }
        paths.into_values().collect()
    }
}

fn pairs(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn entries(object: &Value) -> impl Iterator<Item = &Value> {
    pairs(object).map(|(_, value)| value)
}

fn elements(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

impl Drop for ExaBgp {
    fn drop(&mut self) {
        let _dead = self.process.kill();
        let _waited = self.process.wait();
    }
}
