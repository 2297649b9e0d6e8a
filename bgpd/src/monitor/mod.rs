//! Those who watch the speaker: collectors that are told by BMP, and a file of updates. They are fed from
//! the speaker's task and never waited for.

use std::{path::PathBuf, time::Duration};

use bgp_speaker::{Observed, Speaker, Watch};
use tokio::sync::mpsc;

use crate::{bmp, intake::Input, mrt, network::Network};

/// Who is to watch. Where nothing of it is said again as it was, a connection or file goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Monitoring {
    /// By which collectors know the speaker.
    pub name: String,
    /// At most one for each address.
    pub collectors: Vec<bmp::Collector>,
    pub recording: Option<Recording>,
}

/// A file of the messages that peers send and of the states of sessions (BGP4MP, RFC 6396 §4.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    /// What is there is kept, and written on. A file that is full takes the time of its end as a suffix.
    pub file: PathBuf,
    pub rotate_after: Option<Duration>,
    pub rotate_bytes: Option<u64>,
}

/// Numbers for operators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) collectors: usize,
    pub(crate) connected: usize,
    /// Collectors that did not read and were cut off.
    pub(crate) cut_off: u64,
    /// Records of updates written, and those left out because the disk was too slow or refused them.
    pub(crate) recorded: u64,
    pub(crate) unrecorded: u64,
}

/// All of them, within the speaker's task.
#[derive(Debug)]
pub(crate) struct Monitors {
    pub(crate) bmp: bmp::Exporter,
    recorder: Option<mrt::Recorder>,
    /// Of recorders that are no more.
    past: (u64, u64),
}

impl Monitors {
    pub(crate) fn new(inputs: mpsc::Sender<Input>) -> Self {
        Self { bmp: bmp::Exporter::new(inputs), recorder: None, past: (0, 0) }
    }

    pub(crate) fn set(&mut self, monitoring: Monitoring, speaker: &mut Speaker) {
        let Monitoring { name, collectors, recording } = monitoring;
        self.bmp.set(name, collectors);
        if self.recorder.as_ref().map(mrt::Recorder::recording) != recording.as_ref() {
            if let Some(old) = self.recorder.take() {
                let (recorded, unrecorded) = old.counts();
                self.past = (self.past.0 + recorded, self.past.1 + unrecorded);
            }
            self.recorder = recording.map(mrt::Recorder::start);
        }
        self.rewatch(speaker);
    }

    /// To be called when a collector comes or goes.
    pub(crate) fn rewatch(&self, speaker: &mut Speaker) {
        let recorded = self.recorder.is_some();
        let watch = self.bmp.watch();
        speaker.watch(Watch {
            sessions: watch.sessions || recorded,
            received: watch.received || recorded,
            ..watch
        });
    }

    /// Passes on all that has happened.
    pub(crate) fn observe(&mut self, speaker: &mut Speaker, network: &Network) {
        while let Some(event) = speaker.poll_observed() {
            if let Some(recorder) = &mut self.recorder {
                recorder.observe(&event, speaker.config(), network);
            }
            match event {
                Observed::Changes(changes) => self.bmp.changes(&changes, speaker),
                Observed::Up { peer } => self.bmp.up(peer, speaker, network),
                Observed::Down { peer, end } => self.bmp.down(peer, end),
                Observed::Sent { peer, messages } => self.bmp.sent(peer, &messages),
                Observed::State { .. } | Observed::Received { .. } => {}
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let (recorded, unrecorded) =
            self.recorder.as_ref().map(mrt::Recorder::counts).unwrap_or_default();
        Counts {
            recorded: self.past.0 + recorded,
            unrecorded: self.past.1 + unrecorded,
            ..self.bmp.counts()
        }
    }
}
