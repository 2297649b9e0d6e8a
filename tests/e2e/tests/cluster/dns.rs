//! Cluster DNS, asked as programs ask: by dig, by the resolver of glibc with a pod's resolv.conf,
//! and by a thousand lookups a second while services come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    process::Stdio,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use viaduct_lab::{
    Cluster, PodHandle, Shell,
    dns::{Lookups, Pace, Question, Said, look_up},
    repeat, wait_for,
};

const SERVERS: [&str; 2] = ["169.254.20.10", "fd00:20::10"];
const SOON: Duration = Duration::from_secs(30);
const PER_SECOND: u32 = 1000;
const BETWEEN_KILLS: Duration = Duration::from_secs(3);
const BETWEEN_REPLACEMENTS: Duration = Duration::from_secs(1);
/// A process that ran for so long is started again without delay.
const STEADY: Duration = Duration::from_secs(11);
/// Ten times what is wanted of a lookup that needs no one else.
const SLOWEST_MEDIAN: Duration = Duration::from_millis(10);

const PETS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: pets}
spec:
  clusterIP: None
  ipFamilyPolicy: RequireDualStack
  selector: {app: pets}
  ports: [{name: http, port: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: nobody}
spec: {clusterIP: None, selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias}
spec: {type: ExternalName, externalName: echo.default.svc.cluster.local}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {type: ExternalName, externalName: www.example.com}
"#;

fn pet(number: usize) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: pet-{number}, labels: {{app: pets}}}}\n\
         spec:\n  hostname: pet-{number}\n  subdomain: pets\n  terminationGracePeriodSeconds: 1\n  \
         containers: [{{name: a, image: 'viaduct.dev/echo:latest', imagePullPolicy: Never}}]\n"
    )
}

/// A pod as a place where names are looked up.
struct Client {
    shell: Shell,
    /// A copy of the pod's `/etc/resolv.conf`.
    resolv_conf: tempfile::NamedTempFile,
}

impl Client {
    fn new(cluster: &Cluster, pod: &PodHandle) -> Result<Self> {
        let shell = cluster.pod_shell(pod)?;
        let process = shell.netns.parent().and_then(|ns| ns.parent()).context("no process")?;
        let resolv_conf = tempfile::NamedTempFile::new()?;
        fs::copy(process.join("root/etc/resolv.conf"), resolv_conf.path())
            .context("copy the pod's resolv.conf")?;
        Ok(Self { shell, resolv_conf })
    }

    /// Runs a program of this machine with the pod's resolv.conf in place of the machine's own.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mount = "mount --bind \"$0\" /etc/resolv.conf && exec \"$@\"";
        let file = self.resolv_conf.path().to_str().context("a path of UTF-8")?;
        let mut all = vec!["--mount", "sh", "-c", mount, file, program];
        all.extend(arguments);
        self.shell.run("unshare", &all)
    }

    /// The addresses that glibc finds: by its search path, of both families.
    fn resolve(&self, name: &str) -> Result<BTreeSet<IpAddr>> {
        let text = self.run("getent", &["ahosts", name])?;
        let addresses = text.lines().filter_map(|line| line.split_whitespace().next());
        Ok(addresses.map(str::parse).collect::<Result<_, _>>()?)
    }

    /// The lines that `dig +short` prints, in order.
    fn dig(&self, arguments: &[&str]) -> Result<Vec<String>> {
        let mut all = vec!["+short", "+time=2", "+tries=2"];
        all.extend(arguments);
        let text = self.run("dig", &all)?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    }

    /// The status of an answer, and whether there is a SOA beside it.
    fn status(&self, name: &str, rtype: &str) -> Result<(String, bool)> {
        let text = self.run("dig", &["+time=2", "+tries=2", name, rtype])?;
        let status = text.split("status: ").nth(1).and_then(|rest| rest.split(',').next());
        let status = status.with_context(|| format!("dig printed: {text}"))?;
        Ok((status.to_owned(), text.contains("\tSOA\t")))
    }
}

fn of(address: IpAddr) -> String {
    address.to_string()
}

fn reverse(address: IpAddr) -> Vec<String> {
    vec!["-x".to_owned(), of(address)]
}

