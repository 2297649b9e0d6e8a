//! One peer of a group: how far it has read, and what it is still owed.

use std::collections::{BTreeSet, VecDeque};

use bgp_wire::{
    EXTENDED_MESSAGE_LEN, Families, Message, Nlri, RouteRefresh, SessionParameters,
    encode_end_of_rib, first_frame,
};
use bytes::{Bytes, BytesMut};
use viaduct_net::Family;

use super::{
    Hopeless, MAX_LAGGING, Outgoing, Owed, Profile,
    batch::Batch,
    group::Group,
    log::{Audience, Log},
};
use crate::{PeerId, Rib};

/// Prefixes looked at for one piece of a dump, or told of those that a lagging member has missed.
const STEP: usize = 1024;

/// A walk over the table.
#[derive(Debug)]
struct Dump {
    next: u32,
    families: Families,
    told: usize,
    /// Families whose end is to be told (RFC 7313 §4).
    demarcated: Families,
}

#[derive(Debug)]
pub(super) struct Member {
    /// The entry of the log to be read next; without meaning while the member lags.
    pub(super) cursor: u64,
    /// Messages for this member alone that come before anything else, with their number.
    own: VecDeque<(Bytes, u32)>,
    dump: Option<Dump>,
    /// Families of which End-of-RIB is to be said when nothing else is left.
    end_of_rib: Families,
    /// Families to be told once more after that, and those of them with their beginning and end.
    refresh: Families,
    demarcated: Families,
    /// It has left the log: what has changed since, or may have.
    lagging: Option<BTreeSet<Nlri>>,
}

impl Member {
    /// On a session where nothing was told yet.
    pub(super) fn new(end_of_rib: Families, dump: Option<Families>) -> Self {
        let mut member = Self {
            cursor: 0,
            own: VecDeque::new(),
            dump: None,
            end_of_rib,
            refresh: Families::NONE,
            demarcated: Families::NONE,
            lagging: None,
        };
        dump.into_iter().for_each(|families| member.dump(families));
        member
    }

    /// On a session where all was told but this.
    pub(super) fn owing(owed: Owed) -> Self {
        let dump = |families: Families| (!families.is_empty()).then_some(families);
        let mut member = Self::new(owed.end_of_rib, dump(owed.dump));
        if let Some(dump) = &mut member.dump {
            dump.demarcated = owed.dump_demarcated;
        }
        member.own.extend(owed.messages);
        member.refresh = owed.refresh;
        member.demarcated = owed.demarcated;
        member.lagging = (!owed.missed.is_empty()).then(|| owed.missed.into_iter().collect());
        member
    }

    /// What is owed, but for what stands unread in the log. A walk over the table begins again.
    pub(super) fn owed(&self) -> Owed {
        let dump = self.dump.as_ref();
        Owed {
            messages: self.own.iter().cloned().collect(),
            missed: self.lagging.iter().flatten().copied().collect(),
            dump: dump.map(|dump| dump.families).unwrap_or_default(),
            dump_demarcated: dump.map(|dump| dump.demarcated).unwrap_or_default(),
            end_of_rib: self.end_of_rib,
            refresh: self.refresh,
            demarcated: self.demarcated,
        }
    }

    /// All of these families is to be told once more.
    pub(super) fn dump(&mut self, families: Families) {
        let known = self.dump.take();
        let demarcated = known.as_ref().map(|dump| dump.demarcated).unwrap_or_default();
        let known = known.map(|dump| dump.families).unwrap_or_default();
        let families = known.iter().chain(families.iter()).collect();
        self.dump = Some(Dump { next: 0, families, told: 0, demarcated });
    }

    /// The peer wants to be told all of a family once more. What it is told first, it is told to the end
    /// before (RFC 7313 §4: no refresh begins before End-of-RIB).
    pub(super) fn refresh(&mut self, family: Family, demarcated: bool) {
        self.refresh.insert(family);
        if demarcated {
            self.demarcated.insert(family);
        }
    }

    pub(super) fn is_pending(&self, end: u64) -> bool {
        let lags = self.lagging.as_ref().is_some_and(|lagging| !lagging.is_empty());
        let owes = !self.own.is_empty()
            || self.dump.is_some()
            || !self.end_of_rib.is_empty()
            || !self.refresh.is_empty();
        owes || lags || self.lagging.is_none() && self.cursor < end
    }

