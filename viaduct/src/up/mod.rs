//! `viaduct up` and `down`: a whole cluster on this machine, each node in a network namespace.

mod answer;
mod app;
mod down;
mod failures;
mod network;
mod objects;
mod pki;
mod plan;
mod probe;
mod processes;
mod progress;
mod ready;
mod report;
mod requirements;
mod spawn;
mod speakers;
mod supervise;
mod workloads;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use kube::Client;
pub(crate) use objects::api_resource;
pub(crate) use supervise::supervise;

use self::{
    app::{Application, EXAMPLE_IMAGE},
    pki::Authority,
    plan::{ClusterPlan, Shape},
    probe::Target,
    progress::Progress,
};
use crate::{
    output,
    paths::{self, ClusterPaths, write_atomically},
};

/// The cluster that is meant where none is named.
pub(crate) const DEFAULT_NAME: &str = "viaduct";

#[derive(Args)]
pub(crate) struct UpArgs {
    /// Name of the cluster; several may stand side by side.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
    /// Number of nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Put the nodes into so many racks, each a segment behind a router with an AS of its own.
    #[arg(long)]
    racks: Option<usize>,
    /// Join the nodes by two route reflectors in place of the mesh.
    #[arg(long)]
    reflector: bool,
    /// Port of the API on this machine's loopback.
    #[arg(long, default_value_t = 8080, value_parser = clap::value_parser!(u16).range(1..))]
    api_port: u16,
    /// Forget what the cluster of this name stored when it was up before.
    #[arg(long)]
    fresh: bool,
    /// The example program, linked statically; it is put into an image of its own.
    #[arg(long, value_name = "FILE", default_value_os_t = beside("viaduct-echo"))]
    echo: PathBuf,
    /// A manifest, or a folder of them, to apply in place of the example application; may be
    /// given several times.
    #[arg(long, value_name = "FILE|FOLDER")]
    app: Vec<PathBuf>,
    /// Start without an application.
    #[arg(long, conflicts_with = "app")]
    bare: bool,
    /// Leave out the border router; BGP is spoken by something else in its namespace.
    #[arg(long)]
    no_border: bool,
    /// How to print the result.
    #[arg(short, long, value_enum, default_value_t)]
    output: crate::operator::Output,
}

#[derive(Args)]
pub(crate) struct DownArgs {
    /// Name of the cluster.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
    /// Forget what the cluster stored, too.
    #[arg(long)]
    fresh: bool,
}

impl UpArgs {
    fn application(&self) -> Result<Option<Application>> {
        match (self.bare, self.app.is_empty()) {
            (true, _) => Ok(None),
            (false, true) => Application::example().map(Some),
            (false, false) => Application::read(&self.app).map(Some),
        }
    }
}

/// `viaduct probe`, which `up` starts on a node.
#[derive(Args)]
pub(crate) struct ProbeArgs {
    /// How long to ask again.
    #[arg(long)]
    seconds: u64,
    /// `http://ADDRESS:PORT/` or `tcp://ADDRESS:PORT`.
    #[arg(required = true)]
    targets: Vec<Target>,
}

pub(crate) async fn probe(args: ProbeArgs) -> Result<()> {
    answer::probe(args.targets, args.seconds).await
}

/// A file in the folder of this program.
fn beside(name: &str) -> PathBuf {
    std::env::current_exe().map_or_else(|_| name.into(), |program| program.with_file_name(name))
}

