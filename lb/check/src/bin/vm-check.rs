//! Loads and attaches every program on the kernel it runs on, runs the fixtures, and says how each fared.
//!
//! `vm-check BPF_DIR CGROUP UPLINK POD FIXTURES`: `cargo xtask vm` runs it in a machine made for it, with
//! a folder of a bpf filesystem, two interfaces as `lb_check::Kernel` wants them, and the folder of the
//! fixtures, which it runs. Each line is `ok WHAT` or `FAIL WHAT: WHY`; the exit code is 0 if none failed.

use std::{
    fmt::{Debug, Display},
    fs,
    path::Path,
    process::ExitCode,
};

use anyhow::Result;
use ebpf_abi::ABI_VERSION;
use lb_check::{Kernel, Tally};
use lb_maps::{DataPlane, Options, PodAddresses, Sizes, probe};
use viaduct_net::IfIndex;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bpf_dir, cgroup, uplink, pod, folder] = &arguments[..] else {
        eprintln!("usage: vm-check BPF_DIR CGROUP UPLINK POD FIXTURES");
        return ExitCode::from(2);
    };
    let sizes = Sizes { maglev: 1 << 12, flows_established: 1 << 12, ..Sizes::default() };
    let options = Options { pin_dir: Path::new(bpf_dir).join("viaduct"), sizes };
    let mut report = Report { failed: false };
    match probe(&options) {
        Ok(programs) => {
            for (program, result) in programs {
                report.line(&format!("load {program}"), result);
            }
        }
        Err(error) => report.line("load", Err(error)),
    }
    if !report.failed {
        attach(&options, Path::new(cgroup), uplink, &mut report);
    }
    report.line("remove", DataPlane::remove(&options.pin_dir));
    if !report.failed {
        match fixtures(&options, uplink, pod, Path::new(folder)) {
            Ok(tally) => tell(tally, &mut report),
            Err(error) => report.line("fixtures", Err(error)),
        }
    }
    if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Attaches everything again and again: the second time by what a new process would find, then by
/// what one of a newer and one of an older version would have left.
fn attach(options: &Options, cgroup: &Path, interface: &str, report: &mut Report) {
    let ifindex = match nix::net::if_::if_nametoindex(interface) {
        Ok(ifindex) => IfIndex(ifindex),
        Err(error) => return report.line(interface, Err(error)),
    };
    let own = options.pin_dir.join(format!("v{ABI_VERSION}"));
    let turns =
        [("attach", None), ("adopt", None), ("step back", Some("v99")), ("step on", Some("v1"))];
    for (turn, other) in turns {
        let other = other.map(|name| options.pin_dir.join(name));
        if let Some(other) = &other
            && let Err(error) = fs::rename(&own, other)
        {
            return report.line(turn, Err(error));
        }
        let mut data_plane = match DataPlane::load(options) {
            Ok(data_plane) => data_plane,
            Err(error) => return report.line(turn, Err(error)),
        };
        report.line(&format!("{turn} cgroup"), data_plane.attach_cgroup(cgroup));
        report.line(
            &format!("{turn} uplink_ingress, uplink_egress"),
            data_plane.attach_uplink(ifindex),
        );
        let pod = PodAddresses { v4: Some([10, 0, 0, 1].into()), v6: None };
        report.line(&format!("{turn} pod_ingress"), data_plane.attach_pod(ifindex, pod));
        match data_plane.attached_pods() {
            Ok(pods) if pods.contains(&ifindex) => {}
            Ok(pods) => report.line(turn, Err(format!("attached pods are {pods:?}"))),
            Err(error) => report.line(turn, Err(error)),
        }
        if data_plane.takeover().is_some() != other.is_some() {
            report.line(turn, Err(format!("taken over: {:?}", data_plane.takeover())));
        }
        if other.is_some_and(|other| other.exists()) {
            report.line(turn, Err("the other version's folder is still there"));
        }
    }
}

fn fixtures(options: &Options, uplink: &str, pod: &str, folder: &Path) -> Result<Tally> {
    let fixtures = ebpf_fixtures::all(folder)?;
    let ifindex = |name| nix::net::if_::if_nametoindex(name).map(IfIndex);
    let mut kernel = Kernel::load(options, ifindex(uplink)?, ifindex(pod)?)?;
    Ok(lb_check::run_all(&mut kernel, &fixtures))
}

fn tell(tally: Tally, report: &mut Report) {
    for (name, error) in tally.faults {
        report.fault(&format!("fixture {name}"), &format!("{error:#}").replace('\n', " "));
    }
    for name in tally.early {
        println!("ok fixture {name}: up to where the kernel is too young");
    }
    let Tally { fixtures, packets, untaken, .. } = tally;
    println!("ok {fixtures} fixtures of {packets} packets; {untaken} more are no test run's");
}

struct Report {
    failed: bool,
}

impl Report {
    fn line<E: Display + Debug>(&mut self, what: &str, result: Result<(), E>) {
        match result {
            Ok(()) => println!("ok {what}"),
            Err(error) => self.fault(what, &format!("{error}: {error:?}")),
        }
    }

    fn fault(&mut self, what: &str, why: &str) {
        self.failed = true;
        println!("FAIL {what}: {why}");
    }
}
