//! The example application as docs/microservices.md tells it: every command of the page is run, and
//! what it prints is what the page says. After each of them the application still answers, with
//! the answers of all six services.

mod page;
mod tree;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use viaduct_lab::{Cluster, Options, wait_for};

use crate::page::Step;

const NAME: &str = "e2e-example";
const PORT: u16 = 18090;
/// A page shows what is there in the end; a command that shows it may be a moment too early.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn the_page_is_true() {
    let mut options = Options::new(NAME, PORT);
    options.apps.clear();
    let cluster = Cluster::up(&options).unwrap();
    let result = walk(&cluster);
    if let Err(error) = &result {
        eprintln!("{error:#}");
        cluster.print_drops();
        cluster.print_logs();
    }
    result.unwrap();
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn walk(cluster: &Cluster) -> Result<()> {
    let page = fs::read_to_string(root().join("docs/microservices.md"))?;
    let steps = page::steps(&page);
    ensure!(steps.len() > 10, "{} commands are on the page", steps.len());
    let mut definitions = prelude(cluster);
    // Deleted, the application answers nobody until it is applied again.
    let mut there = true;
    for step in &steps {
        println!("$ {}", step.command);
        if step.is_definition() {
            definitions += &define(step, &definitions)?;
            continue;
        }
        perform(step, &definitions)?;
        if step.command.starts_with("kubectl delete -f") {
            there = false;
        } else if step.command.starts_with("kubectl apply -f") {
            wait_for("the application", LIMIT, || tree::check(cluster))?;
            there = true;
        } else if there {
            tree::check(cluster).with_context(|| format!("after `{}`", step.command))?;
        }
    }
    Ok(())
}

/// What a definition leaves behind for the commands after it.
fn define(step: &Step, definitions: &str) -> Result<String> {
    let command = ours(&step.command);
    if command.starts_with("alias ") {
        return Ok(format!("\n{command}"));
    }
    let (name, _) = command.split_once('=').context("no definition")?;
    // Its value is that of now, as it is in a shell that goes on.
    let value = run(&format!("{definitions}\n{command}\nprintf %q \"${name}\""))?;
    ensure!(value != "''", "`{}` gives nothing", step.command);
    Ok(format!("\n{name}={value}"))
}

/// Runs a command. What only looks is run again until it shows what the page does.
fn perform(step: &Step, definitions: &str) -> Result<()> {
    let script = format!("{definitions}\n{}", ours(&step.command));
    let looks = ["kubectl get", "kubectl rollout history", "nsenter", "viaduct"];
    if !looks.iter().any(|one| step.command.starts_with(one)) {
        return compare(step, &run(&script)?);
    }
    wait_for(&step.command, LIMIT, || compare(step, &run(&script)?))
}

fn compare(step: &Step, printed: &str) -> Result<()> {
    match step.missing(printed) {
        None => Ok(()),
        Some(line) => bail!("`{}`: the page shows `{line}`, but:\n{printed}", step.command),
    }
}

/// What the page's words mean in this cluster.
fn prelude(cluster: &Cluster) -> String {
    let bin = std::env::var("VIADUCT_BIN").unwrap_or_default();
    let kubectl = std::env::var("KUBECTL").unwrap_or_else(|_| "kubectl".to_owned());
    format!(
        "set -euo pipefail; shopt -s expand_aliases\n\
         kubectl() {{ command {kubectl} \"$@\"; }}\n\
         viaduct() {{ {bin}/viaduct \"$@\" --cluster {}; }}",
        cluster.name
    )
}

/// The page speaks of the cluster that `make up` makes.
fn ours(command: &str) -> String {
    command
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{PORT}"))
        .replace("/run/netns/viaduct.", &format!("/run/netns/{NAME}."))
}

fn run(script: &str) -> Result<String> {
    let cache = tempfile::tempdir()?;
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(root())
        .env_remove("KUBECONFIG")
        .env("KUBECACHEDIR", cache.path())
        .stdin(Stdio::null())
        .output()
        .context("start bash")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{}:\n{script}\n{text}{why}", output.status);
    }
    Ok(text)
}
