//! A container from its spec to its first instruction.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, Pod, PodSpec},
    jiff::{SignedDuration, Timestamp},
};
use tracing::{info, warn};

use super::{Worker, api::PodEvent, errands::Note, identity, later};
use crate::{
    core::{self, ContainerState, StartFailure},
    env,
    image::{self, Image},
    quantity::{Amounts, QosClass},
    runtime::{
        Launch, exits, rootfs,
        spec::{self, ContainerSpec, Mount, Resources, SharedNamespaces},
    },
    volumes,
};

/// How often a missing image or reference is looked for again.
const LOOK_AGAIN_SECS: i64 = 2;
/// Processes of a container that sets no bound of its own (no field of a pod does).
const PIDS_MAX: i64 = 4096;
const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";
const TERMINATION_MESSAGE_BYTES_MAX: usize = 4096;
/// For a postStart hook, which has no limit of its own: a container that waits longer for it is
/// taken as one whose hook has failed.
const POST_START_LIMIT: Duration = Duration::from_secs(600);
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct Failure {
    reason: &'static str,
    message: String,
    /// It is not the container's fault, so there is no back-off.
    transient: bool,
}

impl Failure {
    fn config(error: impl ToString) -> Self {
        let message = error.to_string();
        Self { reason: "CreateContainerConfigError", message, transient: true }
    }

    fn create(error: impl ToString) -> Self {
        Self { reason: "CreateContainerError", message: error.to_string(), transient: false }
    }

    fn run(error: impl ToString) -> Self {
        Self { reason: "RunContainerError", message: error.to_string(), transient: false }
    }
}

impl Worker {
    pub(super) async fn start(&mut self, name: &str) {
        let Some(container) = super::probing::container(&self.pod, name).cloned() else { return };
        let record = self.observed.containers.entry(name.to_owned()).or_default();
        if let ContainerState::Exited(exit) = &record.state {
            record.last = Some(exit.clone());
            record.restarts = record.restarts.saturating_add(1);
            record.state = ContainerState::Waiting;
        }
        let restarts = record.restarts;
        let id = format!("{}_{name}_{restarts}", self.uid);
        match self.try_start(&container, &id, restarts).await {
            Ok(image) => self.note_started(&container, id, &image),
            Err(failure) => {
                self.discard(name, &id).await;
                self.note_failure(name, failure);
            }
        }
        self.save();
    }

    fn note_started(&mut self, container: &Container, id: String, image: &Image) {
        let name = &container.name;
        if let Some(record) = self.observed.containers.get_mut(name) {
            record.state = ContainerState::Running { id: id.clone(), started_at: Timestamp::now() };
            record.failure = None;
            record.killing = None;
            record.image_id = Some(image.id.clone());
            record.health = core::initially(container);
            self.forget_logs(name);
        }
        info!(pod = self.uid, container = name, "started");
        self.event(PodEvent {
            warning: false,
            reason: "Started",
            message: format!("Started container {name}"),
            container: Some(name.clone()),
        });
        if let Some(hook) = container.lifecycle.as_ref().and_then(|l| l.post_start.clone()) {
            let container = name.clone();
            self.run_hook(name, hook, id.clone(), POST_START_LIMIT, |outcome| {
                Note::PostStartOver { container, id, outcome }
            });
        }
    }

    fn note_failure(&mut self, name: &str, failure: Failure) {
        let now = Timestamp::now();
        let Some(record) = self.observed.containers.get_mut(name) else { return };
        record.state = ContainerState::Waiting;
        let pause = if failure.transient {
            SignedDuration::from_secs(LOOK_AGAIN_SECS)
        } else {
            record.backoff.note_exit(now, now);
            record.backoff.delay()
        };
        let retry_at = later(now, pause.try_into().unwrap_or_default());
        let (reason, message) = (failure.reason.to_owned(), failure.message);
        let known = record.failure.as_ref().is_some_and(|f| f.message == message);
        record.failure = Some(StartFailure { reason, message: message.clone(), retry_at });
        if !known {
            warn!(
                pod = self.uid,
                container = name,
                reason = failure.reason,
                message,
                "not started"
            );
            let container = Some(name.to_owned());
            self.event(PodEvent { warning: true, reason: "Failed", message, container });
        }
    }

