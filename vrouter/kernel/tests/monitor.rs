//! What the monitor makes of the notifications of the kernel. Needs root and iproute2.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use nix::sched::{CloneFlags, unshare};
use tokio::{runtime, time::timeout};
use vrouter_kernel::{Change, Monitor, Netlink};
use vrouter_plan::{Kernel, Operation, RouteKey, Via};

const PROTOCOL: u8 = 86;

/// Runs commands of iproute2 in the namespace of this thread.
fn ip(lines: &str) {
    let mut child = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "ip: {lines}");
}

struct Lab {
    runtime: runtime::Runtime,
    kernel: Netlink,
    monitor: Monitor,
}

impl Lab {
    /// In a network namespace that ends with this thread.
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, which needs root");
        ip("link set lo up\nlink add vd0 type veth peer name vd0p\nlink set vd0 up\n");
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let kernel = Netlink::open(PROTOCOL).unwrap();
        let entered = runtime.enter();
        let monitor = Monitor::open(kernel.port(), PROTOCOL).unwrap();
        drop(entered);
        Self { runtime, kernel, monitor }
    }

    fn heard(&mut self) -> Option<Change> {
        self.runtime.block_on(async {
            let heard = timeout(Duration::from_millis(200), self.monitor.changed()).await;
            heard.ok().map(Result::unwrap)
        })
    }
}

#[test]
fn who_changed_what_is_told_apart() {
    let mut lab = Lab::new();
    // The links take a moment to settle; what that brings is of no interest here.
    while lab.heard().is_some() {}

    ip("route add 198.51.100.0/24 dev vd0\n");
    let surroundings = Change { surroundings: true, ..Change::default() };
    assert_eq!(lab.heard(), Some(surroundings));
    let key = RouteKey::ours("10.1.0.0/26".parse().unwrap());
    let put = Operation::PutRoute { key, via: Via::Blackhole };
    assert_eq!(lab.kernel.apply(&[put]), [Ok(())]);
    assert_eq!(lab.heard(), None, "our own change is no news");
    ip("route del blackhole 10.1.0.0/26 proto 86\n");
    let own = Change { own: true, ..Change::default() };
    assert_eq!(lab.heard(), Some(own));
    ip("nexthop add id 7 blackhole\n");
    assert_eq!(lab.heard(), Some(surroundings));
}

#[test]
fn notifications_that_are_lost_are_an_overrun() {
    let mut lab = Lab::new();
    let routes: String = (0..4000_u32)
        .map(|number| format!("route add 10.{}.{}.0/24 dev vd0\n", number >> 8, number & 0xff))
        .collect();
    ip(&routes);
    let mut overrun = false;
    while let Some(change) = lab.heard() {
        overrun |= change.overrun;
    }
    assert!(overrun);
    ip("route add 198.51.100.0/24 dev vd0\n");
    assert!(lab.heard().is_some(), "it hears again");
}

#[test]
fn what_is_done_twice_or_not_there_is_no_error() {
    let mut lab = Lab::new();
    let key = RouteKey::ours("10.1.0.0/26".parse().unwrap());
    let put = Operation::PutRoute { key, via: Via::Blackhole };
    let delete = Operation::DeleteRoute { key };
    let id = vrouter_plan::NEXTHOP_IDS.start;
    let operations = [put.clone(), put, delete.clone(), delete, Operation::DeleteNexthop { id }];
    assert_eq!(lab.kernel.apply(&operations), [const { Ok(()) }; 5]);
}

#[test]
fn a_refusal_says_why_and_the_others_are_done() {
    let mut lab = Lab::new();
    let key = |text: &str| RouteKey::ours(text.parse().unwrap());
    let id = vrouter_plan::NEXTHOP_IDS.start;
    let missing = Operation::PutRoute { key: key("10.1.0.0/26"), via: Via::Nexthop(id) };
    let fine = Operation::PutRoute { key: key("10.2.0.0/26"), via: Via::Blackhole };
    let results = lab.kernel.apply(&[missing, fine]);
    let error = results[0].as_ref().unwrap_err();
    assert!(error.message.contains("exthop"), "{error}");
    assert_eq!(results[1], Ok(()));
    assert_eq!(lab.kernel.snapshot().unwrap().routes.len(), 1);
}
