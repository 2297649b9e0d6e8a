//! The real kubectl, from `KUBECTL` or PATH, against the cluster.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on is to panic")]

use std::{
    io::Write,
    process::{Command, Stdio},
};

use tokio::task::block_in_place;

use crate::cluster::Cluster;

pub(crate) struct Kubectl {
    server: String,
    home: tempfile::TempDir,
}

impl Kubectl {
    pub(crate) fn new(cluster: &Cluster) -> Self {
        Self { server: format!("--server={}", cluster.url()), home: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let program = std::env::var_os("KUBECTL").unwrap_or_else(|| "kubectl".into());
        let mut command = Command::new(program);
        command
            .arg(&self.server)
            .args(arguments)
            // Discovery is cached by address, and addresses come again.
            .env("KUBECACHEDIR", self.home.path())
            .env("HOME", self.home.path())
            .env("KUBECONFIG", "/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn try_run(&self, arguments: &[&str], input: &str) -> (bool, String) {
        // The server is on threads of the same runtime.
        block_in_place(|| {
            let mut child =
                self.command(arguments).spawn().expect("kubectl 1.32 in PATH or KUBECTL");
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            let output = child.wait_with_output().unwrap();
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.push_str(&String::from_utf8_lossy(&output.stderr));
            (output.status.success(), text)
        })
    }

    /// What it printed on both outputs.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.feed(arguments, "")
    }

    #[track_caller]
    pub(crate) fn feed(&self, arguments: &[&str], input: &str) -> String {
        let (succeeded, text) = self.try_run(arguments, input);
        assert!(succeeded, "{arguments:?}: {text}");
        text
    }

    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str]) -> String {
        let (succeeded, text) = self.try_run(arguments, "");
        assert!(!succeeded, "{arguments:?}: {text}");
        text
    }
}