    /// Whether it is owed what stands in the table and not in the log.
    pub(super) fn reads_table(&self) -> bool {
        self.lagging.is_some() || self.dump.is_some() || !self.refresh.is_empty()
    }

    pub(super) fn is_lagging(&self) -> bool {
        self.lagging.is_some()
    }

    /// Whether what is owed and the log say all there is, apart from a refresh.
    pub(super) fn knows_all(&self) -> bool {
        self.dump.is_none() && self.lagging.is_none()
    }

    /// Of what the group knows.
    pub(super) fn told_so_far(&self, all: usize) -> usize {
        self.dump.as_ref().map_or(all, |dump| dump.told.min(all))
    }

    /// A path has changed.
    pub(super) fn lag_behind(&mut self, nlri: Nlri) {
        if let Some(lagging) = &mut self.lagging
            && lagging.len() <= MAX_LAGGING
        {
            lagging.insert(nlri);
        }
    }

    /// Leaves the log; what stands there unread becomes a set of paths. If none of it is for this
    /// member it has merely been passed.
    pub(super) fn start_lagging(
        &mut self,
        peer: PeerId,
        log: &mut Log,
        parameters: &SessionParameters,
    ) {
        let mut lagging = BTreeSet::new();
        let end = log.end();
        let entries = (self.cursor..end).filter_map(|number| log.at(number));
        for entry in entries.filter(|entry| entry.audience.includes(peer)) {
            lagging.extend(nlris_of(&entry.bytes, parameters));
        }
        if lagging.is_empty() {
            log.pass(std::mem::replace(&mut self.cursor, end), end);
        } else {
            log.leave(self.cursor);
            self.lagging = Some(lagging);
        }
    }

    /// Leaves the log, of which everything was read.
    pub(super) fn gather(&mut self, log: &mut Log) {
        if self.lagging.is_none() {
            log.leave(self.cursor);
            self.lagging = Some(BTreeSet::new());
        }
    }

    /// Reads the log again where nothing was missed; gives whether that is so.
    pub(super) fn gather_no_more(&mut self, log: &mut Log) -> bool {
        let misses_nothing = self.lagging.as_ref().is_some_and(BTreeSet::is_empty);
        if misses_nothing {
            self.lagging = None;
            self.cursor = log.join();
        }
        misses_nothing
    }

    /// Moves entries of the log to what is owed, up to about `room` octets; gives what is left of it.
    pub(super) fn take_log(&mut self, peer: PeerId, log: &mut Log, mut room: usize) -> usize {
        let from = self.cursor;
        while room > 0
            && let Some(entry) = log.at(self.cursor)
        {
            self.cursor += 1;
            if entry.audience.includes(peer) {
                room = room.saturating_sub(entry.bytes.len());
                self.own.push_back((entry.bytes.clone(), entry.messages));
            }
        }
        log.pass(from, self.cursor);
        room
    }

    /// Makes what is owed next, up to about `room` octets.
    pub(super) fn fill(
        &mut self,
        rib: &Rib,
        peer: PeerId,
        group: &mut Group,
        room: usize,
    ) -> Result<(), Hopeless> {
        let owed: usize = self.own.iter().map(|(bytes, _)| bytes.len()).sum();
        let mut room = room.saturating_sub(owed);
        if self.lagging.is_some() {
            room = self.catch_up(rib, peer, group, room)?;
        }
        if self.lagging.is_none() {
            room = self.take_log(peer, &mut group.log, room);
        }
        while room > 0 && self.dump.is_some() {
            room = self.go_on_dumping(rib, peer, group, room);
        }
        if room > 0 && !self.end_of_rib.is_empty() {
            let mut out = BytesMut::new();
            let families = std::mem::take(&mut self.end_of_rib);
            families.iter().for_each(|family| encode_end_of_rib(family, &mut out));
            self.own.push_back((out.freeze(), families.iter().count() as u32));
        }
        if room > 0 && !self.refresh.is_empty() {
            self.begin_refresh();
            while room > 0 && self.dump.is_some() {
                room = self.go_on_dumping(rib, peer, group, room);
            }
        }
        Ok(())
    }

    fn begin_refresh(&mut self) {
        let demarcated = std::mem::take(&mut self.demarcated);
        self.own.extend(demarcations(demarcated, RouteRefresh::begin));
        let families = std::mem::take(&mut self.refresh);
        self.dump = Some(Dump { next: 0, families, told: 0, demarcated });
    }

