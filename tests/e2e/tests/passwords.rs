//! Nodes have the password of a neighbour from a Secret: BIRD in place of the border knows it, too.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use viaduct_lab::{Cluster, Options, Shell, wait_for};

const LIMIT: Duration = Duration::from_secs(40);
const NAME: &str = "e2e-passwords";

/// A BIRD in the border's namespace.
struct Bird {
    child: Child,
    shell: Shell,
    folder: tempfile::TempDir,
    border: String,
    nodes: Vec<String>,
}

impl Bird {
    fn start(cluster: &Cluster, password: &str) -> Result<Self> {
        let plan = &cluster.report["cluster"];
        let address = |host: &Value| host["v4"].as_str().map(str::to_owned);
        let nodes = plan["nodes"].as_array().context("no nodes")?;
        let nodes: Option<Vec<String>> = nodes.iter().map(address).collect();
        let (nodes, border) =
            (nodes.context("no address")?, address(&plan["border"]).context("no border")?);
        let (folder, shell) = (tempfile::tempdir()?, cluster.host("border"));
        let config = folder.path().join("bird.conf");
        fs::write(&config, configuration(&border, &nodes, password))?;
        let mut command = shell.command("bird");
        let command = command.arg("-f").arg("-c").arg(&config).arg("-s");
        let child = command.arg(folder.path().join("ctl")).stdout(Stdio::null()).spawn();
        let child = child.context("start bird: is bird2 installed?")?;
        Ok(Self { child, shell, folder, border, nodes })
    }

    fn ask(&self, question: &str) -> Result<String> {
        let control = self.folder.path().join("ctl");
        let control = control.to_str().context("a folder that is not UTF-8")?;
        self.shell.run("birdc", &["-s", control, question])
    }

    fn set_password(&self, password: &str) -> Result<()> {
        let config = self.folder.path().join("bird.conf");
        fs::write(config, configuration(&self.border, &self.nodes, password))?;
        self.ask("configure")?;
        Ok(())
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        // Nothing is left to be done where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(border: &str, nodes: &[String], password: &str) -> String {
    let mut text =
        format!("log stderr {{ fatal, bug }};\nrouter id {border};\nprotocol device {{}}\n");
    for (number, node) in nodes.iter().enumerate() {
        text += &format!(
            "protocol bgp n{number} {{ local {border} as 64600; neighbor {node} as 64512; \
             password \"{password}\"; error wait time 1, 2; connect retry time 1; connect delay time 1; \
             ipv4 {{ import all; export none; }}; ipv6 {{ import all; export none; }}; }}\n",
        );
    }
    text
}

/// SIGSTOP to the API server: it answers nobody and refuses nobody.
struct Stopped(String);

impl Stopped {
    fn server(cluster: &Cluster) -> Result<Self> {
        let pid = cluster.pid("control.server")?.to_string();
        ensure!(Command::new("kill").args(["-s", "STOP", &pid]).status()?.success(), "kill {pid}");
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It is gone where this fails.
        let _ = Command::new("kill").args(["-s", "CONT", &self.0]).status();
    }
}

#[test]
fn a_password_is_that_of_the_secret() {
    run().unwrap();
}

fn run() -> Result<()> {
    ensure!(Path::new("/usr/sbin/bird").exists(), "bird2 is not installed: make deps-test");
    let mut options = Options::new(NAME, 18083);
    options.nodes = 2;
    options.arguments = ["--bare", "--no-border"].map(str::to_owned).into();
    let cluster = Cluster::up(&options)?;
    let bird = Bird::start(&cluster, "one")?;
    let result = check(&cluster, &bird);
    if result.is_err() {
        cluster.print_logs();
        eprintln!("{}", bird.ask("show protocols all").unwrap_or_default());
    }
    result
}

fn check(cluster: &Cluster, bird: &Bird) -> Result<()> {
    // Neither the neighbour without its password nor anybody else waits for the other.
    let of_secret = json!({"spec": {"passwordSecretRef": {"name": "border"}}}).to_string();
    cluster.kubectl(&["patch", "bgppeer", "border", "--type=merge", "-p", &of_secret])?;
    held_down(
        cluster,
        bird,
        "Secret kube-system/border is missing: kubectl -n kube-system create",
    )?;
    another_peer(cluster, "later", "192.0.2.77")?;

    secret(cluster, &json!({"passwd": "one"}))?;
    held_down(cluster, bird, "Secret kube-system/border has no key `password`")?;
    secret(cluster, &json!({"password": "one\n"}))?;
    established(cluster, bird)?;

    // What nobody has named is nobody's business; another password ends the session, once.
    cluster.kubectl(&["-n", "kube-system", "label", "secret", "border", "of=transit"])?;
    secret(cluster, &json!({"password": "one\n", "other": "x"}))?;
    secret(cluster, &json!({"password": "two"}))?;
    wait_for("the sessions to end", LIMIT, || {
        let protocols = bird.ask("show protocols")?;
        ensure!(!protocols.contains("Established"), "{protocols}");
        Ok(())
    })?;
    bird.set_password("two")?;
    established(cluster, bird)?;
    for node in &cluster.nodes {
        changes(cluster, node, bird)?;
    }

    // A daemon that starts without the server has its passwords, and nobody else has.
    let state = PathBuf::from("/var/lib/viaduct").join(NAME).join("nodes/node-1/network");
    let file = state.join("passwords.json");
    ensure!(fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600, "{}", file.display());
    ensure!(fs::read_to_string(&file)?.contains("dHdv"), "{}", file.display());
    let view = fs::read_to_string(state.join("view.json"))?;
    ensure!(view.contains("passwordSecretRef") && !view.contains("dHdv"), "the view: {view}");
    let stopped = Stopped::server(cluster)?;
    cluster.kill("node-1.node")?;
    established(cluster, bird)?;
    drop(stopped);

    // The same password under another name is no other password.
    let same = ["create", "secret", "generic", "renamed", "--from-literal=password=two"];
    cluster.kubectl(&[&["-n", "kube-system"], &same[..]].concat())?;
    let renamed = json!({"spec": {"passwordSecretRef": {"name": "renamed"}}}).to_string();
    cluster.kubectl(&["patch", "bgppeer", "border", "--type=merge", "-p", &renamed])?;
    another_peer(cluster, "last", "192.0.2.78")?;
    cluster.kubectl(&["-n", "kube-system", "delete", "secret", "border"])?;
    changes(cluster, "node-2", bird)?;
    established(cluster, bird)?;

    cluster.kubectl(&["patch", "bgppeer", "border", "--type=merge", "-p", &of_secret])?;
    held_down(cluster, bird, "Secret kube-system/border is missing")?;
    wait_for("the file to go", LIMIT, || {
        ensure!(!file.exists(), "{} is still there", file.display());
        Ok(())
    })?;
    secret(cluster, &json!({"password": "two"}))?;
    established(cluster, bird)
}

/// What has been changed of the border so far, and how often a session has been ended for it. BIRD ends
/// some of its own accord when it is told another password.
fn changes(cluster: &Cluster, node: &str, bird: &Bird) -> Result<()> {
    let events = cluster.node_json(node, &["bgp", "events", "--peer", &bird.border])?;
    let events = events.as_array().context("no events")?;
    let of = |kind: &str| -> Vec<&str> {
        let these = events.iter().filter(|event| event["kind"] == kind);
        these.filter_map(|event| event["text"].as_str()).collect()
    };
    let (missing, password) = ("what is wanting", "password, key or TTL");
    let wanted = [
        format!("changed: {missing}"),
        format!("changed: {missing}"),
        format!("changed: {password}, {missing}"),
        format!("changed: {password}"),
    ];
    ensure!(of("configuration") == wanted, "{node}: {:?}", of("configuration"));
    // Both may have connected at once.
    let mut told = of("notification-sent");
    told.retain(|text| *text != "connection collision resolution (6/7)");
    ensure!(told == ["other configuration change (6/6)"], "{node}: {told:?}");
    Ok(())
}

fn secret(cluster: &Cluster, values: &Value) -> Result<()> {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": "border", "namespace": "kube-system"}, "stringData": values,
    });
    // In place of what it held.
    let exists = cluster.kubectl(&["-n", "kube-system", "get", "secret", "border"]).is_ok();
    let verb = if exists { "replace" } else { "create" };
    cluster.kubectl_with_input(&[verb, "-f", "-"], &secret.to_string())?;
    Ok(())
}

