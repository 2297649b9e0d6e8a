//! `viaduct reflector` as whoever has no privilege at all, and its file read again.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use viaduct_lab::{viaduct, wait_for};

const LIMIT: Duration = Duration::from_secs(30);
const NOBODY: &str = "65534";

/// A reflector on an address of loopback.
struct Reflector {
    child: Child,
    config: std::path::PathBuf,
    socket: String,
}

impl Reflector {
    fn start(folder: &Path, number: u8, config: &str) -> Result<Self> {
        let at = |name: &str| folder.join(format!("{name}-{number}"));
        fs::write(at("config"), config)?;
        let mut command = Command::new("setpriv");
        command.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--no-new-privs"]);
        command.args(["--bounding-set", "-all", "--inh-caps", "-all"]);
        command.arg(folder.join("viaduct")).arg("reflector").arg("--config").arg(at("config"));
        command.arg("--node-ip").arg(format!("127.0.0.{number}"));
        command.arg("--run-dir").arg(at("run"));
        let log = fs::File::create(at("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().context("start setpriv: is util-linux installed?")?;
        let socket = at("run").join("admin.sock").display().to_string();
        Ok(Self { child, config: at("config"), socket })
    }

    fn ask(&self, command: &[&str]) -> Result<Value> {
        let arguments = [command, &["--socket", &self.socket, "-o", "json"]].concat();
        let answers: Value = serde_json::from_str(&viaduct(&arguments)?)?;
        Ok(answers[0]["answer"].clone())
    }

    fn reread(&self, config: &str) -> Result<()> {
        fs::write(&self.config, config)?;
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGHUP)?;
        Ok(())
    }

    fn established(&self) -> Result<Value> {
        let peers = self.ask(&["bgp", "peers"])?;
        ensure!(peers[0]["state"] == "Established", "{peers}");
        Ok(peers)
    }
}

impl Drop for Reflector {
    fn drop(&mut self) {
        // Nothing is left to be done where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(port: u16, peer: &str) -> String {
    format!(
        "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\nmetadata: {{name: default}}\n\
         spec: {{asn: 64512, listenPort: {port}}}\n---\n\
         apiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: other}}\n\
         spec: {{port: {port}, {peer}}}\n"
    )
}

#[test]
fn a_reflector_needs_no_privilege_and_rereads_its_file() {
    run().unwrap();
}

fn run() -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "these tests need root");
    let folder = tempfile::tempdir()?;
    // Where nobody may read it.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
    let built = std::env::var_os("VIADUCT_BIN").context("VIADUCT_BIN: run it by `make test`")?;
    fs::copy(Path::new(&built).join("viaduct"), folder.path().join("viaduct"))?;
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();

    let client = config(port, "address: 127.0.0.2, asn: 64512, reflectorClient: true");
    let one = Reflector::start(folder.path(), 1, &client)?;
    let other =
        Reflector::start(folder.path(), 2, &config(port, "address: 127.0.0.1, asn: 64512"))?;
    for reflector in [&one, &other] {
        wait_for("the session", LIMIT, || reflector.established().map(drop))?;
    }
    let status = fs::read_to_string(format!("/proc/{}/status", one.child.id()))?;
    for line in ["CapEff:\t0000000000000000", &format!("Uid:\t{NOBODY}\t")] {
        ensure!(status.contains(line), "{line} is not in {status}");
    }
    let problems = || Ok::<_, anyhow::Error>(one.ask(&["status"])?["problems"].to_string());

    one.reread(&config(port, "address: 127.0.0.2, asn: 64513, reflectorClient: true"))?;
    wait_for("what is wrong to be shown", LIMIT, || {
        let problems = problems()?;
        ensure!(problems.contains("reflectorClient"), "{problems}");
        Ok(())
    })?;
    one.reread(&config(port, "address: 127.0.0.2, asn: 64512"))?;
    wait_for("the file to be taken", LIMIT, || {
        let problems = problems()?;
        ensure!(problems == "[]", "{problems}");
        Ok(())
    })?;
    for reflector in [&one, &other] {
        let peers = reflector.established()?;
        ensure!(peers[0]["flaps"] == 0, "a client that is none any more has flapped: {peers}");
    }
    Ok(())
}
