//! What the task is asked, between all else.

use std::{net::IpAddr, sync::Arc, time::Instant};

use bgp_speaker::{Config, Stop};
use tokio::sync::oneshot;
use viaduct_api::admin::{BfdStatus, BgpPath, PeerDetail, PeerStatus, PolicyTrialQuery};

use super::Task;
use crate::{
    Monitoring, PathQueryError, Replay, detail, metrics, mrt,
    paths::Question,
    status,
    trial::{self, TrialError},
};

/// Questions answered before the next inputs, some two milliseconds each at worst.
const MAX_ANSWERS: usize = 4;

type PathsAnswer = Result<(Vec<BgpPath>, Question), PathQueryError>;

/// What a [`crate::Handle`] asks.
#[derive(Debug)]
pub(crate) enum Query {
    Peers(oneshot::Sender<Vec<PeerStatus>>),
    Bfd(oneshot::Sender<BfdStatus>),
    Peer(IpAddr, oneshot::Sender<Option<PeerDetail>>),
    Policies(Option<IpAddr>, oneshot::Sender<Vec<detail::Policies>>),
    /// With the neighbours that were found on interfaces.
    Config(oneshot::Sender<Arc<Config>>),
    /// What a trial takes place on.
    TrialGround(PolicyTrialQuery, oneshot::Sender<Result<trial::Ground, TrialError>>),
    /// A step of an answer, and the question as it stands after it.
    Paths(Question, oneshot::Sender<PathsAnswer>),
    Metrics(oneshot::Sender<String>),
    /// No question: what was wrong with the configuration as it was read.
    Reading(Vec<String>),
    TablePeers(oneshot::Sender<Vec<mrt::TablePeer>>),
    TablePage(u32, oneshot::Sender<mrt::TablePage>),
    Monitor(Monitoring),
    Replay(Vec<Replay>),
    Shutdown(Stop),
}

impl Task {
    /// In a storm of inputs questions have their turn all the same.
    pub(super) fn answer_waiting(&mut self) -> Option<Stop> {
        for _ in 0..MAX_ANSWERS {
            let stop = self.queries.try_recv().ok().and_then(|query| self.answer(query));
            if stop.is_some() {
                return stop;
            }
        }
        None
    }

    /// Whoever has asked and gone needs no answer. Gives how to stop where that is what is asked.
    pub(super) fn answer(&mut self, query: Query) -> Option<Stop> {
        let now = Instant::now();
        // What is shown has been told.
        if self.speaker.decide(now) {
            self.pump();
        }
        match query {
            Query::Peers(answer) => {
                drop(answer.send(status::peers(&self.speaker, &self.unnumbered.links(), now)))
            }
            Query::Peer(address, answer) => {
                let address = status::known_as(self.speaker.config(), address);
                let detail = self.speaker.peer_detail(address, now);
                drop(answer.send(detail.as_ref().map(detail::peer)));
            }
            Query::Policies(only, answer) => {
                drop(answer.send(detail::policies(&self.speaker, only)));
            }
            Query::Config(answer) => drop(answer.send(self.speaker.config().clone())),
            Query::TrialGround(query, answer) => {
                drop(answer.send(trial::Ground::of(&mut self.speaker, &query)));
            }
            Query::Bfd(answer) => self.bfd.report(answer),
            Query::Paths(mut question, answer) => {
                let paths = question.step(&self.speaker);
                drop(answer.send(paths.map(|paths| (paths, question))));
            }
            Query::Metrics(answer) => {
                let monitors = self.monitors.counts();
                let mut text = metrics::text(&self.speaker, monitors, now);
                self.readings.metrics(&mut text);
                drop(answer.send(text));
            }
            Query::Reading(errors) => {
                if let Some(what) = self.readings.note(errors) {
                    self.speaker.note(what);
                    // Nothing else may come for long.
                    self.tell_events();
                }
            }
            Query::TablePeers(answer) => drop(answer.send(mrt::peers(&self.speaker))),
            Query::TablePage(from, answer) => drop(answer.send(mrt::page(&self.speaker, from))),
            Query::Monitor(monitoring) => self.monitors.set(monitoring, &mut self.speaker),
            Query::Replay(replays) => self.replays.set(replays, &mut self.speaker),
            Query::Shutdown(stop) => return Some(stop),
        }
        None
    }
}