    async fn try_start(
        &mut self,
        container: &Container,
        id: &str,
        restarts: u32,
    ) -> Result<Image, Failure> {
        if let Some(what) = unsupported(&self.pod, container) {
            return Err(Failure::config(format!("{what} is not supported by this kubelet")));
        }
        let image = self.image(container)?;
        if !volumes::referenced(&self.pod).0.is_empty()
            || !volumes::referenced(&self.pod).1.is_empty()
        {
            self.fetch_references().await.map_err(Failure::config)?;
        }
        self.fetch_services().await.map_err(Failure::config)?;
        if let Some(record) = self.observed.containers.get_mut(&container.name) {
            record.state = ContainerState::Starting { id: id.to_owned() };
        }
        self.save();
        let bundle = self.bundle(&container.name, restarts);
        self.write_bundle(container, &image, &bundle)?;
        let log = self.log(&container.name, restarts);
        if let Some(dir) = log.parent() {
            fs::create_dir_all(dir).map_err(Failure::create)?;
        }
        exits::forget(&self.node.runtime, id).map_err(Failure::create)?;
        self.node.exits.register(id, &self.exited);
        // Closed only when the process ends.
        let _permit = self.node.starts.acquire().await.map_err(Failure::create)?;
        let terminal = container.tty == Some(true);
        let launch = Launch { id: id.to_owned(), bundle, log, terminal };
        self.node.runtime.create(&launch).await.map_err(Failure::create)?;
        self.node.runtime.start(id).await.map_err(Failure::run)?;
        Ok(image)
    }

    fn image(&self, container: &Container) -> Result<Image, Failure> {
        let reference = container.image.as_deref().unwrap_or_default();
        match image::find(&self.node.config.image_store, reference) {
            Ok(Some(image)) => Ok(image),
            Ok(None) => Err(Failure {
                reason: "ErrImageNeverPull",
                message: format!(
                    "Container image {reference:?} is not on this node and nothing is pulled; import its archive with: viaduct image import FILE.tar"
                ),
                transient: true,
            }),
            Err(error) => Err(Failure {
                reason: "InvalidImageName",
                message: error.to_string(),
                transient: true,
            }),
        }
    }

    /// Removes whatever an attempt that failed has left.
    async fn discard(&self, name: &str, id: &str) {
        self.clean_container(name, id).await;
    }

    /// Logs of the present and the last time are kept.
    fn forget_logs(&self, name: &str) {
        let Some(record) = self.observed.containers.get(name) else { return };
        if let Some(old) = record.restarts.checked_sub(2)
            && let Err(error) = crate::disk::remove(&self.log(name, old))
        {
            warn!(pod = self.uid, container = name, %error, "old log not removed");
        }
    }

    fn write_bundle(
        &self,
        container: &Container,
        image: &Image,
        bundle: &Path,
    ) -> Result<(), Failure> {
        let layers = image::layer_paths(&self.node.config.image_store, image);
        let root = rootfs::mount_rootfs(bundle, &layers).map_err(Failure::create)?;
        let message = bundle.join("termination-log");
        fs::write(&message, b"").map_err(Failure::create)?;
        // For whatever user the program runs as.
        fs::set_permissions(&message, fs::Permissions::from_mode(0o666))
            .map_err(Failure::create)?;
        let spec = self.container_spec(container, image, bundle, &root)?;
        crate::disk::write_json(&bundle.join("config.json"), &spec.to_json())
            .map_err(Failure::create)
    }

