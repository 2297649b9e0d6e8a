//! From ABI version 1 to 2: services and backends grow by words that nobody had filled before, and
//! the arena, a flat array of ids, becomes one of chunks, each table beginning with one.
//!
//! | map | 1 | 2 |
//! |---|---|---|
//! | SERVICES | offset, length, generation, flags | the same, service, affinity_seconds |
//! | MAGLEV | one id | 64 ids; a table begins with an element |
//! | BACKENDS | address, port and flags, 20 octets | the same, node |
//! | CONFIG | 36 octets and a word of nothing | the 36, and 60 octets of which 0 is the default |
//!
//! Backends keep their ids, which flows name, and entry 0, which says which ids may have been given
//! out.

use std::collections::BTreeMap;

use ebpf_abi::map;

use super::{
    Loss,
    raw::{Contents, Map},
};

const CHUNK_IDS: usize = 64;
const ID: usize = size_of::<u32>();

type ServiceValue = [u32; 4];
type NextServiceValue = [u32; 6];

/// Octets, from 1 to 2.
const BACKEND: [usize; 2] = [20, 24];
/// Of [`map::CONFIG`]: what is kept, and how long it becomes.
const CONFIG: [usize; 2] = [36, 96];

pub(super) fn convert(contents: &mut Contents) -> Vec<Loss> {
    let mut losses = Vec::new();
    if let (Some(Map::Hash(services)), Some(Map::Array { octets, .. })) =
        (contents.remove(map::SERVICES), contents.remove(map::MAGLEV))
    {
        let count = services.len();
        let (services, arena) = tables(&services, octets);
        losses.extend(loss(map::SERVICES, count - services.len(), "their tables are not there"));
        contents.insert(map::SERVICES, Map::Hash(services));
        contents.insert(map::MAGLEV, Map::Array { value: CHUNK_IDS * ID, octets: arena });
    }
    if let Some(Map::Hash(backends)) = contents.get_mut(map::BACKENDS) {
        for value in backends.values_mut().filter(|value| value.len() == BACKEND[0]) {
            value.resize(BACKEND[1], 0);
        }
    }
    if let Some(Map::Array { value, octets }) = contents.get_mut(map::CONFIG) {
        octets.truncate(CONFIG[0]);
        octets.resize(CONFIG[1], 0);
        *value = CONFIG[1];
    }
    losses
}

/// Services share tables; each is copied once, to where the next chunk begins.
fn tables(
    services: &BTreeMap<Vec<u8>, Vec<u8>>,
    arena: Vec<u8>,
) -> (BTreeMap<Vec<u8>, Vec<u8>>, Vec<u8>) {
    let mut copied = Vec::new();
    let mut offsets = BTreeMap::new();
    let mut converted = BTreeMap::new();
    for (key, value) in services {
        let Some([offset, length, generation, flags]) = words(value) else { continue };
        let [first, octets] = [offset, length].map(|places| places as usize * ID);
        let Some(table) = arena.get(first..first.saturating_add(octets)) else { continue };
        let offset = *offsets.entry((offset, length)).or_insert_with(|| {
            let begin = copied.len() / ID;
            copied.extend_from_slice(table);
            copied.resize(copied.len().next_multiple_of(CHUNK_IDS * ID), 0);
            // It was the offset of a place in an array no shorter.
            begin as u32
        });
        let (service, affinity_seconds) = (0, 0);
        let next: NextServiceValue = [offset, length, generation, flags, service, affinity_seconds];
        converted.insert(key.clone(), next.into_iter().flat_map(u32::to_ne_bytes).collect());
    }
    (converted, copied)
}

fn words(value: &[u8]) -> Option<ServiceValue> {
    let (words, []) = value.as_chunks::<ID>() else { return None };
    let words: &[[u8; ID]; 4] = words.try_into().ok()?;
    Some(words.map(u32::from_ne_bytes))
}

fn loss(map: &str, entries: usize, why: &str) -> Option<Loss> {
    let loss = || Loss { from: 1, map: map.to_owned(), entries, why: why.to_owned() };
    (entries > 0).then(loss)
}

#[cfg(test)]
mod tests;
