//! The page in a browser: it shows the cluster as it is, and follows what happens to it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};
use viaduct_lab::{Browser, Cluster, Load, run, wait_for};

use crate::routing::socket;

/// Of the size that the page must be readable at.
const WINDOW: (u32, u32) = (1280, 800);
/// Ten times what it should take.
const LIMIT: Duration = Duration::from_secs(30);
/// Each time that a daemon is killed its supervisor waits longer, and in the end long enough for
/// the page, which looks once a second.
const KILLS_MAX: usize = 8;

const SCALED: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: scaled}
spec:
  replicas: 1
  selector: {matchLabels: {app: scaled}}
  template:
    metadata: {labels: {app: scaled}}
    spec:
      containers: [{name: echo, image: viaduct.dev/echo:latest, imagePullPolicy: Never}]
"#;
/// No node takes it, so that nobody but the test writes its status.
const HOSTILE: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: hostile}
spec:
  nodeSelector: {nowhere: here}
  containers: [{name: echo, image: viaduct.dev/echo:latest, imagePullPolicy: Never}]
"#;
const MARKUP: &str = "<img src=x onerror=\"document.title='taken'\"><script>alert(1)</script>";
const SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: held}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  selector: {app: echo}
  ports: [{name: http, port: 80, targetPort: 8080, protocol: TCP}]
"#;
const INSIDE: u64 = 9;
const OUTSIDE: u64 = 7;

pub(crate) fn shows_the_cluster(cluster: &Cluster) -> Result<()> {
    let browser = open(cluster)?;
    all_is_well(cluster, &browser)?;
    let nodes = browser.script(
        "return [...document.querySelectorAll('#drawing [data-node] .name')].map(e => e.textContent)",
    )?;
    let mut drawn: Vec<&str> =
        nodes.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    drawn.sort_unstable();
    ensure!(drawn == cluster.nodes, "the drawing has nodes {drawn:?}");
    for speaker in cluster.report["speakers"].as_array().context("no speakers in the report")? {
        let name = speaker["name"].as_str().context("a speaker without name")?;
        let found = format!("return !!document.querySelector('#drawing [data-speaker={name:?}]')");
        ensure!(browser.script(&found)? == true, "the drawing has no {name}");
    }
    // The same sessions in words.
    let rows = "return document.querySelectorAll('#session-list tbody tr').length";
    let good = "return document.querySelectorAll('#session-list tbody td.good').length";
    let rows = browser.script(rows)?;
    ensure!(rows.as_u64() > Some(0), "no sessions in the table");
    ensure!(browser.script(good)? == rows, "not all of {rows} sessions are established");
    // A table that is asked for when it is opened.
    browser.script("document.querySelector('#node-list summary').click()")?;
    wait_for("the routes of a node", LIMIT, || {
        let rows =
            browser.script("return document.querySelectorAll('#node-list tbody tr').length")?;
        ensure!(rows.as_u64().unwrap_or(0) >= 4, "{rows} routes");
        Ok(())
    })?;
    browser.script("document.querySelector('#node-list summary').click()")?;
    let overflow = "return document.documentElement.scrollWidth - window.innerWidth";
    ensure!(browser.script(overflow)?.as_i64() <= Some(0), "the page is wider than the window");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    Ok(())
}

pub(crate) fn counts_open_connections(cluster: &Cluster) -> Result<()> {
    cluster.apply(SERVICE)?;
    let counted = count(cluster);
    cluster.kubectl(&["delete", "service", "held"])?;
    counted
}