pub(crate) fn names_from_a_pod(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    cluster.apply(&format!("{PETS}{}{}", pet(0), pet(1)))?;
    let pets = cluster.ready_pods("app=pets", 2)?;
    let client = Client::new(cluster, &pods[0])?;
    let conf = fs::read_to_string(client.resolv_conf.path())?;
    ensure!(
        conf.contains("nameserver 169.254.20.10\n")
            && conf.contains("search default.svc.cluster.local svc.cluster.local cluster.local")
            && conf.contains("options ndots:5\n"),
        "the pod's resolv.conf is:\n{conf}"
    );
    let (echo, ..) = cluster.service("echo")?;
    let echo_addresses: BTreeSet<IpAddr> = echo.iter().copied().collect();
    wait_for("the names to be there", SOON, || {
        for rtype in ["A", "AAAA"] {
            let all = client.dig(&["pets.default.svc.cluster.local", rtype])?;
            ensure!(all.len() == 2, "pets are {all:?}");
        }
        ensure!(client.dig(&["alias.default.svc.cluster.local", "A"])?.len() == 2, "no alias");
        Ok(())
    })?;

    // The resolver of glibc completes names by the search path.
    for name in ["echo", "echo.default", "echo.default.svc", "echo.default.svc.cluster.local."] {
        let found = client.resolve(name)?;
        ensure!(found == echo_addresses, "{name} is {found:?}, not {echo_addresses:?}");
    }
    let python = "import socket; print(sorted({i[4][0] for i in socket.getaddrinfo('echo', 80)}))";
    let printed = client.run("python3", &["-c", python])?;
    ensure!(echo.iter().all(|ip| printed.contains(&of(*ip))), "getaddrinfo says {printed}");
    ensure!(client.resolve("alias")? == echo_addresses, "an alias leads elsewhere");
    ensure!(client.resolve("nothing").is_err(), "`nothing` is found");

    // Records, over both transports and from both addresses.
    let full = "echo.default.svc.cluster.local";
    let v4 = echo.iter().find(|ip| ip.is_ipv4()).context("echo has no IPv4 address")?;
    let v6 = echo.iter().find(|ip| ip.is_ipv6()).context("echo has no IPv6 address")?;
    for server in SERVERS {
        let at = format!("@{server}");
        for transport in ["+notcp", "+tcp"] {
            ensure!(client.dig(&[&at, transport, full, "A"])? == [of(*v4)], "A by {server}");
            ensure!(client.dig(&[&at, transport, full, "AAAA"])? == [of(*v6)], "AAAA by {server}");
        }
        let host = client.run("host", &["echo.default.svc.cluster.local", server])?;
        ensure!(host.contains(&format!("has address {v4}")), "host printed {host}");
    }
    for (name, rtype, expected) in [
        ("dns-version.cluster.local", "TXT", vec!["\"1.1.0\"".to_owned()]),
        ("_http._tcp.echo.default.svc.cluster.local", "SRV", vec![format!("0 100 80 {full}.")]),
        ("kubernetes.default.svc.cluster.local", "A", vec!["10.96.0.1".to_owned()]),
    ] {
        let found = client.dig(&[name, rtype])?;
        ensure!(found == expected, "{name} {rtype} is {found:?}, not {expected:?}");
    }
    for ip in &echo {
        let arguments = reverse(*ip);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        ensure!(client.dig(&arguments)? == [format!("{full}.")], "PTR of {ip}");
    }
    headless(&client, &pets)?;
    absences(&client)?;

    // A process of the node itself.
    let node = cluster.host(&pods[0].node);
    let found = node.run("dig", &["+short", "@169.254.20.10", full, "A"])?;
    ensure!(found.trim() == of(*v4), "a process of the node is told {found}");

    let names = ["pets", "nobody", "alias", "elsewhere"];
    cluster.kubectl(&[&["delete", "service"], &names[..]].concat())?;
    cluster.kubectl(&["delete", "pod", "pet-0", "pet-1", "--wait=true"])?;
    println!("names as the specification has them, by dig, host, getent and python3");
    Ok(())
}

