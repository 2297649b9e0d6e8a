//! Reading a speaker's file again, where it has become another or SIGHUP asks for it: sessions go on
//! unless what they have agreed on has changed, and a file that is wrong changes nothing.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bgp_speaker::{Config, LocalAddresses};
use bgpd::{
    Monitoring, Replay,
    config::{
        self, PasswordSource, Passwords,
        documents::{self, Documents},
    },
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tracing::{error, info, warn};
use viaduct_net::RouterId;

use super::{changes::Changes, running::Running};
use crate::node::passwords;

/// Where a configuration comes from: a file, and what the command line has said.
#[derive(Debug)]
pub(super) struct Source {
    pub path: PathBuf,
    /// By which others know the speaker.
    pub name: String,
    pub router_id: RouterId,
    pub addresses: LocalAddresses,
}

/// What a file has said, and was found good.
#[derive(Debug)]
pub(super) struct Read {
    /// The file as it was.
    pub text: String,
    pub running: Arc<Running>,
    pub config: Config,
    pub monitoring: Monitoring,
    pub replays: Vec<Replay>,
}

/// What is wrong with a file: each with its field.
#[derive(Debug)]
pub(super) struct Wrong {
    path: PathBuf,
    errors: Vec<String>,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.errors.join("; "))
    }
}

impl std::error::Error for Wrong {}

impl Read {
    /// Who watches the speaker, and what it replays, is told to it. It may have ended.
    pub(super) async fn tell(self, speaker: &bgpd::Handle) -> Result<(), bgpd::Ended> {
        speaker.monitor(self.monitoring).await?;
        speaker.replay(self.replays).await
    }
}

impl Source {
    pub(super) fn read(&self) -> Result<Read, Wrong> {
        let text = text_of(&self.path).map_err(|error| self.wrong(vec![error]))?;
        self.understand(text)
    }

    fn wrong(&self, errors: Vec<String>) -> Wrong {
        Wrong { path: self.path.clone(), errors }
    }

    fn understand(&self, text: String) -> Result<Read, Wrong> {
        let reading = documents::read(&text);
        let (Some(configuration), []) = (reading.configuration, &reading.errors[..]) else {
            return Err(self.wrong(reading.errors.iter().map(ToString::to_string).collect()));
        };
        let (peers, replays) = (reading.peers, reading.replays);
        let (router_id, addresses) = (self.router_id, self.addresses);
        let running = Running {
            file: self.path.clone(),
            router_id,
            addresses,
            passwords: passwords::of_files(&peers),
            documents: Documents { configuration, peers, replays },
        };
        let Documents { configuration, peers, replays } = &running.documents;
        let passwords = &running.passwords;
        let read = || {
            let config = config::standalone(configuration, router_id, addresses, peers, passwords)?;
            let monitoring = config::monitoring(&self.name, configuration)?;
            let replays = config::replays(configuration, replays)?;
            Ok::<_, config::ConfigErrors>((config, monitoring, replays))
        };
        match read() {
            Ok((config, monitoring, replays)) => {
                Ok(Read { text, running: Arc::new(running), config, monitoring, replays })
            }
            Err(config::ConfigErrors(errors)) => {
                Err(self.wrong(errors.iter().map(ToString::to_string).collect()))
            }
        }
    }

    /// The file as it is now, for a speaker that runs as `running` says.
    fn understand_again(&self, text: String, running: &Config) -> Result<Read, Wrong> {
        let mut read = self.understand(text)?;
        let config = &mut read.config;
        let (asn, port) = (running.asn, running.listen_port);
        let mut errors = Vec::new();
        if config.asn != asn {
            errors
                .push(format!("spec.asn: {asn} cannot become {} without a new start", config.asn));
        }
        if config.listen_port != port {
            let wanted = config.listen_port;
            errors.push(format!(
                "spec.listenPort: {port} cannot become {wanted} without a new start"
            ));
        }
        if !errors.is_empty() {
            return Err(self.wrong(errors));
        }
        config.restarting = running.restarting;
        Ok(read)
    }
}

fn text_of(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("it cannot be read: {error}"))
}

/// Who is told what the file says.
pub(super) struct Outputs {
    pub config: watch::Sender<Arc<Config>>,
    pub running: watch::Sender<Arc<Running>>,
    pub problems: watch::Sender<Vec<String>>,
    pub speaker: bgpd::Handle,
}