fn count(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let (cluster_ips, vips) = wait_for("addresses of the service", LIMIT, || {
        let (cluster_ips, vips, _) = cluster.service("held")?;
        ensure!(cluster_ips.len() == 2 && vips.len() == 2, "{cluster_ips:?} {vips:?}");
        Ok((cluster_ips, vips))
    })?;
    let shell = cluster.pod_shell(&pods[0])?;
    let outside = cluster.host("outside");
    for (place, ip) in [(&shell, cluster_ips[0]), (&outside, vips[0])] {
        let url = format!("http://{}/", socket(ip, 80));
        wait_for(&url, LIMIT, || place.ask("get", &url, 3)?.none_lost(&url))?;
    }
    let browser = open(cluster)?;
    let begun = Instant::now();
    let mut held = Vec::new();
    for (place, ip, number) in [(&shell, cluster_ips[0], INSIDE), (&outside, vips[0], OUTSIDE)] {
        let url = format!("http://{}/slow?600000", socket(ip, 80));
        let number = number.to_string();
        let options = ["-n", &number, "--in-flight", &number, "--interval-ms", "5"];
        let arguments = [&["get", &url][..], &options, &["--timeout-ms", "600000"]].concat();
        held.push(Load::start(place, &arguments)?);
    }
    wait_for("the held connections on the page", LIMIT, || shown(&browser, INSIDE, OUTSIDE))?;
    println!("{} connections shown {:?} after they began", INSIDE + OUTSIDE, begun.elapsed());
    // The same in the commands, which add up what each node has led to the backends.
    let mut told = 0;
    for node in &cluster.nodes {
        let services = cluster.node_json(node, &["services", "held"])?;
        let frontends = services[0]["frontends"].as_array().into_iter().flatten();
        let backends = frontends.flat_map(|one| one["backends"].as_array().into_iter().flatten());
        told += backends.filter_map(|backend| backend["connections"].as_u64()).sum::<u64>();
    }
    ensure!(told == INSIDE + OUTSIDE, "`viaduct services` counts {told}");
    browser.screenshot(&artifact("page-connections.png"))?;
    let ended = Instant::now();
    // Killed: one that is asked to end waits for the answers that it has not got yet.
    drop(held);
    wait_for("no open connection on the page", LIMIT, || shown(&browser, 0, 0))?;
    println!("none shown {:?} after they ended", ended.elapsed());
    Ok(())
}

/// Whether the page has these counts of the service, by way and by backend.
fn shown(browser: &Browser, inside: u64, outside: u64) -> Result<()> {
    let article = "document.querySelector('[data-service=\"default/held\"]')";
    let text = browser.text(&format!("return {article}?.textContent ?? 'no such service'"))?;
    let counts = browser.script(&format!(
        "return [...{article}?.querySelectorAll('.count') ?? []].map(e => Number(e.textContent))"
    ))?;
    let counts: Vec<u64> =
        counts.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
    ensure!(counts.len() == 3, "{} backends: {text}", counts.len());
    ensure!(counts.iter().sum::<u64>() == inside + outside, "{counts:?}: {text}");
    for (way, count) in [("ClusterIP", inside), ("LoadBalancer", outside)] {
        let named = text.contains(&format!("{count} by {way}"));
        ensure!(named == (count > 0), "{count} by {way}: {text}");
    }
    Ok(())
}

pub(crate) fn follows_a_deployment(cluster: &Cluster) -> Result<()> {
    let browser = open(cluster)?;
    cluster.apply(SCALED)?;
    let followed = scale(cluster, &browser);
    cluster.kubectl(&["delete", "deployment", "scaled"])?;
    followed?;
    wait_for("its pods to leave the page", LIMIT, || ready_on_the_page(&browser, 0))
}

fn scale(cluster: &Cluster, browser: &Browser) -> Result<()> {
    wait_for("one pod", LIMIT, || ready_on_the_page(browser, 1))?;
    for count in [4, 1] {
        let begun = Instant::now();
        cluster.kubectl(&["scale", "deployment", "scaled", &format!("--replicas={count}")])?;
        wait_for(&format!("{count} pods"), LIMIT, || ready_on_the_page(browser, count))?;
        println!("scaled to {count}: on the page {:?} after", begun.elapsed());
        if count == 4 {
            browser.screenshot(&artifact("page-scaled.png"))?;
        }
    }
    let events = browser.text("return document.getElementById('event-list').textContent")?;
    ensure!(events.contains("pod scaled-") && events.contains(": ready"), "{events}");
    Ok(())
}