pub(crate) async fn up(args: UpArgs) -> Result<()> {
    require_root("viaduct up")?;
    let shape = Shape { nodes: args.nodes, racks: args.racks, reflectors: args.reflector };
    let mut plan = ClusterPlan::new(&args.name, shape, args.api_port)?;
    plan.has_border = !args.no_border;
    let paths = ClusterPaths::new(&args.name)?;
    let application = args.application()?;
    requirements::check(&args, application.as_ref(), &paths)?;
    let mut progress = Progress::new(args.output.is_json());
    let raised = tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            bail!("interrupted: `viaduct down --name {}` removes what is there", args.name);
        }
        raised = raise(&args, application.as_ref(), &plan, &paths, &mut progress) => raised,
    };
    let answered = match raised {
        Ok(answered) => answered,
        Err(error) => {
            progress.warn(&failures::logs(&paths));
            bail!(
                "the cluster did not come up: {}\nIts logs are in {}; `viaduct down --name {}` \
                 removes what is there.",
                output::describe(&error),
                paths.logs().display(),
                args.name
            );
        }
    };
    progress.end();
    report::print(&plan, &paths, &progress, &answered, args.output)
}

/// Brings everything up; what of the application answers from outside.
async fn raise(
    args: &UpArgs,
    application: Option<&Application>,
    plan: &ClusterPlan,
    paths: &ClusterPaths,
    progress: &mut Progress,
) -> Result<Vec<Target>> {
    progress.begin("namespaces and links");
    let lock = paths::lock(Path::new(paths::RUN))?;
    requirements::claim(paths)?;
    if args.fresh && paths.state.exists() {
        fs::remove_dir_all(&paths.state)?;
    }
    paths::share_lock(&lock, true)?;
    prepare(plan, paths)?;
    // The supervisor runs for as long as the cluster.
    paths::share_lock(&lock, false)?;
    progress.begin("certificates");
    let authority = certificates(plan, paths)?;
    drop(authority);
    progress.begin("control plane");
    let mut supervisor = start_supervisor(plan, paths)?;
    drop(lock);
    tokio::select! {
        answered = await_parts(args, application, plan, paths, progress) => answered,
        why = failures::watch(paths, &mut supervisor) => bail!("{}", why?),
    }
}

/// Waits until each part works that the supervisor has started.
async fn await_parts(
    args: &UpArgs,
    application: Option<&Application>,
    plan: &ClusterPlan,
    paths: &ClusterPaths,
    progress: &mut Progress,
) -> Result<Vec<Target>> {
    let client = plain_client(plan)?;
    ready::server(&client, progress).await?;
    objects::apply_network(&client, plan).await?;
    objects::forget_nodes(&client, plan).await?;
    progress.begin("nodes");
    ready::nodes(&client, plan, paths, progress).await?;
    progress.begin("BGP sessions");
    ready::sessions(plan, paths, progress).await?;
    let Some(application) = application else { return Ok(Vec::new()) };
    if application.has_example_image() {
        progress.begin("image of the example");
        import_example(&args.echo, paths)?;
    }
    progress.begin("pods");
    let applied = application.apply(&client).await?;
    workloads::ready(&client, &applied.workloads, progress).await?;
    if args.no_border {
        // Whoever takes the border's place is not there yet.
        return Ok(Vec::new());
    }
    progress.begin("services answer");
    answer::services(&client, plan, paths, &applied.services, progress).await
}

fn prepare(plan: &ClusterPlan, paths: &ClusterPaths) -> Result<()> {
    for folder in [paths.logs(), paths.pids()] {
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    }
    // It holds the keys of the cluster, and what its pods keep secret.
    paths::create_private(&paths.state)?;
    write_atomically(&paths.plan(), &serde_json::to_vec_pretty(plan)?, 0o644)?;
    network::create(plan, paths)?;
    for node in &plan.nodes {
        fs::create_dir_all(paths.node_run(&node.name))?;
        fs::create_dir_all(paths.node_state(&node.name))?;
        network::create_mount_namespace(paths, &node.name)?;
    }
    for speaker in speakers::outside_the_nodes(plan) {
        let file = paths.speaker(&speaker.host.name);
        fs::create_dir_all(file.parent().unwrap_or(&paths.run))?;
        fs::create_dir_all(paths.node_run(&speaker.host.name))?;
        write_atomically(&file, speaker.documents()?.as_bytes(), 0o644)?;
    }
    fs::create_dir_all(paths.images())?;
    Ok(())
}

