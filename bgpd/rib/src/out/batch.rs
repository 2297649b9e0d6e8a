//! Changes of many prefixes made into as few messages as carry them.

use std::collections::BTreeMap;

use bgp_policy::Applied;
use bgp_wire::{
    AttributeSet, BgpNextHop, EXTENDED_MESSAGE_LEN, Nlri, PeerKind, encode_announcements,
    encode_withdrawals, first_frame, fits,
};
use bytes::BytesMut;
use hashbrown::HashMap;
use viaduct_net::{Family, RouterId};

use super::{
    ENTRY_BYTES, Profile,
    group::audience,
    log::{Audience, Entry},
};
use crate::{PathSource, export, interner::AttributeInterner};

/// How a path is told.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    /// As the policy has made them; what changes on the way out depends on the source.
    pub(super) applied: Applied,
    /// They are the table's own allocation, one for all that are equal.
    pub(super) is_interned: bool,
    pub(super) source: PathSource,
    pub(super) next_hop: BgpNextHop,
}

/// What makes two tellings go into one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    family: Family,
    attributes: usize,
    sets_med: bool,
    next_hop: BgpNextHop,
    audience: Audience,
    originated: bool,
    router_id: Option<RouterId>,
}

impl Telling {
    fn key(&self, family: Family) -> Key {
        let (originated, router_id) = match self.source {
            PathSource::Local(_) => (true, None),
            PathSource::Peer { router_id, .. } => (false, Some(router_id)),
        };
        Key {
            family,
            attributes: self.applied.attributes.address(),
            sets_med: self.applied.sets_med,
            next_hop: self.next_hop,
            audience: audience(self.source.peer()),
            originated,
            router_id,
        }
    }

    /// Whether a message has room for it: what has not cannot be told (RFC 8654 §4).
    pub(super) fn fits(&self, profile: &Profile, nlri: Nlri) -> bool {
        // Nothing that is changed on the way makes a set twice as long.
        if self.attributes().octets().len() <= profile.parameters.send_limit() / 4 {
            return true;
        }
        let attributes = self.edited(profile);
        fits(&profile.parameters, &attributes, self.next_hop, nlri)
    }

    /// The attributes as they are told.
    fn edited(&self, profile: &Profile) -> AttributeSet {
        let kind = profile.parameters.peer_kind;
        export::edit(&profile.local, kind, self.source, &self.applied).apply(self.attributes())
    }

    pub(super) fn attributes(&self) -> &AttributeSet {
        &self.applied.attributes
    }

    /// Whether a peer that has been told the other would learn nothing.
    pub(super) fn says_the_same_as(&self, other: &Self, kind: PeerKind) -> bool {
        let originated = |telling: &Self| matches!(telling.source, PathSource::Local(_));
        let reflected = |telling: &Self| export::reflected_of(kind, telling.source);
        self.attributes() == other.attributes()
            && self.applied.sets_med == other.applied.sets_med
            && self.next_hop == other.next_hop
            && originated(self) == originated(other)
            && reflected(self) == reflected(other)
    }
}

const NIL: u32 = u32::MAX;

/// Prefixes encoded at once.
const RUN: usize = 4096;

/// The prefixes with one telling, as a list through the batch.
#[derive(Debug)]
struct Bucket {
    key: Key,
    telling: Telling,
    first: u32,
    last: u32,
}

