//! A network namespace that the kernel takes away when the last thread in it ends.

use std::{
    io::{BufRead, BufReader, Read},
    marker::PhantomData,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};

/// The namespace of this thread, and of the programs it starts.
pub(crate) struct Namespace {
    /// It belongs to one thread.
    stays: PhantomData<*const ()>,
}

impl Namespace {
    /// Moves this thread into a new, empty namespace. Every test runs on a thread of its own.
    pub(crate) fn enter() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace, which needs root");
        Self { stays: PhantomData }
    }

    /// Runs a program to its end; what it printed. Fails the test when the program does.
    pub(crate) fn run(&self, program: &str, arguments: &str) -> String {
        let output = Command::new(program)
            .args(arguments.split_whitespace())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts listening to changes of routes and nexthops; returns when it hears.
    pub(crate) fn monitor(&self) -> Monitor {
        let mut child = Command::new("ip")
            .args(["monitor", "route", "nexthop"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("ip monitor");
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        wait_for_subscription(child.id());
        let mut said = String::new();
        self.run("ip", "route replace 198.18.0.1 dev lo");
        lines.read_line(&mut said).unwrap();
        assert!(said.contains("198.18.0.1"), "{said}");
        Monitor { child, lines }
    }
}

/// Waits until the process sleeps in a read of its netlink socket, that is, has subscribed.
fn wait_for_subscription(pid: u32) {
    wait_for("ip monitor to listen", || {
        let wchan = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
        // recvmsg(2) is number 47 on amd64 and 212 on arm64.
        let receives = wchan.starts_with("47 ") || wchan.starts_with("212 ");
        receives.then_some(()).ok_or(wchan)
    });
}

/// A running `ip monitor`, ended when dropped.
pub(crate) struct Monitor {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Monitor {
    /// What was heard since the start.
    pub(crate) fn stop(mut self, namespace: &Namespace) -> String {
        namespace.run("ip", "route replace 198.18.0.2 dev lo");
        let mut said = String::new();
        loop {
            let mut line = String::new();
            let len = self.lines.read_line(&mut line).unwrap();
            assert!(len > 0, "ip monitor ended early");
            if line.contains("198.18.0.2") {
                return said;
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.lines.read_to_end(&mut Vec::new());
    }
}

/// Tries until it succeeds; fails the test with the last error after a minute.
pub(crate) fn wait_for(what: &str, mut attempt: impl FnMut() -> Result<(), String>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match attempt() {
            Ok(()) => return,
            Err(error) if Instant::now() > deadline => panic!("no {what} within 60 s: {error}"),
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}