fn certificates(plan: &ClusterPlan, paths: &ClusterPaths) -> Result<Authority> {
    let authority = Authority::open(&paths.pki(), &plan.name)?;
    let mut addresses = plan.control.addresses().to_vec();
    addresses.push(std::net::Ipv4Addr::LOCALHOST.into());
    authority.server("server", &addresses, &["localhost", "kubernetes.default.svc"])?;
    let server = format!("https://{}:{}", plan.control.v4, processes::SECURE_PORT);
    let write = |name: &str, credentials: &pki::Credentials| -> Result<()> {
        let text = pki::kubeconfig(&server, &authority.certificate(), credentials)?;
        let path = paths.pki().join(format!("{name}.kubeconfig"));
        write_atomically(&path, &text, 0o600).with_context(|| format!("write {}", path.display()))
    };
    let controllers =
        authority.client("controllers", "viaduct:controllers", "viaduct:controllers")?;
    write("controllers", &controllers)?;
    for node in &plan.nodes {
        let user = format!("system:node:{}", node.name);
        write(&node.name, &authority.node(&node.name, &user, &node.addresses())?)?;
    }
    Ok(authority)
}

/// Starts `viaduct supervise`, which outlives this program.
fn start_supervisor(plan: &ClusterPlan, paths: &ClusterPaths) -> Result<Child> {
    let log = fs::File::create(paths.log(failures::SUPERVISOR))?;
    let cgroup = paths.cgroup.join("supervisor");
    fs::create_dir_all(&cgroup).with_context(|| format!("create cgroup {}", cgroup.display()))?;
    let mut command = Command::new("setsid");
    let supervisor = command
        .arg(std::env::current_exe()?)
        .args(["supervise", "--name", &plan.name])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .context("start `setsid`: is util-linux installed? (make deps)")?;
    let pid = supervisor.id().to_string();
    write_atomically(&paths.pids().join(failures::SUPERVISOR), pid.as_bytes(), 0o644)?;
    Ok(supervisor)
}

fn plain_client(plan: &ClusterPlan) -> Result<Client> {
    let mut config = kube::Config::new(format!("http://127.0.0.1:{}", plan.api_port).parse()?);
    config.default_namespace = "default".to_owned();
    Ok(Client::try_from(config)?)
}

fn import_example(echo: &Path, paths: &ClusterPaths) -> Result<()> {
    let archive = paths.run.join("echo.tar");
    crate::image::pack(echo, EXAMPLE_IMAGE, &archive)?;
    for reference in crate::image::import(&archive, &paths.images())? {
        // Nobody would bring it back.
        control_kubelet::image::pin(&paths.images(), &reference, true)?;
    }
    fs::remove_file(archive)?;
    Ok(())
}

pub(crate) async fn down(args: DownArgs) -> Result<()> {
    require_root("viaduct down")?;
    let paths = ClusterPaths::new(&args.name)?;
    let forgets = args.fresh && paths.state.exists();
    if !down::is_present(&paths) && !forgets {
        eprintln!("cluster `{}` is not up{}", args.name, others(&paths)?);
        return Ok(());
    }
    let begun = std::time::Instant::now();
    down::down(&paths, args.fresh).await?;
    eprintln!("cluster `{}` is down ({:.1} s)", args.name, begun.elapsed().as_secs_f64());
    Ok(())
}

/// Which clusters there are besides, for someone who forgot the name.
fn others(paths: &ClusterPaths) -> Result<String> {
    let names = paths::clusters_in(Path::new(paths::RUN))?;
    let names: Vec<_> = names.into_iter().filter(|name| *name != paths.name).collect();
    Ok(if names.is_empty() { String::new() } else { format!("; there are: {}", names.join(", ")) })
}

fn require_root(what: &str) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("{what} needs root for network namespaces and cgroups: run it with sudo");
    }
    Ok(())
}