/// Reads the file again when it has become another, or one with a password or key has, and at
/// every SIGHUP. What is wrong with it is shown to operators until it is right.
pub(super) fn follow(
    source: Source,
    text: String,
    outputs: Outputs,
) -> io::Result<impl Future<Output = ()>> {
    let hangup = signal(SignalKind::hangup())?;
    let last = Look { text: Ok(text), passwords: outputs.running.borrow().passwords.clone() };
    let changes = match Changes::of(&source.path, last.password_files()) {
        Ok(changes) => Some(changes),
        Err(error) => {
            let path = source.path.display();
            warn!(%path, %error, "a change of the file is not seen: SIGHUP has it read again");
            None
        }
    };
    let mut file = Followed { last, source, hangup, changes };
    Ok(async move {
        let Outputs { config, running: shown, problems, speaker } = outputs;
        loop {
            let running = config.borrow().clone();
            match file.next(&running).await {
                Ok(new) => {
                    info!(peers = new.config.peers.len(), "configuration read again");
                    config.send_replace(Arc::new(new.config.clone()));
                    shown.send_replace(new.running.clone());
                    problems.send_replace(Vec::new());
                    if new.tell(&speaker).await.is_err()
                        || speaker.note_reading(Vec::new()).await.is_err()
                    {
                        return;
                    }
                }
                Err(Wrong { path, errors }) => {
                    let path = path.display();
                    for error in &errors {
                        error!(%path, error, "the configuration stays as it was");
                    }
                    let stays = "the configuration stays as it was until this is mended";
                    let all = errors.iter().map(|error| format!("{path}: {error}; {stays}"));
                    problems.send_replace(all.collect());
                    if speaker.note_reading(errors).await.is_err() {
                        return;
                    }
                }
            }
        }
    })
}

/// All that a configuration is read from, good or not.
#[derive(Clone, PartialEq, Eq)]
struct Look {
    text: Result<String, String>,
    passwords: Passwords,
}

impl Look {
    fn at(path: &Path) -> Self {
        let text = text_of(path);
        // Whatever else is wrong: a password may be what is missing.
        let peers = text.as_deref().map(|text| documents::read(text).peers).unwrap_or_default();
        Self { text, passwords: passwords::of_files(&peers) }
    }

    fn password_files(&self) -> Vec<PathBuf> {
        let files = self.passwords.keys().filter_map(|source| match source {
            PasswordSource::File(path) => Some(PathBuf::from(path)),
            PasswordSource::Secret(_) => None,
        });
        files.collect()
    }
}

struct Followed {
    source: Source,
    last: Look,
    hangup: Signal,
    /// None where the kernel does not tell.
    changes: Option<Changes>,
}

impl Followed {
    /// What the file says when it says something else, or is to be read whatever it says.
    async fn next(&mut self, running: &Config) -> Result<Read, Wrong> {
        // It may have become another before it was watched.
        let mut asked = false;
        loop {
            let look = Look::at(&self.source.path);
            if asked || !self.disturbed() && look != self.last {
                self.last = look;
                self.watch();
                return match self.last.text.clone() {
                    Ok(text) => self.source.understand_again(text, running),
                    Err(error) => Err(self.source.wrong(vec![error])),
                };
            }
            asked = self.wanted().await;
        }
    }

    /// Waits for a reason to read the file; true where it is SIGHUP.
    async fn wanted(&mut self) -> bool {
        let Some(changes) = &mut self.changes else {
            return self.hangup.recv().await.is_some();
        };
        let seen = tokio::select! {
            Some(()) = self.hangup.recv() => return true,
            seen = changes.next() => seen,
        };
        match seen {
            Ok(()) => self.watch(),
            Err(error) => self.blind(&error),
        }
        false
    }

    /// What was read last names the files to be watched, and links on the way to them may have changed.
    fn watch(&mut self) {
        let files = self.last.password_files();
        if let Some(Err(error)) = self.changes.as_mut().map(|changes| changes.watch(files)) {
            self.blind(&error);
        }
    }

    fn disturbed(&mut self) -> bool {
        match self.changes.as_mut().map_or(Ok(false), Changes::disturbed) {
            Ok(disturbed) => disturbed,
            Err(error) => {
                self.blind(&error);
                false
            }
        }
    }