/// Whether the nodes' cards have so many pods of the deployment, all of them ready.
fn ready_on_the_page(browser: &Browser, count: usize) -> Result<()> {
    let pods = browser.script(
        "return [...document.querySelectorAll('#nodes li[title^=\"default/scaled-\"]')].map(e => e.textContent)",
    )?;
    let pods: Vec<&str> = pods.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    ensure!(pods.len() == count && pods.iter().all(|pod| pod.ends_with("ready")), "{pods:?}");
    Ok(())
}

/// A text that somebody has put into the cluster is text on the page, whatever it looks like.
pub(crate) fn shows_markup_as_text(cluster: &Cluster) -> Result<()> {
    let browser = open(cluster)?;
    let title = browser.text("return document.title")?;
    cluster.apply(HOSTILE)?;
    let patch = json!({"status": {"reason": MARKUP}}).to_string();
    let arguments = ["patch", "pod", "hostile", "--subresource=status", "--type=merge", "-p"];
    let shown = cluster.kubectl(&[&arguments[..], &[&patch]].concat()).and_then(|_| {
        wait_for("the text", LIMIT, || {
            let text = browser.text("return document.getElementById('node-list').textContent")?;
            ensure!(text.contains(MARKUP), "{text}");
            Ok(())
        })
    });
    let made = browser.script("return document.querySelectorAll('img, main script').length");
    cluster.kubectl(&["delete", "pod", "hostile"])?;
    shown?;
    ensure!(made? == 0, "markup was read as such");
    ensure!(browser.text("return document.title")? == title, "a script of others has run");
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:?}");
    Ok(())
}

/// A daemon that lives and says nothing: its process is stopped for a while.
pub(crate) fn shows_a_silent_node(cluster: &Cluster) -> Result<()> {
    let browser = open(cluster)?;
    all_is_well(cluster, &browser)?;
    let node = &cluster.nodes[2];
    let pid = cluster.pid(&format!("{node}.node"))?;
    kill(pid, Signal::SIGSTOP)?;
    let begun = Instant::now();
    let dead =
        format!("return !!document.querySelector('#drawing [data-node={node:?}] rect.dead')");
    let seen = wait_for("the node to be shown silent", LIMIT, || {
        ensure!(browser.script(&dead)? == true, "it is shown as if all were well");
        Ok(begun.elapsed())
    });
    let card = browser.text(&format!(
        "return document.querySelector('#node-list [data-node={node:?}]').textContent"
    ));
    let kept = browser.screenshot(&artifact("page-node-silent.png"));
    // Before anything of it is looked at: the cluster must go on.
    kill(pid, Signal::SIGCONT)?;
    println!("a silent node shown {:?} after its daemon was stopped", seen?);
    kept?;
    let card = card?;
    ensure!(card.contains("silent for") && card.contains("no answer"), "{card}");
    all_is_well(cluster, &browser)?;
    ensure!(browser.script(&dead)? == false, "it is still shown as silent");
    Ok(())
}

pub(crate) fn shows_a_lost_session(cluster: &Cluster) -> Result<()> {
    let browser = open(cluster)?;
    all_is_well(cluster, &browser)?;
    let node = &cluster.nodes[1];
    let process = format!("{node}.node");
    let down =
        format!("return !!document.querySelector('path.session.down[data-session*=\"{node}\"]')");
    let mut seen = None;
    for _ in 0..KILLS_MAX {
        let pid = cluster.pid(&process)?;
        let killed = Instant::now();
        kill(pid, Signal::SIGKILL)?;
        while seen.is_none() && killed.elapsed() < Duration::from_secs(5) {
            if browser.script(&down)? == true {
                seen = Some(killed.elapsed());
                browser.screenshot(&artifact("page-session-down.png"))?;
            }
        }
        wait_for(&format!("{process} to be started again"), LIMIT, || {
            ensure!(cluster.pid(&process)? != pid, "it still has pid {pid}");
            Ok(())
        })?;
        if seen.is_some() {
            break;
        }
    }
    let Some(took) = seen else {
        bail!("{node} was killed {KILLS_MAX} times, and no session shown down")
    };
    println!("a session shown down {took:?} after its daemon was killed");
    all_is_well(cluster, &browser)?;
    let events = browser.text("return document.getElementById('event-list').textContent")?;
    for word in [&format!("{node} "), "down", "established"] {
        ensure!(events.contains(word.trim()), "no `{word}` in: {events}");
    }
    browser.screenshot(&artifact("page-session-up.png"))?;
    Ok(())
}

