//! Loads and attaches every program on the kernel it runs on, and says how each fared.
//!
//! `vm-check PIN_DIR CGROUP INTERFACE`: `cargo xtask vm` runs it in a machine made for it. Each line
//! is `ok WHAT` or `FAIL WHAT: WHY`; the exit code is 0 if none failed.

use std::{path::Path, process::ExitCode};

use lb_maps::{DataPlane, Options, PodAddresses, Sizes, probe};
use viaduct_net::IfIndex;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [pin_dir, cgroup, interface] = &arguments[..] else {
        eprintln!("usage: vm-check PIN_DIR CGROUP INTERFACE");
        return ExitCode::from(2);
    };
    let sizes = Sizes { maglev: 1 << 12, flows_established: 1 << 12, ..Sizes::default() };
    let options = Options { pin_dir: pin_dir.into(), sizes };
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
        attach(&options, Path::new(cgroup), interface, &mut report);
    }
    report.line("remove", DataPlane::remove(&options.pin_dir));
    if report.failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Attaches everything twice: the second time by what a new process would find.
fn attach(options: &Options, cgroup: &Path, interface: &str, report: &mut Report) {
    let ifindex = match nix::net::if_::if_nametoindex(interface) {
        Ok(ifindex) => IfIndex(ifindex),
        Err(error) => return report.line(interface, Err(error)),
    };
    for turn in ["attach", "adopt"] {
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
    }
}

struct Report {
    failed: bool,
}

impl Report {
    fn line<E: std::fmt::Display + std::fmt::Debug>(&mut self, what: &str, result: Result<(), E>) {
        match result {
            Ok(()) => println!("ok {what}"),
            Err(error) => {
                self.failed = true;
                println!("FAIL {what}: {error}: {error:?}");
            }
        }
    }
}
