#![expect(unsafe_code, reason = "bpf(2) takes pointers in a union that libc does not declare")]

//! The commands of bpf(2) that aya does not offer: typed map access without its `Pod`, batches,
//! cgroup links that are adopted, and what a link or program says of itself.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use ebpf_abi::Plain;

/// `enum bpf_cmd` of `linux/bpf.h`.
#[derive(Clone, Copy)]
#[repr(i32)]
enum Command {
    MapLookupElem = 1,
    MapUpdateElem = 2,
    MapDeleteElem = 3,
    MapGetNextKey = 4,
    ObjPin = 6,
    ObjGet = 7,
    ProgGetFdById = 13,
    ObjGetInfoByFd = 15,
    MapLookupBatch = 24,
    MapUpdateBatch = 26,
    LinkCreate = 28,
    LinkUpdate = 29,
    LinkDetach = 34,
}

/// `enum bpf_attach_type`, as far as our links go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum AttachType {
    Inet4Connect = 10,
    Inet6Connect = 11,
    Udp4Sendmsg = 14,
    Udp6Sendmsg = 15,
    Udp4Recvmsg = 19,
    Udp6Recvmsg = 20,
    Inet4GetPeerName = 29,
    Inet6GetPeerName = 30,
    InetSockRelease = 34,
    TcxIngress = 46,
    TcxEgress = 47,
}

#[repr(C)]
#[derive(Default)]
struct ElementAttr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    /// Of MAP_GET_NEXT_KEY: where the next key goes.
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct ObjectAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct LinkCreateAttr {
    prog_fd: u32,
    /// A cgroup's descriptor or an interface's index.
    target: u32,
    attach_type: u32,
    flags: u32,
    /// Of TCX: the neighbour in the order of programs, and its revision. None.
    relative: [u64; 2],
}

#[repr(C)]
#[derive(Default)]
struct LinkUpdateAttr {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// The head of `struct bpf_link_info`, with the words of its union that cgroup and TCX use.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) prog_id: u32,
    reserved: u32,
    /// Of a cgroup link the cgroup's id; of a TCX link the interface in the low word, 0 once that
    /// is gone.
    target: u64,
    attach_type: u32,
    reserved_end: u32,
}

impl LinkInfo {
    /// The inode number of the cgroup's folder; 0 once that is gone.
    pub(crate) fn cgroup_id(&self) -> u64 {
        self.target
    }

    pub(crate) fn ifindex(&self) -> u32 {
        // The union begins with the ifindex, so it is the first half in memory.
        let [a, b, c, d, ..] = self.target.to_ne_bytes();
        u32::from_ne_bytes([a, b, c, d])
    }
}

/// The head of `struct bpf_prog_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ProgramInfo {
    kind: u32,
    pub(crate) id: u32,
    /// A digest of the instructions, made by the kernel.
    pub(crate) tag: [u8; 8],
    jited_len: u32,
    xlated_len: u32,
    jited: u64,
    xlated: u64,
    load_time: u64,
    created_by_uid: u32,
    map_count: u32,
    map_ids: u64,
}

/// The head of `struct bpf_map_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MapInfo {
    pub(crate) kind: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) flags: u32,
}

