//! A BIRD 2 of our own: its configuration, its process, and its words.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::sleep,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::netns::{Netns, output};

pub(crate) struct Bird {
    netns: Arc<Netns>,
    folder: TempDir,
    process: Option<Child>,
}

impl Bird {
    /// Starts BIRD in a namespace.
    pub(crate) fn start(netns: Arc<Netns>, config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("bird.conf"), config).unwrap();
        let mut bird = Self { netns, folder, process: None };
        bird.run(&[]);
        bird
    }

    /// Starts the process again after [`Self::kill`]: it knows that it has been there before, and
    /// recovers (RFC 4724 §4.1).
    pub(crate) fn recover(&mut self) {
        self.run(&["-R"]);
    }

    fn run(&mut self, options: &[&str]) {
        let at = |name: &str| self.folder.path().join(name);
        let mut command = Command::new("bird");
        command.arg("-f").arg("-c").arg(at("bird.conf")).arg("-s").arg(at("bird.ctl"));
        command.arg("-P").arg(at("bird.pid")).args(options).stdin(Stdio::null());
        let log = fs::File::create(at("bird.log")).unwrap();
        command.stderr(log.try_clone().unwrap()).stdout(log);
        // Left from a process that was killed, it would look like an answer.
        let _absent = fs::remove_file(at("bird.ctl"));
        self.process = Some(self.netns.run(move || command.spawn().expect("bird")));
        let end = Instant::now() + Duration::from_secs(10);
        while !at("bird.ctl").exists() {
            let log = fs::read_to_string(at("bird.log")).unwrap();
            assert!(Instant::now() < end, "bird does not start: {log}");
            sleep(Duration::from_millis(10));
        }
    }

    /// SIGKILL: no word to anybody.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Where it lives.
    pub(crate) fn netns(&self) -> &Netns {
        &self.netns
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("bird.log")).unwrap()
    }

    pub(crate) fn ask(&self, question: &str) -> String {
        let control = self.folder.path().join("bird.ctl");
        output(Command::new("birdc").arg("-s").arg(control).args(question.split_whitespace()))
    }

    /// The routes of one prefix with their attributes; nothing where there are none.
    pub(crate) fn route(&self, prefix: &str) -> String {
        self.ask(&format!("show route where net = {prefix} all"))
    }

    /// All routes with their attributes.
    pub(crate) fn routes(&self) -> String {
        self.ask("show route all")
    }
}

impl Drop for Bird {
    fn drop(&mut self) {
        self.kill();
    }
}