/// By the time that it is there all that was changed before it has been taken over.
fn another_peer(cluster: &Cluster, name: &str, address: &str) -> Result<()> {
    let another = json!({
        "apiVersion": "viaduct.dev/v1alpha1", "kind": "BGPPeer", "metadata": {"name": name},
        "spec": {"address": address, "asn": 64601, "passive": true},
    });
    cluster.apply(&another.to_string())?;
    wait_for(&format!("peer {name}"), LIMIT, || {
        for node in &cluster.nodes {
            peer(cluster, node, address)?;
        }
        Ok(())
    })
}

fn peer(cluster: &Cluster, node: &str, address: &str) -> Result<Value> {
    let peers = cluster.node_json(node, &["bgp", "peers"])?;
    let found = peers.as_array().into_iter().flatten().find(|peer| peer["address"] == *address);
    found.cloned().with_context(|| format!("{address} is not among {peers}"))
}

/// The border alone is down, and every node says why.
fn held_down(cluster: &Cluster, bird: &Bird, why: &str) -> Result<()> {
    wait_for("the border to be held down", LIMIT, || {
        for node in &cluster.nodes {
            let border = peer(cluster, node, &bird.border)?;
            let error = border["lastError"].as_str().unwrap_or_default();
            ensure!(error.starts_with("passwordSecretRef: ") && error.contains(why), "{border}");
            ensure!(border["state"] == "Idle", "{border}");
            let status = cluster.node_json(node, &["status"])?;
            let problems = status["problems"].as_array().cloned().unwrap_or_default();
            let expected = format!("BGP peer {}: {error}", bird.border);
            ensure!(problems == [json!(expected)], "the problems are {problems:?}");
            ensure!(status["peersEstablished"] == 1, "{status}");
        }
        Ok(())
    })
}

fn established(cluster: &Cluster, bird: &Bird) -> Result<()> {
    wait_for("the sessions with BIRD", LIMIT, || {
        let protocols = bird.ask("show protocols")?;
        let up = protocols.lines().filter(|line| line.contains("Established")).count();
        ensure!(up == cluster.nodes.len(), "{up} are established:\n{protocols}");
        for node in &cluster.nodes {
            let border = peer(cluster, node, &bird.border)?;
            ensure!(border["state"] == "Established", "{border}");
            let status = cluster.node_json(node, &["status"])?;
            ensure!(status["problems"] == json!([]), "{status}");
        }
        Ok(())
    })
}
