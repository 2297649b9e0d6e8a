use std::{
    collections::BTreeMap,
    io,
    marker::PhantomData,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
};

use ebpf_abi::{MAGLEV_CHUNK, MaglevChunk, Plain};

use crate::{MapError, sys};

/// A map of the kernel with typed keys and values. A clone is the same map.
///
/// Every call is a system call of about a microsecond: it blocks no executor worth the name.
#[derive(Debug)]
pub struct Table<K, V> {
    fd: Arc<OwnedFd>,
    name: &'static str,
    max_entries: u32,
    types: PhantomData<fn(K) -> V>,
}

impl<K, V> Clone for Table<K, V> {
    fn clone(&self) -> Self {
        Self {
            fd: self.fd.clone(),
            name: self.name,
            max_entries: self.max_entries,
            types: PhantomData,
        }
    }
}

impl<K: Plain + Ord, V: Plain> Table<K, V> {
    /// Takes over a map, if its keys and values have the sizes of ours.
    pub(crate) fn new(name: &'static str, fd: OwnedFd) -> Result<Self, MapError> {
        let info =
            sys::map_info(fd.as_fd()).map_err(|source| MapError::Io { map: name, source })?;
        let (key, value) = (info.key_size as usize, info.value_size as usize);
        if (key, value) != (size_of::<K>(), size_of::<V>()) {
            return Err(MapError::Layout { map: name, key, value });
        }
        Ok(Self { fd: Arc::new(fd), name, max_entries: info.max_entries, types: PhantomData })
    }

    fn error(&self, source: io::Error) -> MapError {
        match source.raw_os_error() {
            Some(libc::E2BIG | libc::ENOMEM) => {
                MapError::Full { map: self.name, max_entries: self.max_entries }
            }
            _ => MapError::Io { map: self.name, source },
        }
    }

    pub fn max_entries(&self) -> u32 {
        self.max_entries
    }

    pub fn lookup(&self, key: &K) -> Result<Option<V>, MapError> {
        let mut value = V::default();
        let found = sys::map_lookup(self.fd.as_fd(), key.as_bytes(), value.as_bytes_mut())
            .map_err(|error| self.error(error))?;
        Ok(found.then_some(value))
    }

    /// Inserts or replaces, in one step for whoever reads.
    pub fn upsert(&self, key: &K, value: &V) -> Result<(), MapError> {
        sys::map_update(self.fd.as_fd(), key.as_bytes(), value.as_bytes())
            .map_err(|error| self.error(error))
    }

    /// Whether there was such a key.
    pub fn delete(&self, key: &K) -> Result<bool, MapError> {
        sys::map_delete(self.fd.as_fd(), key.as_bytes()).map_err(|error| self.error(error))
    }