#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What policies have made, so that what is equal is told together.
    attributes: AttributeInterner,
    buckets: Vec<Bucket>,
    index: HashMap<Key, u32>,
    prefixes: Vec<(Nlri, u32)>,
    withdrawn: BTreeMap<Audience, Vec<Nlri>>,
    withdrawn_count: usize,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.prefixes.len() + self.withdrawn_count
    }

    pub(super) fn withdraw(&mut self, nlri: Nlri, audience: Audience) {
        self.withdrawn.entry(audience).or_default().push(nlri);
        self.withdrawn_count += 1;
    }

    pub(super) fn announce(&mut self, nlri: Nlri, mut telling: Telling) {
        if !telling.is_interned {
            telling.applied.attributes = self.attributes.intern(telling.attributes());
        }
        let at = self.prefixes.len() as u32;
        self.prefixes.push((nlri, NIL));
        let family = nlri.prefix.family();
        let key = telling.key(family);
        // What comes together often is told together.
        if let Some(last) = self.buckets.last_mut()
            && last.key == key
        {
            self.prefixes[last.last as usize].1 = at;
            last.last = at;
            return;
        }
        let new = self.buckets.len() as u32;
        let known = *self.index.entry(key).or_insert(new);
        if known == new {
            return self.buckets.push(Bucket { key, telling, first: at, last: at });
        }
        let bucket = &mut self.buckets[known as usize];
        self.prefixes[bucket.last as usize].1 = at;
        bucket.last = at;
    }

    /// Gives everything as entries, and is empty. No path stands in it twice for one peer, so the
    /// order of the entries is free: those of one audience are one entry, up to [`ENTRY_BYTES`].
    pub(super) fn write(&mut self, profile: &Profile, entry: &mut impl FnMut(Entry)) {
        let Self { buckets, index, prefixes, withdrawn, withdrawn_count, .. } = self;
        let parameters = &profile.parameters;
        buckets.sort_by_key(|bucket| audience(bucket.telling.source.peer()));
        let mut writer = Writer { audience: Audience::All, out: BytesMut::new(), entry };
        let mut run = Vec::new();
        for bucket in buckets.drain(..) {
            run.clear();
            let mut at = bucket.first;
            while at != NIL {
                let (nlri, next) = prefixes[at as usize];
                run.push(nlri);
                at = next;
            }
            let attributes = bucket.telling.edited(profile);
            let next_hop = bucket.telling.next_hop;
            let audience = audience(bucket.telling.source.peer());
            writer.turn_to(audience);
            for run in run.chunks(RUN) {
                match encode_announcements(parameters, &attributes, next_hop, run, &mut writer.out)
                {
                    Ok(_messages) => writer.cut_full(),
                    // `Telling::fits` was asked about each. What cannot be told is not to be known
                    // either (RFC 4271 §9.2).
                    Err(error) => {
                        debug_assert!(false, "{error}");
                        withdrawn.entry(audience).or_default().extend_from_slice(run);
                    }
                }
            }
        }
        for (audience, prefixes) in std::mem::take(withdrawn) {
            writer.turn_to(audience);
            for run in prefixes.chunks(RUN) {
                encode_withdrawals(parameters, run, &mut writer.out);
                writer.cut_full();
            }
        }
        writer.cut_all();
        index.clear();
        prefixes.clear();
        *withdrawn_count = 0;
    }
}

struct Writer<'a, F: FnMut(Entry)> {
    audience: Audience,
    out: BytesMut,
    entry: &'a mut F,
}

impl<F: FnMut(Entry)> Writer<'_, F> {
    fn turn_to(&mut self, audience: Audience) {
        if self.audience != audience {
            self.cut_all();
            self.audience = audience;
        }
    }

    fn cut_full(&mut self) {
        while self.out.len() >= ENTRY_BYTES {
            self.cut();
        }
    }

    fn cut_all(&mut self) {
        while !self.out.is_empty() {
            self.cut();
        }
    }

    /// One entry from the front: messages up to the one that makes it full.
    fn cut(&mut self) {
        let (mut len, mut messages) = (0, 0);
        while len < ENTRY_BYTES
            && let Ok(Some(frame)) = first_frame(&self.out[len..], EXTENDED_MESSAGE_LEN)
        {
            len += frame.whole_len();
            messages += 1;
        }
        debug_assert!(messages > 0, "we write whole messages");
        let bytes = self.out.split_to(if messages > 0 { len } else { self.out.len() }).freeze();
        (self.entry)(Entry { audience: self.audience, bytes, messages });
    }
}