/// All endpoints, and each by its hostname.
fn headless(client: &Client, pets: &[PodHandle]) -> Result<()> {
    for v6 in [false, true] {
        let rtype = if v6 { "AAAA" } else { "A" };
        let mut expected = Vec::new();
        for pet in pets {
            let address = pet.address(v6)?;
            let name = format!("{}.pets.default.svc.cluster.local", pet.name);
            ensure!(client.dig(&[&name, rtype])? == [of(address)], "{name} {rtype}");
            let arguments = reverse(address);
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            ensure!(client.dig(&arguments)? == [format!("{name}.")], "PTR of {address}");
            expected.push(of(address));
        }
        expected.sort();
        let found = client.dig(&["pets.default.svc.cluster.local", rtype])?;
        ensure!(found == expected, "pets {rtype} are {found:?}, not {expected:?}");
    }
    let srv = client.dig(&["_http._tcp.pets.default.svc.cluster.local", "SRV"])?;
    let expected: Vec<String> = pets
        .iter()
        .map(|pet| format!("0 100 8080 {}.pets.default.svc.cluster.local.", pet.name))
        .collect();
    ensure!(srv == expected, "SRV of pets are {srv:?}, not {expected:?}");
    let address = pets[0].address(false)?;
    let dashed = format!("{}.default.pod.cluster.local", of(address).replace('.', "-"));
    ensure!(client.dig(&[&dashed, "A"])? == [of(address)], "{dashed}");
    Ok(())
}

fn absences(client: &Client) -> Result<()> {
    for (name, rtype, status) in [
        ("no.default.svc.cluster.local", "A", "NXDOMAIN"),
        ("no.such.svc.cluster.local", "A", "NXDOMAIN"),
        ("nobody.default.svc.cluster.local", "A", "NXDOMAIN"),
        ("x.echo.default.svc.cluster.local", "A", "NXDOMAIN"),
        ("1-2-3-4.such.pod.cluster.local", "A", "NXDOMAIN"),
        ("200.200.96.10.in-addr.arpa", "PTR", "NXDOMAIN"),
        ("echo.default.svc.cluster.local", "MX", "NOERROR"),
        ("default.svc.cluster.local", "A", "NOERROR"),
        ("svc.cluster.local", "AAAA", "NOERROR"),
        ("_tcp.echo.default.svc.cluster.local", "SRV", "NOERROR"),
    ] {
        let found = client.status(name, rtype)?;
        ensure!(found == (status.to_owned(), true), "{name} {rtype} is {found:?}, not {status}");
    }
    Ok(())
}

/// What the lookups must find, whatever happens: the names that nobody changes.
fn steady(cluster: &Cluster) -> Result<BTreeMap<Question, Said>> {
    let (echo, ..) = cluster.service("echo")?;
    let (kubernetes, ..) = cluster.service("kubernetes")?;
    let question = |name: &str, v6| Question { name: format!("{name}.svc.cluster.local"), v6 };
    let mut all = BTreeMap::new();
    for v6 in [false, true] {
        let own = echo.iter().copied().filter(|ip| ip.is_ipv6() == v6).collect();
        all.insert(question("echo.default", v6), Said::Addresses(own));
        all.insert(question("no-such-service.default", v6), Said::NoName);
        let own = kubernetes.iter().copied().filter(|ip| ip.is_ipv6() == v6).collect();
        all.insert(question("kubernetes.default", v6), Said::Addresses(own));
    }
    all.insert(question("default", false), Said::NoData);
    Ok(all)
}

fn check_steady(lookups: &Lookups, steady: &BTreeMap<Question, Said>) -> Result<()> {
    for ((question, said), count) in &lookups.said {
        if let Some(expected) = steady.get(question) {
            ensure!(said == expected, "{question:?} was {said:?} {count} times, not {expected:?}");
        }
    }
    ensure!(lookups.lost.is_empty(), "{} lookups were lost", lookups.lost.len());
    Ok(())
}

fn pace(seconds: u64) -> Result<Pace> {
    let server = SERVERS[0].parse()?;
    let duration = Duration::from_secs(seconds * repeat(1) as u64);
    Ok(Pace { server, per_second: PER_SECOND, duration })
}

