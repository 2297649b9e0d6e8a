//! Changes of many prefixes made into as few messages as carry them.

use std::collections::BTreeMap;

use bgp_wire::{
    AttributeSet, BgpNextHop, PeerKind, SessionParameters, encode_announcements, encode_withdrawals,
};
use bytes::BytesMut;
use hashbrown::HashMap;
use viaduct_net::{Prefix, RouterId};

use super::{
    ENTRY_BYTES, Profile,
    group::audience,
    log::{Audience, Entry},
};
use crate::{PathSource, export};

/// How a path is told.
#[derive(Clone, Debug)]
pub(super) struct Telling {
    /// As they came; what changes on the way out depends on the source.
    pub(super) attributes: AttributeSet,
    pub(super) source: PathSource,
    pub(super) next_hop: BgpNextHop,
}

/// What makes two tellings go into one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    attributes: usize,
    next_hop: BgpNextHop,
    audience: Audience,
    originated: bool,
    router_id: Option<RouterId>,
}

impl Telling {
    fn key(&self) -> Key {
        let (originated, router_id) = match self.source {
            PathSource::Local(_) => (true, None),
            PathSource::Peer { router_id, .. } => (false, Some(router_id)),
        };
        Key {
            attributes: self.attributes.address(),
            next_hop: self.next_hop,
            audience: audience(self.source.peer()),
            originated,
            router_id,
        }
    }

    /// Whether a peer that has been told the other would learn nothing.
    pub(super) fn says_the_same_as(&self, other: &Self, kind: PeerKind) -> bool {
        let originated = |telling: &Self| matches!(telling.source, PathSource::Local(_));
        let reflected = |telling: &Self| export::reflected_of(kind, telling.source);
        self.attributes.ptr_eq(&other.attributes)
            && self.next_hop == other.next_hop
            && originated(self) == originated(other)
            && reflected(self) == reflected(other)
    }
}

const NIL: u32 = u32::MAX;

/// The prefixes with one telling, as a list through the batch.
#[derive(Debug)]
struct Bucket {
    telling: Telling,
    first: u32,
    last: u32,
}

#[derive(Debug, Default)]
pub(super) struct Batch {
    buckets: Vec<Bucket>,
    index: HashMap<Key, u32>,
    prefixes: Vec<(Prefix, u32)>,
    withdrawn: BTreeMap<Audience, Vec<Prefix>>,
    withdrawn_count: usize,
}

impl Batch {
    pub(super) fn len(&self) -> usize {
        self.prefixes.len() + self.withdrawn_count
    }

    pub(super) fn withdraw(&mut self, prefix: Prefix, audience: Audience) {
        self.withdrawn.entry(audience).or_default().push(prefix);
        self.withdrawn_count += 1;
    }

    pub(super) fn announce(&mut self, prefix: Prefix, telling: Telling) {
        let at = self.prefixes.len() as u32;
        self.prefixes.push((prefix, NIL));
        let key = telling.key();
        // What comes together often is told together.
        if let Some(last) = self.buckets.last_mut()
            && last.telling.key() == key
        {
            self.prefixes[last.last as usize].1 = at;
            last.last = at;
            return;
        }
        let new = self.buckets.len() as u32;
        let known = *self.index.entry(key).or_insert(new);
        if known == new {
            return self.buckets.push(Bucket { telling, first: at, last: at });
        }
        let bucket = &mut self.buckets[known as usize];
        self.prefixes[bucket.last as usize].1 = at;
        bucket.last = at;
    }

    /// Gives everything as entries, and is empty. No prefix stands in it twice for one peer, so the
    /// order of the entries is free: those of one audience are one entry, up to [`ENTRY_BYTES`].
    pub(super) fn write(&mut self, profile: &Profile, entry: &mut impl FnMut(Entry)) {
        let Self { buckets, index, prefixes, withdrawn, withdrawn_count } = self;
        let parameters = &profile.parameters;
        buckets.sort_by_key(|bucket| audience(bucket.telling.source.peer()));
        let mut writer =
            Writer { audience: Audience::All, out: BytesMut::new(), messages: 0, entry };
        let mut run = Vec::new();
        for bucket in buckets.drain(..) {
            run.clear();
            let mut at = bucket.first;
            while at != NIL {
                let (prefix, next) = prefixes[at as usize];
                run.push(prefix);
                at = next;
            }
            let Telling { attributes, source, next_hop } = bucket.telling;
            let edit =
                export::edit(&profile.local, parameters.peer_kind, source, attributes.facts());
            let attributes = edit.apply(&attributes);
            let audience = audience(source.peer());
            writer.turn_to(audience);
            for run in run.chunks(ENTRY_BYTES / 8) {
                match encode_announcements(parameters, &attributes, next_hop, run, &mut writer.out)
                {
                    Ok(messages) => writer.wrote(messages),
                    // RFC 8654 §4, RFC 4271 §9.2: what cannot be told is not to be known either.
                    Err(_too_long) => withdrawn.entry(audience).or_default().extend_from_slice(run),
                }
            }
        }
        for (audience, prefixes) in std::mem::take(withdrawn) {
            writer.turn_to(audience);
            for run in prefixes.chunks(ENTRY_BYTES / 8) {
                let messages = encode_withdrawals(parameters, run, &mut writer.out);
                writer.wrote(messages);
            }
        }
        writer.cut();
        index.clear();
        prefixes.clear();
        *withdrawn_count = 0;
    }
}

struct Writer<'a, F: FnMut(Entry)> {
    audience: Audience,
    out: BytesMut,
    messages: usize,
    entry: &'a mut F,
}

impl<F: FnMut(Entry)> Writer<'_, F> {
    fn turn_to(&mut self, audience: Audience) {
        if self.audience != audience {
            self.cut();
            self.audience = audience;
        }
    }

    fn wrote(&mut self, messages: usize) {
        self.messages += messages;
        if self.out.len() >= ENTRY_BYTES {
            self.cut();
        }
    }

    fn cut(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let bytes = self.out.split().freeze();
        let messages = std::mem::take(&mut self.messages) as u32;
        (self.entry)(Entry { audience: self.audience, bytes, messages });
    }
}

/// Withdrawals for one peer alone.
pub(super) fn withdrawals(
    parameters: &SessionParameters,
    prefixes: &[Prefix],
) -> impl Iterator<Item = (bytes::Bytes, u32)> {
    prefixes.chunks(ENTRY_BYTES / 8).map(|run| {
        let mut out = BytesMut::new();
        let messages = encode_withdrawals(parameters, run, &mut out) as u32;
        (out.freeze(), messages)
    })
}
