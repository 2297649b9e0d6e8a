//! A planned restart: another process goes on in a node's place.

use std::{collections::BTreeMap, sync::Arc};

use bgp_speaker::{Adopted, Config, Handover, Speaker, Successor};

use super::{Network, originated, underlay};
use crate::NodeId;

impl Network {
    /// The next process takes over sessions, connections and table, with this configuration. Of one that
    /// is still starting it does not.
    pub fn replace(&mut self, node: NodeId, config: Config) {
        let now = self.instant();
        let Some(speaker) = &mut self.nodes[node].speaker else { return };
        if !speaker.can_hand_over() {
            return;
        }
        speaker.handle_pause(now);
        self.poll(node);
        let Some(mut speaker) = self.nodes[node].speaker.take() else { return };
        let mut handover = Handover::default();
        speaker.hand_over(now, &mut |frame| handover.read(&frame).unwrap());
        let unwritten: BTreeMap<_, _> = speaker
            .peer_statuses(now)
            .into_iter()
            .map(|status| (status.address, status.unwritten))
            .collect();
        // What is reset already, and nobody has noticed yet, is not there to be handed over.
        let standing = speaker.handed_over().filter(|(_, conn, _)| self.ends.contains_key(&conn.0));
        let connections: BTreeMap<_, _> = standing
            .map(|(peer, conn, _)| (peer, Adopted { conn, unwritten: unwritten[&peer] }))
            .collect();
        let adopted: Vec<_> = connections.values().map(|one| one.conn.0).collect();
        let successor = Successor {
            config: Arc::new(config),
            underlay: &underlay(),
            originations: &originated(&self.nodes[node].originations),
            sources: Vec::new(),
            forwards: true,
            connections,
            seed: self.dice.throw(),
        };
        let next = Speaker::taken_over(handover, successor, now).unwrap();
        self.trace.note(self.now, node, "replaced", &[]);
        self.nodes[node].go_on(next);
        for conn in self.ends_of(node) {
            if !adopted.contains(&conn) {
                self.close(conn);
            }
        }
        self.wake(node);
    }
}
