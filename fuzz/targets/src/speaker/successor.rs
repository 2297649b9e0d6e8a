//! Another speaker goes on in the place of the first.

use std::collections::BTreeMap;

use bgp_speaker::{Adopted, Handover, Speaker, Successor};

use super::shell::Shell;
use crate::input::Input;

impl Shell {
    /// What is handed over is damaged where the input says so: then it is refused, or taken for what it
    /// is, and the first goes on.
    pub(super) fn replace(&mut self, input: &mut Input<'_>) {
        if !self.speaker.can_hand_over() {
            return;
        }
        self.speaker.handle_pause(self.now);
        self.settle();
        let mut frames = Vec::new();
        self.speaker.hand_over(self.now, &mut |frame| frames.push(frame));
        let is_damaged = input.below(2) == 1;
        if is_damaged {
            let frame = input.below(frames.len());
            let frame = &mut frames[frame];
            for octet in input.some() {
                let at = usize::from(*octet) % frame.len();
                frame[at] ^= input.octet();
            }
        }
        let mut handover = Handover::default();
        let read = frames.iter().try_for_each(|frame| handover.read(frame));
        assert!(is_damaged || read.is_ok(), "{read:?}");
        let adopted = self.speaker.handed_over().map(|(peer, conn, _)| {
            let unwritten = self.unwritten(conn);
            (peer, Adopted { conn, unwritten })
        });
        let connections: BTreeMap<_, _> = adopted.collect();
        let conns: Vec<_> = connections.values().map(|adopted| adopted.conn).collect();
        let successor = Successor {
            config: self.speaker.config().clone(),
            underlay: &self.underlay,
            originations: &self.originations,
            sources: Vec::new(),
            forwards: true,
            connections,
            seed: 7,
        };
        let next = Speaker::taken_over(handover, successor, self.now);
        if is_damaged {
            return self.speaker.handle_resume(self.now);
        }
        self.go_on(next.unwrap(), &conns);
    }
}