    fn container_spec(
        &self,
        container: &Container,
        image: &Image,
        bundle: &Path,
        root: &Path,
    ) -> Result<ContainerSpec, Failure> {
        let nothing = PodSpec::default();
        let pod_spec = self.pod.spec.as_ref().unwrap_or(&nothing);
        let user = image.config.user.as_deref();
        let who = identity::identity(pod_spec, container, user, root).map_err(Failure::config)?;
        let variables = env::environment(&self.pod, container, &self.references, &self.downward())
            .map_err(Failure::config)?;
        let security = container.security_context.as_ref();
        let privileged = security.and_then(|s| s.privileged) == Some(true);
        let ns = self.dir().join("ns");
        let own = |name: &str| (!self.host_network()).then(|| ns.join(name));
        let working_dir = container.working_dir.clone().or(image.config.working_dir.clone());
        Ok(ContainerSpec {
            arguments: arguments(container, image, &variables)?,
            env: self.env(image, &variables, who.home.as_deref()),
            working_dir: working_dir.filter(|d| !d.is_empty()).unwrap_or_else(|| "/".to_owned()),
            uid: who.uid,
            gid: who.gid,
            additional_gids: who.additional_gids,
            capabilities: capabilities(container, privileged),
            privileged,
            no_new_privileges: security.and_then(|s| s.allow_privilege_escalation) == Some(false),
            read_only_root: security.and_then(|s| s.read_only_root_filesystem) == Some(true),
            terminal: container.tty == Some(true),
            oom_score_adj: self.oom_score_adj(pod_spec, container),
            rootfs: root.to_owned(),
            mounts: self.mounts(container, bundle)?,
            namespaces: SharedNamespaces {
                network: own("net"),
                uts: own("uts"),
                ipc: ns.join("ipc"),
            },
            cgroup: self.container_cgroup(container),
            resources: resources(container),
        })
    }

    fn container_cgroup(&self, container: &Container) -> String {
        format!("{}/{}", self.node.pod_cgroup(&self.uid), container.name)
    }

    fn oom_score_adj(&self, spec: &PodSpec, container: &Container) -> i32 {
        let amounts = Amounts::of(container.resources.as_ref());
        let request = amounts.memory_request_bytes.unwrap_or(0);
        let wanted = QosClass::of(spec).oom_score_adj(request, self.node.capacity.memory_bytes);
        wanted.max(self.node.oom_score_adj)
    }

    fn env(
        &self,
        image: &Image,
        variables: &std::collections::BTreeMap<String, String>,
        home: Option<&str>,
    ) -> Vec<String> {
        let hostname = self.namespace_request().hostname;
        let mut env = std::collections::BTreeMap::from([
            ("PATH", PATH_DEFAULT),
            ("HOSTNAME", hostname.as_str()),
        ]);
        env.extend(home.map(|home| ("HOME", home)));
        env.extend(image.config.env.iter().flatten().filter_map(|v| v.split_once('=')));
        env.extend(variables.iter().map(|(k, v)| (k.as_str(), v.as_str())));
        env.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    fn mounts(&self, container: &Container, bundle: &Path) -> Result<Vec<Mount>, Failure> {
        let mut mounts = Vec::new();
        let wanted = container.volume_mounts.as_deref().unwrap_or_default();
        let taken = |path: &str| wanted.iter().any(|m| m.mount_path.trim_end_matches('/') == path);
        for (path, source) in [
            ("/dev/shm", self.shm()),
            ("/etc/hostname", self.etc().join("hostname")),
            ("/etc/hosts", self.etc().join("hosts")),
            ("/etc/resolv.conf", self.etc().join("resolv.conf")),
        ] {
            if !taken(path) {
                mounts.push(bind(source, path.to_owned(), false));
            }
        }
        let message = container.termination_message_path.as_deref();
        let message = message.unwrap_or(TERMINATION_MESSAGE_PATH).to_owned();
        mounts.push(bind(bundle.join("termination-log"), message, false));
        let mut chosen = Vec::new();
        for mount in wanted {
            let sub_path = mount.sub_path.as_deref();
            let source = volumes::mount_source(&self.dir(), &self.pod, &mount.name, sub_path)
                .map_err(Failure::config)?;
            let read_only =
                mount.read_only == Some(true) || volumes::is_projection(&self.pod, &mount.name);
            let mut bound = bind(source, mount.mount_path.clone(), read_only);
            bound.follow_host = mount.mount_propagation.as_deref() == Some("HostToContainer");
            chosen.push(bound);
        }
        // Outer ones first, or they would hide the inner.
        chosen.sort_by_key(|m| m.destination.matches('/').count());
        mounts.extend(chosen);
        Ok(mounts)
    }

    /// What a container said of its own end, at most the last 4096 bytes.
    pub(super) fn termination_message(
        &self,
        name: &str,
        bundle: &Path,
        exit_code: i32,
    ) -> Option<String> {
        let said = fs::read(bundle.join("termination-log")).unwrap_or_default();
        if !said.is_empty() {
            let from = said.len().saturating_sub(TERMINATION_MESSAGE_BYTES_MAX);
            return Some(String::from_utf8_lossy(&said[from..]).into_owned());
        }
        let container = super::probing::container(&self.pod, name)?;
        let falls_back =
            container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
        if exit_code == 0 || !falls_back {
            return None;
        }
        let restarts = self.observed.containers.get(name)?.restarts;
        crate::http::logs::tail_text(&self.log(name, restarts), TERMINATION_MESSAGE_BYTES_MAX).ok()
    }
}

/// A field that would change what the pod means, and that nothing here heeds.
fn unsupported(pod: &Pod, container: &Container) -> Option<&'static str> {
    let spec = pod.spec.as_ref()?;
    let lifecycle = container.lifecycle.as_ref();
    [
        (spec.host_pid == Some(true), "hostPID"),
        (spec.host_ipc == Some(true), "hostIPC"),
        (spec.host_users == Some(false), "hostUsers: false"),
        (spec.share_process_namespace == Some(true), "shareProcessNamespace"),
        (spec.runtime_class_name.is_some(), "runtimeClassName"),
        (lifecycle.is_some_and(|l| l.stop_signal.is_some()), "lifecycle.stopSignal"),
        (container.volume_devices.is_some(), "volumeDevices"),
    ]
    .into_iter()
    .find_map(|(asked, what)| asked.then_some(what))
}