pub(crate) fn says_that_the_server_is_lost(cluster: &Cluster) -> Result<()> {
    let browser = open(cluster)?;
    all_is_well(cluster, &browser)?;
    let pid = cluster.pid("control.server")?;
    kill(pid, Signal::SIGKILL)?;
    let hidden = "return document.getElementById('lost').hidden";
    wait_for("the banner", LIMIT, || {
        ensure!(browser.script(hidden)? == false, "it is not shown");
        Ok(())
    })?;
    wait_for("the banner to go", LIMIT, || {
        ensure!(browser.script(hidden)? == true, "it is still shown");
        Ok(())
    })?;
    wait_for("another server", LIMIT, || {
        ensure!(cluster.pid("control.server")? != pid, "it still has pid {pid}");
        Ok(())
    })?;
    all_is_well(cluster, &browser)
}

/// Whoever is not root reads why he sees nothing.
pub(crate) fn refuses_others(cluster: &Cluster) -> Result<()> {
    let url = url(cluster)?;
    let status = ["-s", "-w", "\n%{http_code}"];
    let others = ["--reuid", "65534", "--clear-groups", "curl"];
    let refused = run("setpriv", &[&others[..], &status, &[url]].concat())?;
    ensure!(refused.ends_with("\n403") && refused.contains("for root"), "{refused}");
    let events = format!("{url}events");
    let refused = run("setpriv", &[&others[..], &status, &[&events]].concat())?;
    ensure!(refused.ends_with("\n403"), "{refused}");
    // Nor does it answer to a name that a page elsewhere may let point here.
    let foreign = [&status[..], &["-H", "Host: elsewhere.example", &events]].concat();
    let refused = run("curl", &foreign)?;
    ensure!(refused.ends_with("\n403"), "{refused}");
    let given = run("curl", &["-s", "-D", "-", url])?;
    ensure!(given.contains("content-security-policy: default-src 'none'"), "{given}");
    Ok(())
}

fn url(cluster: &Cluster) -> Result<&str> {
    cluster.report["page"].as_str().context("no page in the report of `up`")
}

fn open(cluster: &Cluster) -> Result<Browser> {
    Browser::open(url(cluster)?, WINDOW.0, WINDOW.1)
}

/// Every node is ready and every session that the plan has is established.
fn all_is_well(cluster: &Cluster, browser: &Browser) -> Result<()> {
    let ends = cluster.report["sessions"].as_object().context("no sessions in the report")?;
    let sessions = ends.values().filter_map(Value::as_u64).sum::<u64>() / 2;
    let nodes = cluster.nodes.len();
    wait_for("the whole cluster on the page", LIMIT, || {
        for (id, count) in [("nodes", nodes as u64), ("sessions", sessions)] {
            let chip = browser.text(&format!(
                "return document.querySelector('#sum-{id} b')?.textContent ?? ''"
            ))?;
            ensure!(chip == format!("{count}/{count}"), "{id}: {chip}, not {count}/{count}");
        }
        let down =
            browser.script("return document.querySelectorAll('path.session.down').length")?;
        ensure!(down == 0, "{down} lines are red");
        Ok(())
    })
}

/// Light and dark, for whoever looks at them.
pub(crate) fn keeps_a_picture(cluster: &Cluster) -> Result<()> {
    let browser = open(cluster)?;
    all_is_well(cluster, &browser)?;
    for dark in [false, true] {
        browser.prefer_dark(dark)?;
        let path = artifact(if dark { "page-dark.png" } else { "page.png" });
        browser.screenshot(&path)?;
        let length = fs::metadata(&path)?.len();
        ensure!(length > 10_000, "{} has {length} bytes", path.display());
        println!("{}", path.display());
    }
    Ok(())
}

/// `cluster/NAME` or `racks/NAME` in the folder of artifacts of the build.
fn artifact(name: &str) -> PathBuf {
    let artifacts = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("artifacts");
    artifacts.join(env!("CARGO_CRATE_NAME")).join(name)
}