    fn blind(&mut self, error: &io::Error) {
        let path = self.source.path.display();
        warn!(%path, %error, "a change of the file is seen no more: SIGHUP has it read again");
        self.changes = None;
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::Ipv4Addr, time::Duration};

    use tokio::time::timeout;

    use super::*;

    fn source(path: &Path) -> Source {
        let address = Ipv4Addr::new(192, 0, 2, 1);
        Source {
            path: path.to_owned(),
            name: "r1".to_owned(),
            router_id: address.try_into().unwrap(),
            addresses: LocalAddresses { v4: Some(address), v6: None },
        }
    }

    /// The file says the same all the time.
    #[tokio::test]
    async fn a_password_that_becomes_another_is_a_reason_to_read() {
        let folder = tempfile::tempdir().unwrap();
        let (path, password) = (folder.path().join("bgp.yaml"), folder.path().join("secrets/one"));
        fs::create_dir(folder.path().join("secrets")).unwrap();
        fs::write(&password, "first\n").unwrap();
        let text = format!(
            "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\n\
             metadata: {{name: default}}\nspec: {{asn: 64512}}\n\
             ---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\nmetadata: {{name: one}}\n\
             spec: {{address: 192.0.2.2, asn: 65001, passwordFile: {}}}\n",
            password.display()
        );
        fs::write(&path, text).unwrap();
        let source = source(&path);
        let running = source.read().unwrap().config;
        let last = Look::at(&path);
        let changes = Changes::of(&path, last.password_files()).unwrap();
        let hangup = signal(SignalKind::hangup()).unwrap();
        let mut file = Followed { last, source, hangup, changes: Some(changes) };
        for (written, expected) in
            [("second\n", Some(&b"second"[..])), ("", None), ("third", Some(b"third"))]
        {
            fs::write(&password, written).unwrap();
            let read = timeout(Duration::from_secs(20), file.next(&running)).await;
            match (read.expect("it is not read again"), expected) {
                (Ok(read), Some(expected)) => {
                    let peer = read.config.peers.values().next().unwrap();
                    assert_eq!(peer.transport.md5.as_ref().unwrap().octets(), expected);
                }
                (Err(wrong), None) => {
                    let wrong = wrong.to_string();
                    assert!(wrong.contains("BGPPeer/one: spec.passwordFile"), "{wrong}");
                }
                (read, _) => panic!("{written:?}: {:?}", read.map(|read| read.config)),
            }
        }
    }

    #[test]
    fn a_file_that_is_wrong_changes_nothing() {
        let path = std::env::temp_dir().join(format!("viaduct-reload-{}", std::process::id()));
        let source = source(&path);
        let write = |spec: &str, peers: &[u8]| {
            let mut text = format!(
                "apiVersion: viaduct.dev/v1alpha1\nkind: BGPConfiguration\n\
                 metadata: {{name: default}}\nspec: {spec}\n"
            );
            for peer in peers {
                text += &format!(
                    "---\napiVersion: viaduct.dev/v1alpha1\nkind: BGPPeer\n\
                     metadata: {{name: p{peer}}}\n\
                     spec: {{address: 192.0.2.{peer}, asn: 64512, reflectorClient: true}}\n"
                );
            }
            fs::write(&path, text).unwrap();
        };
        let again = |source: &Source, running: &Config| {
            source.understand_again(text_of(&source.path).unwrap(), running)
        };
        write("{asn: 64512}", &[2]);
        let mut running = source.read().unwrap().config;
        running.restarting = true;
        write("{asn: 64512}", &[2, 3]);
        let read = again(&source, &running).unwrap().config;
        assert_eq!((read.peers.len(), read.restarting), (2, true));
        assert!(read.is_reflector());
        for (spec, field) in [
            ("{asn: 64513}", "spec.asn"),
            ("{asn: 64512, listenPort: 1179}", "spec.listenPort"),
            ("{asn: 64512, clusterId: here}", "clusterId"),
            ("{asn: 64513, listenPort: 1179}", "; spec.listenPort: 179 cannot become 1179"),
        ] {
            write(spec, &[]);
            let error = format!("{:#}", again(&source, &running).unwrap_err());
            assert!(error.contains(field), "{error}");
        }
        fs::remove_file(&path).unwrap();
    }
}