fn report(what: &str, lookups: &Lookups) {
    println!(
        "{what}: {} lookups at {PER_SECOND}/s, p50 {:?}, p99 {:?}, slowest {:?}; {} asked again, \
         none lost",
        lookups.took.len(),
        lookups.percentile(50),
        lookups.percentile(99),
        lookups.percentile(100),
        lookups.retried
    );
}

/// Services made and removed while somebody looks on, with every address each of them has had.
struct Churn<'a> {
    cluster: &'a Cluster,
    had: Mutex<BTreeMap<String, BTreeSet<IpAddr>>>,
    over: AtomicBool,
}

const CHURNING: usize = 8;

impl<'a> Churn<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        Self { cluster, had: Mutex::default(), over: AtomicBool::new(false) }
    }

    fn name(number: usize) -> String {
        format!("churn-{number}")
    }

    fn questions() -> impl Iterator<Item = Question> {
        (0..CHURNING).map(|number| Question {
            name: format!("{}.default.svc.cluster.local", Self::name(number)),
            v6: false,
        })
    }

    /// Until it is over; how many changes there were.
    fn run(&self) -> Result<usize> {
        let mut changes = 0;
        while !self.over.load(Ordering::Relaxed) {
            for number in 0..CHURNING {
                let name = Self::name(number);
                self.cluster.kubectl(&["create", "service", "clusterip", &name, "--tcp=80"])?;
                let (ips, ..) = self.cluster.service(&name)?;
                let mut had = self.had.lock().unwrap_or_else(PoisonError::into_inner);
                had.entry(name).or_default().extend(ips);
                changes += 1;
            }
            let names: Vec<String> = (0..CHURNING).map(Self::name).collect();
            let mut arguments = vec!["delete", "service", "--wait=false"];
            arguments.extend(names.iter().map(String::as_str));
            self.cluster.kubectl(&arguments)?;
            changes += CHURNING;
        }
        Ok(changes)
    }

    /// Every answer was an absence, or an address that the service had at some time.
    fn check(&self, lookups: &Lookups) -> Result<usize> {
        let had = self.had.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = 0;
        for ((question, said), count) in &lookups.said {
            let name = question.name.split('.').next().unwrap_or_default();
            let Some(had) = had.get(name) else { continue };
            match said {
                Said::NoName => {}
                Said::Addresses(addresses) if addresses.iter().all(|ip| had.contains(ip)) => {
                    found += count;
                }
                other => bail!("{name} was {other:?}, and had {had:?}"),
            }
        }
        Ok(found)
    }
}