    /// Shows every entry of a hash to `visit`, some thousand to a system call and in no order. Of a
    /// map that the programs write to at the same time: a sample, as of [`Self::entries`].
    pub fn visit(&self, mut visit: impl FnMut(K, V)) -> Result<(), MapError> {
        const BATCH_ENTRIES: usize = 4096;
        let mut keys = vec![0; BATCH_ENTRIES * size_of::<K>()];
        let mut values = vec![0; BATCH_ENTRIES * size_of::<V>()];
        let mut place = None;
        // What is read moves on from bucket to bucket, of which there are at most twice as many as
        // entries.
        for _ in 0..=u64::from(self.max_entries) * 2 {
            let (count, more) = sys::hash_lookup_batch(
                self.fd.as_fd(),
                &mut place,
                &mut keys,
                &mut values,
                BATCH_ENTRIES as u32,
            )
            .map_err(|error| self.error(error))?;
            let entries =
                keys.chunks_exact(size_of::<K>()).zip(values.chunks_exact(size_of::<V>()));
            for (key, value) in entries.take(count) {
                if let (Some(key), Some(value)) = (K::from_bytes(key), V::from_bytes(value)) {
                    visit(key, value);
                }
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    /// Every entry. Of a map that the programs write to at the same time: a sample, in which an
    /// entry may be missing.
    pub fn entries(&self) -> Result<BTreeMap<K, V>, MapError> {
        let mut entries = BTreeMap::new();
        let mut key: Option<K> = None;
        // A key that is deleted while we stand on it sends us back to the beginning; the bound
        // ends what could otherwise go on for ever.
        for _ in 0..u64::from(self.max_entries) * 2 {
            let mut next = K::default();
            let more = sys::map_next_key(
                self.fd.as_fd(),
                key.as_ref().map(Plain::as_bytes),
                next.as_bytes_mut(),
            )
            .map_err(|error| self.error(error))?;
            if !more {
                break;
            }
            if let Some(value) = self.lookup(&next)? {
                entries.insert(next, value);
            }
            key = Some(next);
        }
        Ok(entries)
    }
}

/// The flat array in which the Maglev tables lie, each from a multiple of [`MAGLEV_CHUNK`] places
/// on.
#[derive(Clone, Debug)]
pub struct Arena(Table<u32, MaglevChunk>);

impl Arena {
    /// Chunks, of 256 octets, read or written by one system call.
    const BATCH_CHUNKS: usize = 256;

    pub(crate) fn new(table: Table<u32, MaglevChunk>) -> Self {
        Self(table)
    }

    /// The chunks that so many places need.
    pub(crate) const fn chunks(places: u32) -> u32 {
        places.div_ceil(MAGLEV_CHUNK)
    }

    /// Places in all.
    pub fn capacity(&self) -> u32 {
        self.0.max_entries.saturating_mul(MAGLEV_CHUNK)
    }

    /// The ids of `length` places from `offset` on, as far as there are so many.
    pub fn read(&self, offset: u32, length: u32) -> Result<Vec<u32>, MapError> {
        let end = offset.saturating_add(length).min(self.capacity());
        let length = end.saturating_sub(offset);
        let first = offset / MAGLEV_CHUNK;
        let before = (offset % MAGLEV_CHUNK) as usize;
        let count = Self::chunks(end).saturating_sub(first);
        let mut chunks = vec![MaglevChunk::default(); count as usize];
        let mut next = first;
        for part in chunks.chunks_mut(Self::BATCH_CHUNKS) {
            let read = sys::array_lookup_batch(self.0.fd.as_fd(), next, part)
                .map_err(|error| self.0.error(error))?;
            debug_assert_eq!(read, part.len(), "an array has all of its entries");
            next += part.len() as u32;
        }
        let ids = chunks.iter().flat_map(|chunk| chunk.ids);
        Ok(ids.skip(before).take(length as usize).collect())
    }

    /// Writes `ids` from `offset` on; what is left of the last chunk names no backend.
    ///
    /// # Errors
    /// Writes nothing where they reach beyond the end, or do not begin with a chunk.
    pub fn write(&self, offset: u32, ids: &[u32]) -> Result<(), MapError> {
        let end = u64::from(offset) + ids.len() as u64;
        if end > u64::from(self.capacity()) {
            return Err(MapError::Full { map: self.0.name, max_entries: self.capacity() });
        }
        if !offset.is_multiple_of(MAGLEV_CHUNK) {
            return Err(MapError::Unaligned { map: self.0.name, offset });
        }
        let mut next = offset / MAGLEV_CHUNK;
        for ids in ids.chunks(Self::BATCH_CHUNKS * MAGLEV_CHUNK as usize) {
            let chunks: Vec<MaglevChunk> =
                ids.chunks(MAGLEV_CHUNK as usize).map(chunk_of).collect();
            let keys: Vec<u32> = (next..).take(chunks.len()).collect();
            sys::map_update_batch(self.0.fd.as_fd(), &keys, &chunks)
                .map_err(|error| self.0.error(error))?;
            next += chunks.len() as u32;
        }
        Ok(())
    }
}

fn chunk_of(ids: &[u32]) -> MaglevChunk {
    let mut chunk = MaglevChunk::default();
    for (place, id) in chunk.ids.iter_mut().zip(ids) {
        *place = *id;
    }
    chunk
}

/// Counters of the programs, each summed over the CPUs.
#[derive(Clone, Debug)]
pub struct Counters {
    fd: Arc<OwnedFd>,
    cpus: usize,
}

impl Counters {
    pub(crate) fn new(fd: OwnedFd) -> Result<Self, MapError> {
        let cpus = aya::util::nr_cpus()
            .map_err(|(_, source)| MapError::Io { map: ebpf_abi::map::COUNTERS, source })?;
        Ok(Self { fd: Arc::new(fd), cpus })
    }

    pub fn read(&self) -> Result<BTreeMap<ebpf_abi::Counter, u64>, MapError> {
        let mut counters = BTreeMap::new();
        let mut values = vec![0; self.cpus * size_of::<u64>()];
        for counter in ebpf_abi::Counter::ALL {
            sys::map_lookup(self.fd.as_fd(), &(counter as u32).to_ne_bytes(), &mut values)
                .map_err(|source| MapError::Io { map: ebpf_abi::map::COUNTERS, source })?;
            let (per_cpu, _) = values.as_chunks::<8>();
            counters.insert(counter, per_cpu.iter().map(|value| u64::from_ne_bytes(*value)).sum());
        }
        Ok(counters)
    }
}
