//! Network namespaces that belong to a thread, so that they go when it ends, however it ends.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::gettid,
};

/// Runs a test in a fresh namespace with loopback up. Everything it starts is in there too.
pub(crate) fn isolated(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        enter();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

fn enter() {
    unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace needs CAP_SYS_ADMIN");
    ip("link set lo up");
}

/// Runs `ip` in the namespace of the calling thread.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

type Job = Box<dyn FnOnce() + Send>;

/// Another namespace, kept by a thread of its own.
pub(crate) struct Netns {
    jobs: mpsc::Sender<Job>,
    path: PathBuf,
}

impl Netns {
    pub(crate) fn new() -> Self {
        let (jobs, work) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            enter();
            tell.send(gettid()).unwrap();
            work.iter().for_each(|job| job());
        });
        let thread = told.recv().expect("the namespace could not be made");
        Self { jobs, path: format!("/proc/self/task/{thread}/ns/net").into() }
    }

    /// Does something in there and waits for what comes of it.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = mpsc::channel();
        let job = Box::new(move || tell.send(job()).unwrap());
        self.jobs.send(job).unwrap();
        told.recv().expect("the job has panicked")
    }

    /// A bare link from the caller's namespace into this one, by the names of its ends.
    pub(crate) fn wire(&self, near: &str, far: &str) {
        ip(&format!("link add {near} type veth peer name {far}"));
        // `ip` runs in a process of its own, where `self` would be another.
        let path = self.path.to_string_lossy().replace("self", &std::process::id().to_string());
        ip(&format!("link set {far} netns {path}"));
    }

    /// A link from the caller's namespace into this one; 192.0.2.N and 2001:db8::N at both ends.
    pub(crate) fn link(&self, near: u8, far: u8) {
        self.wire("viaduct0", "viaduct1");
        let configure = |link: &str, number: u8| {
            ip(&format!("addr add 192.0.2.{number}/24 dev {link}"));
            ip(&format!("addr add 2001:db8::{number}/64 dev {link} nodad"));
            ip(&format!("link set {link} up"));
        };
        configure("viaduct0", near);
        self.run(move || configure("viaduct1", far));
    }
}

/// What a command has printed; it must have succeeded.
pub(crate) fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("command");
    assert!(output.status.success(), "{command:?}: {output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