fn bpf<A>(command: Command, attr: &mut A) -> io::Result<i64> {
    // SAFETY: `attr` is a repr(C) prefix of `union bpf_attr`, of the size we tell; the pointers
    // in it were made by the callers below from slices that outlive the call.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as i32, (&raw mut *attr).cast::<u8>(), size_of::<A>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn owned(result: i64) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us; it fits the type.
    unsafe { OwnedFd::from_raw_fd(result as i32) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

fn path_of(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// `None` where the map has no such key. `key` and `value` have the sizes of the map's own; of a
/// per-CPU map `value` has room for every possible CPU.
pub(crate) fn map_lookup(map: BorrowedFd<'_>, key: &[u8], value: &mut [u8]) -> io::Result<bool> {
    let mut attr = ElementAttr {
        map_fd: raw(map),
        key: key.as_ptr() as u64,
        value: value.as_mut_ptr() as u64,
        ..Default::default()
    };
    found(bpf(Command::MapLookupElem, &mut attr))
}

pub(crate) fn map_update(map: BorrowedFd<'_>, key: &[u8], value: &[u8]) -> io::Result<()> {
    let mut attr = ElementAttr {
        map_fd: raw(map),
        key: key.as_ptr() as u64,
        value: value.as_ptr() as u64,
        ..Default::default()
    };
    bpf(Command::MapUpdateElem, &mut attr).map(drop)
}

pub(crate) fn map_delete(map: BorrowedFd<'_>, key: &[u8]) -> io::Result<bool> {
    let mut attr = ElementAttr { map_fd: raw(map), key: key.as_ptr() as u64, ..Default::default() };
    found(bpf(Command::MapDeleteElem, &mut attr))
}

/// The key after `key`, or the first; `false` behind the last.
pub(crate) fn map_next_key(
    map: BorrowedFd<'_>,
    key: Option<&[u8]>,
    next: &mut [u8],
) -> io::Result<bool> {
    let mut attr = ElementAttr {
        map_fd: raw(map),
        key: key.map_or(0, |key| key.as_ptr() as u64),
        value: next.as_mut_ptr() as u64,
        ..Default::default()
    };
    found(bpf(Command::MapGetNextKey, &mut attr))
}

/// Writes `values` under `keys`, which are as many. `V` has the size of the map's own values.
pub(crate) fn map_update_batch<V: Plain>(
    map: BorrowedFd<'_>,
    keys: &[u32],
    values: &[V],
) -> io::Result<()> {
    assert_eq!(keys.len(), values.len(), "a key for each value");
    let count = u32::try_from(keys.len()).map_err(io::Error::other)?;
    if count == 0 {
        return Ok(());
    }
    let mut attr = BatchAttr {
        keys: keys.as_ptr() as u64,
        values: values.as_ptr() as u64,
        count,
        map_fd: raw(map),
        ..Default::default()
    };
    bpf(Command::MapUpdateBatch, &mut attr).map(drop)
}

/// Reads entries of a hash into `keys` and `values`, which have room for `count` of them: from the
/// place that an earlier call left in `place`, or from the beginning. How many there were, and
/// whether there are more.
pub(crate) fn hash_lookup_batch(
    map: BorrowedFd<'_>,
    place: &mut Option<u32>,
    keys: &mut [u8],
    values: &mut [u8],
    count: u32,
) -> io::Result<(usize, bool)> {
    let (begin, mut end) = (place.unwrap_or_default(), 0_u32);
    let mut attr = BatchAttr {
        in_batch: if place.is_some() { (&raw const begin) as u64 } else { 0 },
        out_batch: (&raw mut end) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count,
        map_fd: raw(map),
        ..Default::default()
    };
    let more = found(bpf(Command::MapLookupBatch, &mut attr))?;
    *place = Some(end);
    Ok((attr.count as usize, more))
}

/// Reads the values of an array from `offset` on, until `values` is full or the array ends; how
/// many there were. `V` has the size of the map's own values, a multiple of eight octets.
pub(crate) fn array_lookup_batch<V: Plain>(
    map: BorrowedFd<'_>,
    offset: u32,
    values: &mut [V],
) -> io::Result<usize> {
    let mut keys = vec![0_u32; values.len()];
    // The kernel begins behind the key it is given.
    let before = offset.wrapping_sub(1);
    let mut last = 0_u32;
    let mut attr = BatchAttr {
        in_batch: if offset == 0 { 0 } else { (&raw const before) as u64 },
        out_batch: (&raw mut last) as u64,
        keys: keys.as_mut_ptr() as u64,
        values: values.as_mut_ptr() as u64,
        count: u32::try_from(values.len()).map_err(io::Error::other)?,
        map_fd: raw(map),
        ..Default::default()
    };
    // "Not there" is how it says that it has come to the end.
    found(bpf(Command::MapLookupBatch, &mut attr))?;
    Ok(attr.count as usize)
}

fn found(result: io::Result<i64>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// `None` where nothing is pinned there.
pub(crate) fn object_open(path: &Path) -> io::Result<Option<OwnedFd>> {
    let pathname = path_of(path)?;
    let mut attr = ObjectAttr { pathname: pathname.as_ptr() as u64, ..Default::default() };
    match bpf(Command::ObjGet, &mut attr) {
        Ok(fd) => Ok(Some(owned(fd))),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn object_pin(object: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let pathname = path_of(path)?;
    let mut attr = ObjectAttr {
        pathname: pathname.as_ptr() as u64,
        bpf_fd: raw(object),
        ..Default::default()
    };
    bpf(Command::ObjPin, &mut attr).map(drop)
}

/// Attaches a program; the attachment lives as long as the link, which a pin keeps.
pub(crate) fn link_create(
    program: BorrowedFd<'_>,
    target: u32,
    attach_type: AttachType,
) -> io::Result<OwnedFd> {
    let mut attr = LinkCreateAttr {
        prog_fd: raw(program),
        target,
        attach_type: attach_type as u32,
        ..Default::default()
    };
    bpf(Command::LinkCreate, &mut attr).map(owned)
}

/// Puts another program behind a link; no packet passes between the two.
pub(crate) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr =
        LinkUpdateAttr { link_fd: raw(link), new_prog_fd: raw(program), ..Default::default() };
    bpf(Command::LinkUpdate, &mut attr).map(drop)
}

/// Ends an attachment though others still hold the link.
pub(crate) fn link_detach(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attr = raw(link);
    bpf(Command::LinkDetach, &mut attr).map(drop)
}

fn info<T: Default>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    let mut attr = InfoAttr {
        bpf_fd: raw(object),
        info_len: size_of::<T>() as u32,
        info: (&raw mut *info) as u64,
    };
    bpf(Command::ObjGetInfoByFd, &mut attr).map(drop)
}

pub(crate) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut found = LinkInfo::default();
    info(link, &mut found)?;
    Ok(found)
}

pub(crate) fn map_info(map: BorrowedFd<'_>) -> io::Result<MapInfo> {
    let mut found = MapInfo::default();
    info(map, &mut found)?;
    Ok(found)
}

/// What a program is, and the ids of the maps it uses, sorted.
pub(crate) fn program_info(program: BorrowedFd<'_>) -> io::Result<(ProgramInfo, Vec<u32>)> {
    const MAPS_MAX: u32 = 64;
    let mut maps = vec![0_u32; MAPS_MAX as usize];
    let mut found = ProgramInfo {
        map_count: MAPS_MAX,
        map_ids: maps.as_mut_ptr() as u64,
        ..Default::default()
    };
    info(program, &mut found)?;
    maps.truncate(found.map_count as usize);
    maps.sort_unstable();
    Ok((found, maps))
}

pub(crate) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    let mut attr = [id, 0, 0];
    bpf(Command::ProgGetFdById, &mut attr).map(owned)
}