fn bind(source: std::path::PathBuf, destination: String, read_only: bool) -> Mount {
    Mount { source, destination, read_only, follow_host: false }
}

/// `command` replaces the image's entry point and its arguments, `args` only the arguments.
fn arguments(
    container: &Container,
    image: &Image,
    variables: &std::collections::BTreeMap<String, String>,
) -> Result<Vec<String>, Failure> {
    let expanded = |words: &[String]| -> Vec<String> {
        words.iter().map(|word| env::expand(word, variables)).collect()
    };
    let command = container.command.as_deref().filter(|c| !c.is_empty());
    let args = container.args.as_deref().filter(|a| !a.is_empty());
    let image_words = |words: &Option<Vec<String>>| words.clone().unwrap_or_default();
    let mut arguments = match command {
        Some(command) => expanded(command),
        None => image_words(&image.config.entrypoint),
    };
    match (args, command) {
        (Some(args), _) => arguments.extend(expanded(args)),
        (None, None) => arguments.extend(image_words(&image.config.cmd)),
        (None, Some(_)) => {}
    }
    if arguments.is_empty() {
        return Err(Failure::create("no command specified, and the image has none"));
    }
    Ok(arguments)
}

fn resources(container: &Container) -> Resources {
    let amounts = Amounts::of(container.resources.as_ref());
    Resources {
        cpu_shares: spec::cpu_shares(amounts.cpu_request_millis.unwrap_or(0)),
        cpu_quota_micros: amounts.cpu_limit_millis.map(spec::cpu_quota_micros),
        memory_limit_bytes: amounts.memory_limit_bytes.and_then(|b| i64::try_from(b).ok()),
        pids_limit: PIDS_MAX,
    }
}

fn capabilities(container: &Container, privileged: bool) -> Vec<String> {
    if privileged {
        return spec::bounding_set();
    }
    let wanted = container.security_context.as_ref().and_then(|s| s.capabilities.as_ref());
    let named = |names: Option<&Vec<String>>| -> Vec<String> {
        names.into_iter().flatten().map(|name| spec::capability(name)).collect()
    };
    let add = named(wanted.and_then(|c| c.add.as_ref()));
    let drop = named(wanted.and_then(|c| c.drop.as_ref()));
    let all = |list: &[String]| list.iter().any(|name| name == "CAP_ALL");
    let mut set: Vec<String> = if all(&add) {
        spec::bounding_set()
    } else {
        spec::DEFAULT_CAPABILITIES.iter().map(|&name| name.to_owned()).collect()
    };
    if all(&drop) {
        set.clear();
    }
    set.retain(|name| !drop.contains(name));
    set.extend(add.into_iter().filter(|name| name != "CAP_ALL"));
    set.sort();
    set.dedup();
    set
}