pub(crate) fn lookups_while_services_change(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let steady = steady(cluster)?;
    let questions: Vec<Question> = steady.keys().cloned().chain(Churn::questions()).collect();
    let shell = cluster.pod_shell(&pods[0])?;
    let churn = Churn::new(cluster);
    let (lookups, changes) = std::thread::scope(|scope| -> Result<_> {
        let changing = scope.spawn(|| churn.run());
        let lookups = look_up(&shell.netns, pace(10)?, &questions);
        churn.over.store(true, Ordering::Relaxed);
        let Ok(changes) = changing.join() else { bail!("the changes panicked") };
        Ok((lookups?, changes?))
    })?;
    check_steady(&lookups, &steady)?;
    let found = churn.check(&lookups)?;
    ensure!(found > 0, "no lookup found a service that came and went");
    ensure!(lookups.retried == 0, "{} lookups had to be asked again", lookups.retried);
    let median = lookups.percentile(50);
    ensure!(median < SLOWEST_MEDIAN, "half of the lookups took longer than {median:?}");
    report(&format!("services changed {changes} times"), &lookups);

    // What is gone is gone on every node, soon.
    for node in &cluster.nodes {
        wait_for(&format!("the services to be gone on {node}"), SOON, || {
            for question in Churn::questions() {
                let arguments = ["@169.254.20.10", &question.name, "A"];
                let text = cluster.host(node).run("dig", &arguments)?;
                ensure!(text.contains("status: NXDOMAIN"), "{} is there: {text}", question.name);
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Queries wait in a socket that the supervisor holds.
pub(crate) fn lookups_while_the_daemon_is_killed(cluster: &Cluster) -> Result<()> {
    // One that ends again and again is started later and later: after three times it is given the time
    // to be thought steady.
    let pause = |kills| if kills % 3 == 0 && kills > 0 { STEADY } else { BETWEEN_KILLS };
    lookups_while(cluster, "killed", pause, Cluster::kill)?;
    Ok(())
}

/// Sockets change hands, and no query waits for long enough to be asked again.
pub(crate) fn lookups_while_the_daemon_is_replaced(cluster: &Cluster) -> Result<()> {
    let lookups = lookups_while(cluster, "replaced", |_| BETWEEN_REPLACEMENTS, Cluster::replace)?;
    ensure!(lookups.retried == 0, "{} lookups were asked again", lookups.retried);
    Ok(())
}

fn lookups_while(
    cluster: &Cluster,
    what: &str,
    pause: impl Fn(usize) -> Duration + Sync,
    act: impl Fn(&Cluster, &str) -> Result<()> + Sync,
) -> Result<Lookups> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let steady = steady(cluster)?;
    let questions: Vec<Question> = steady.keys().cloned().collect();
    let shell = cluster.pod_shell(&pods[0])?;
    let process = format!("{}.node", pods[0].node);
    let over = AtomicBool::new(false);
    let (lookups, times) = std::thread::scope(|scope| -> Result<_> {
        let acting = scope.spawn(|| -> Result<usize> {
            for times in 0.. {
                let next = Instant::now() + pause(times);
                while Instant::now() < next {
                    if over.load(Ordering::Relaxed) {
                        return Ok(times);
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                act(cluster, &process)?;
            }
            Ok(0)
        });
        let lookups = look_up(&shell.netns, pace(10)?, &questions);
        over.store(true, Ordering::Relaxed);
        let Ok(times) = acting.join() else { bail!("whoever acts on the daemon panicked") };
        Ok((lookups?, times?))
    })?;
    check_steady(&lookups, &steady)?;
    ensure!(times > 0, "the daemon was not {what} at all");
    report(&format!("viaduct node {what} {times} times"), &lookups);
    // It serves TCP again, too, in either family.
    let client = Client::new(cluster, &pods[0])?;
    for server in SERVERS {
        let at = format!("@{server}");
        wait_for("TCP", SOON, || {
            let found = client.dig(&[&at, "+tcp", "kubernetes.default.svc.cluster.local", "A"])?;
            ensure!(found == ["10.96.0.1"], "{server} says {found:?}");
            Ok(())
        })?;
    }
    wait_for("the node's status to tell of DNS", SOON, || {
        let status = cluster.node_json(&pods[0].node, &["status"])?;
        ensure!(status["dns"]["answered"].as_u64() > Some(0), "its status is {status}");
        Ok(())
    })?;
    Ok(lookups)
}

/// While the API server is away the node answers what it knew last, also after a restart.
pub(crate) fn lookups_without_the_server(cluster: &Cluster) -> Result<()> {
    let pods = cluster.ready_pods("app=echo", 3)?;
    let steady = steady(cluster)?;
    let questions: Vec<Question> = steady.keys().cloned().collect();
    let shell = cluster.pod_shell(&pods[0])?;
    let server = cluster.pid("control.server")?;
    let signal = |name: &str| -> Result<()> {
        let status = std::process::Command::new("kill")
            .args(["-s", name, &server.to_string()])
            .stdin(Stdio::null())
            .status()?;
        ensure!(status.success(), "kill -s {name} {server}");
        Ok(())
    };
    // Stopped, it answers nobody and refuses nobody: the worst way of being away.
    signal("STOP")?;
    let lookups = cluster
        .kill(&format!("{}.node", pods[0].node))
        .and_then(|()| look_up(&shell.netns, pace(3)?, &questions));
    signal("CONT")?;
    let lookups = lookups?;
    check_steady(&lookups, &steady)?;
    report("node daemon restarted while the server was away", &lookups);
    cluster.ready_pods("app=echo", 3)?;
    Ok(())
}
