//! `viaduct reflector` as whoever has no privilege at all, and its file read again: when it is asked
//! to, and when the file has become another.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixStream,
    },
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
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

    fn hang_up(&self) -> Result<()> {
        kill(Pid::from_raw(self.child.id().try_into()?), Signal::SIGHUP)?;
        Ok(())
    }

    /// What is wrong is shown with a part of `text`; none is what is right.
    fn shows(&self, text: Option<&str>) -> Result<()> {
        wait_for("what the file is found to be", LIMIT, || {
            let problems = self.ask(&["status"])?["problems"].to_string();
            ensure!(text.map_or(problems == "[]", |text| problems.contains(text)), "{problems}");
            Ok(())
        })
    }

    /// How many changes of the configuration the events tell of.
    fn taken(&self) -> Result<usize> {
        let events = self.ask(&["bgp", "events"])?;
        let all = events.as_array().context("no events")?;
        Ok(all.iter().filter(|event| event["kind"] == "configuration").count())
    }

    fn has_taken(&self, times: usize) -> Result<()> {
        wait_for("the file to be taken", LIMIT, || {
            let taken = self.taken()?;
            ensure!(taken == times, "{taken} of {times}");
            Ok(())
        })
    }

    /// As an editor writes.
    fn rename_over(&self, config: &str) -> Result<()> {
        let staged = self.config.with_extension("swp");
        fs::write(&staged, config)?;
        Ok(fs::rename(staged, &self.config)?)
    }

    /// As a kubelet writes a ConfigMap, one version after another.
    fn swap(&self, folder: &Path, version: &str, config: &str) -> Result<()> {
        let name = self.config.file_name().context("a file has a name")?;
        fs::create_dir(folder.join(version))?;
        fs::write(folder.join(version).join(name), config)?;
        let link = |to: &Path, at: &Path| -> Result<()> {
            let staged = at.with_file_name("..data_tmp");
            symlink(to, &staged)?;
            Ok(fs::rename(staged, at)?)
        };
        link(Path::new(version), &folder.join("..data"))?;
        if !self.config.is_symlink() {
            link(&Path::new("..data").join(name), &self.config)?;
        }
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
    // In place, and nobody says so.
    fs::write(
        &one.config,
        config(port, "address: 127.0.0.2, asn: 64513, reflectorClient: true, holdTimeSeconds: 1"),
    )?;
    one.shows(Some("reflectorClient"))?;
    one.shows(Some("holdTimeSeconds"))?;
    let begun = one.taken()?;
    let peer = |hold: u16| {
        config(port, &format!("address: 127.0.0.2, asn: 64512, holdTimeSeconds: {hold}"))
    };
    fs::write(&one.config, peer(80))?;
    one.has_taken(begun + 1)?;
    one.shows(None)?;
    one.rename_over(&peer(81))?;
    one.has_taken(begun + 2)?;
    for (number, version) in (0..).zip(["..1", "..2", "..3"]) {
        one.swap(folder.path(), version, &peer(82 + number))?;
        one.has_taken(begun + 3 + usize::from(number))?;
    }
    // Asked to, it reads a file that is as it was.
    one.hang_up()?;
    one.rename_over("spec: {}")?;
    one.shows(Some("apiVersion"))?;
    one.rename_over(&peer(84))?;
    one.shows(None)?;
    one.has_taken(begun + 5)?;
    compared(&one, folder.path(), port)?;
    for reflector in [&one, &other] {
        let peers = reflector.established()?;
        ensure!(peers[0]["flaps"] == 0, "a client that is none any more has flapped: {peers}");
    }
    Ok(())
}

/// Another file is compared with what runs, and changes nothing of it. A password is seen to be another
/// and seen by nobody.
fn compared(reflector: &Reflector, folder: &Path, port: u16) -> Result<()> {
    let password = folder.join("password");
    fs::write(&password, "first of two")?;
    let file = folder.join("new");
    let keyed = format!(", passwordFile: {}", password.display());
    let spec = |keyed: &str, others: &str| {
        config(port, &format!("address: 127.0.0.2, asn: 64512, holdTimeSeconds: 84{keyed}{others}"))
    };
    let changes = || -> Result<Value> {
        let (file, running) = (file.display().to_string(), ["--against", "running"]);
        let arguments = [&["bgp", "check", &file][..], &running, &["-o", "json"]].concat();
        let arguments = [&arguments[..], &["--socket", &reflector.socket]].concat();
        Ok(serde_json::from_str::<Value>(&viaduct(&arguments)?)?["changes"].clone())
    };
    fs::write(&file, spec("", ""))?;
    ensure!(changes()?["changed"] == json!([]), "{}", changes()?);
    fs::write(&file, spec(&keyed, ", passive: true"))?;
    let changed = changes()?["changed"][0].clone();
    ensure!(changed["fields"] == json!(["passive", "passwordFile"]), "{changed}");
    ensure!(changed["endsSession"] == json!(["passwordFile"]), "{changed}");

    // A neighbour that nobody is, with a password that becomes another.
    let silent = spec("", "")
        + &format!(
            "---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: silent}}\n\
             spec: {{address: 127.0.0.3, asn: 64512, passive: true{keyed}}}\n"
        );
    reflector.rename_over(&silent)?;
    wait_for("the neighbour", LIMIT, || {
        let peers = reflector.ask(&["bgp", "peers"])?;
        ensure!(peers.as_array().is_some_and(|peers| peers.len() == 2), "{peers}");
        Ok(())
    })?;
    fs::write(&file, silent)?;
    ensure!(changes()?["changed"] == json!([]), "{}", changes()?);
    fs::write(&password, "second of two")?;
    let changed = changes()?["changed"][0].clone();
    ensure!(changed["name"] == "silent" && changed["fields"] == json!(["password"]), "{changed}");
    ensure!(changed["endsSession"] == json!(["password"]), "{changed}");
    let shown = http(&reflector.socket, "/v1/bgp/configuration")?;
    ensure!(shown.contains("passwords") && !shown.contains("of two"), "{shown}");
    Ok(())
}

fn http(socket: &str, path: &str) -> Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    write!(stream, "GET {path} HTTP/1.0\r\nhost: viaduct\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
