//! Maps whose keys and values are known by their sizes only.

use std::{collections::BTreeMap, io, os::fd::BorrowedFd};

use crate::sys;

/// `BPF_MAP_TYPE_*`, as far as our maps go.
const ARRAY: u32 = 2;
const PERCPU_ARRAY: u32 = 6;

/// What is in the maps that are not shared, by name.
pub(super) type Contents = BTreeMap<&'static str, Map>;

/// How a map is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
}

impl Shape {
    pub(super) fn of(map: BorrowedFd<'_>) -> io::Result<Self> {
        let sys::MapInfo { kind, key_size, value_size, max_entries, flags, .. } =
            sys::map_info(map)?;
        Ok(Self { kind, key_size, value_size, max_entries, flags })
    }

    pub(super) fn defined(map: &aya_obj::Map) -> Self {
        Self {
            kind: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.map_flags(),
        }
    }

    pub(super) fn is_like(&self, ours: &Self) -> bool {
        Self { max_entries: ours.max_entries, ..*self } == *ours
    }

    /// Whether a map that is like ours is long enough to take its place: a hash of any size is, an
    /// array that ends earlier lacks entries that our programs know.
    pub(super) fn replaces(&self, ours: &Self) -> bool {
        !self.is_array() || self.max_entries >= ours.max_entries
    }

    fn is_array(&self) -> bool {
        [ARRAY, PERCPU_ARRAY].contains(&self.kind)
    }

    /// Octets of a value as the kernel copies it to the user side.
    fn value_length(&self) -> io::Result<usize> {
        let size = self.value_size as usize;
        if self.kind != PERCPU_ARRAY {
            return Ok(size);
        }
        let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
        Ok(size.next_multiple_of(8) * cpus)
    }
}

/// What is in a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Map {
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    /// Values of so many octets, one behind the other; of a per-CPU map a value has one of each CPU.
    Array {
        value: usize,
        octets: Vec<u8>,
    },
}

impl Map {
    /// Everything. Of a map that is written to at the same time: a sample.
    pub(super) fn read(map: BorrowedFd<'_>, shape: &Shape) -> io::Result<Self> {
        const BATCH_ENTRIES: u32 = 4096;
        let (key, value) = (shape.key_size as usize, shape.value_length()?);
        let mut keys = vec![0; BATCH_ENTRIES as usize * key];
        let mut values = vec![0; BATCH_ENTRIES as usize * value];
        let (mut hash, mut octets) = (BTreeMap::new(), Vec::new());
        let mut place = None;
        // The same bound as of a table.
        for _ in 0..=u64::from(shape.max_entries) * 2 {
            let (count, more) =
                sys::hash_lookup_batch(map, &mut place, &mut keys, &mut values, BATCH_ENTRIES)?;
            if shape.is_array() {
                // They come in the order of their indices.
                octets.extend_from_slice(&values[..count * value]);
            } else {
                let entries = keys.chunks_exact(key).zip(values.chunks_exact(value)).take(count);
                hash.extend(entries.map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
            if !more {
                break;
            }
        }
        Ok(if shape.is_array() { Self::Array { value, octets } } else { Self::Hash(hash) })
    }

    /// Writes it to a map, as far as there is room and the sizes are those of the map; how many
    /// entries there were.
    pub(super) fn write(&self, map: BorrowedFd<'_>) -> io::Result<usize> {
        let shape = Shape::of(map)?;
        let (key, value) = (shape.key_size as usize, shape.value_length()?);
        let mut written = 0;
        let mut put = |key: &[u8], value: &[u8]| match sys::map_update(map, key, value) {
            Ok(()) => {
                written += 1;
                Ok(())
            }
            Err(error) if matches!(error.raw_os_error(), Some(libc::E2BIG)) => Ok(()),
            Err(error) => Err(error),
        };
        match self {
            Self::Hash(entries) if !shape.is_array() => {
                for (k, v) in entries.iter().filter(|(k, v)| (k.len(), v.len()) == (key, value)) {
                    put(k, v)?;
                }
            }
            Self::Array { octets, .. } if shape.is_array() => {
                for (index, v) in octets.chunks_exact(value).enumerate().filter(is_set) {
                    put(&(index as u32).to_ne_bytes(), v)?;
                }
            }
            _ => {}
        }
        Ok(written)
    }

    /// Those of an array that are not 0.
    pub(super) fn entries(&self) -> usize {
        match self {
            Self::Hash(entries) => entries.len(),
            Self::Array { value, octets } => {
                octets.chunks_exact(*value).enumerate().filter(is_set).count()
            }
        }
    }

    /// How many entries a map needs to hold it.
    pub(super) fn room(&self) -> usize {
        match self {
            Self::Hash(entries) => entries.len(),
            Self::Array { value, octets } => octets.len() / value,
        }
    }
}

fn is_set((_, value): &(usize, &[u8])) -> bool {
    value.iter().any(|octet| *octet != 0)
}

/// The entries of a map of which nothing more is known; of an array those that are not 0.
pub(super) fn count(map: BorrowedFd<'_>) -> io::Result<usize> {
    let shape = Shape::of(map)?;
    Ok(Map::read(map, &shape)?.entries())
}