    /// Hands out what is owed, up to about `room` octets.
    pub(super) fn take_own(&mut self, mut room: usize) -> Outgoing {
        let mut outgoing = Outgoing::default();
        while room > 0
            && let Some((bytes, messages)) = self.own.pop_front()
        {
            room = room.saturating_sub(bytes.len());
            outgoing.bytes.push(bytes);
            outgoing.messages += u64::from(messages);
        }
        outgoing
    }

    /// Tells the state of the moment of what was missed. With nothing left the member is where the
    /// log ends, and reads on there.
    fn catch_up(
        &mut self,
        rib: &Rib,
        peer: PeerId,
        group: &mut Group,
        mut room: usize,
    ) -> Result<usize, Hopeless> {
        let Some(lagging) = &mut self.lagging else { return Ok(room) };
        if lagging.len() > MAX_LAGGING {
            return Err(Hopeless);
        }
        let families = group.profile.parameters.families;
        let mut batch = Batch::default();
        let mut owed = VecDeque::new();
        while room > 0 && !lagging.is_empty() {
            for _ in 0..STEP {
                let Some(nlri) = lagging.pop_first() else { break };
                let path = group.find(rib, nlri);
                let path = path.filter(|path| path.source.peer() != Some(peer));
                match path.and_then(|path| group.telling(nlri.prefix, &path)) {
                    Some(telling) => batch.announce(nlri, telling),
                    // Whether it was ever told is not known; saying so twice does no harm.
                    None if families.contains(nlri.prefix.family()) => {
                        batch.withdraw(nlri, Audience::All);
                    }
                    None => {}
                }
            }
            room = room.saturating_sub(write(&mut batch, &group.profile, &mut owed));
        }
        if lagging.is_empty() {
            self.lagging = None;
            self.cursor = group.log.join();
        }
        self.own.extend(owed);
        Ok(room)
    }

    /// One step of the walk.
    fn go_on_dumping(&mut self, rib: &Rib, peer: PeerId, group: &Group, room: usize) -> usize {
        let Some(dump) = &mut self.dump else { return room };
        let mut batch = Batch::default();
        let families = dump.families;
        let (paths, next) = rib.told_paths_from(dump.next, STEP, group.additional());
        for (prefix, path) in group.within(paths) {
            if path.source.peer() != Some(peer)
                && families.contains(prefix.family())
                && let Some(telling) = group.telling(prefix, &path)
            {
                dump.told += 1;
                batch.announce(group.profile.nlri(prefix, &path), telling);
            }
        }
        dump.next = next.unwrap_or_default();
        let ended = next.is_none().then_some(dump.demarcated);
        let written = self.owe(&mut batch, &group.profile);
        if let Some(demarcated) = ended {
            self.own.extend(demarcations(demarcated, RouteRefresh::end));
            self.dump = None;
        }
        room.saturating_sub(written)
    }

    /// What a batch says is for this member; gives how many octets that is.
    pub(super) fn owe(&mut self, batch: &mut Batch, profile: &Profile) -> usize {
        write(batch, profile, &mut self.own)
    }
}

fn write(batch: &mut Batch, profile: &Profile, into: &mut VecDeque<(Bytes, u32)>) -> usize {
    let mut len = 0;
    batch.write(profile, &mut |entry| {
        len += entry.bytes.len();
        into.push_back((entry.bytes, entry.messages));
    });
    len
}

fn demarcations(
    families: Families,
    message: impl Fn(Family) -> RouteRefresh,
) -> impl Iterator<Item = (Bytes, u32)> {
    Family::ALL.into_iter().filter(move |family| families.contains(*family)).map(move |family| {
        let mut out = BytesMut::new();
        message(family).encode(&mut out);
        (out.freeze(), 1)
    })
}

/// What our own messages speak of.
pub(super) fn nlris_of(mut messages: &[u8], parameters: &SessionParameters) -> Vec<Nlri> {
    // Read as the peer reads them.
    let parameters =
        SessionParameters { add_path_receive: parameters.add_path_send, ..*parameters };
    let mut prefixes = Vec::new();
    while let Ok(Some(frame)) = first_frame(messages, EXTENDED_MESSAGE_LEN) {
        messages = &messages[frame.whole_len()..];
        if let Ok(Message::Update(update)) =
            Message::decode_body(frame.kind, frame.body, &parameters)
        {
            prefixes.extend(update.withdrawn);
            prefixes.extend(update.announced.into_iter().flat_map(|one| one.prefixes));
        }
    }
    prefixes
}
