//! The maps as the user side uses them, in the kernel.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "shared by several tests, of which each needs a part")]
mod support;

use std::collections::BTreeMap;

use ebpf_abi::{ABI_VERSION, BackendValue, Counter, NodeConfig, SocketOrigin};
use lb_maps::{DataPlane, MapError, Sizes};
use support::{options, with_bpffs};

#[test]
fn the_arena_is_read_as_it_was_written() {
    with_bpffs(|pin_dir| {
        let mut options = options(pin_dir);
        options.sizes = Sizes { maglev: 10_000, ..options.sizes };
        let arena = DataPlane::load(&options).unwrap().maps().maglev;
        assert_eq!(arena.capacity(), 10_048, "whole chunks");
        // More than one batch, and not at its beginning.
        let ids: Vec<u32> = (1..=9_000).collect();
        let unaligned = arena.write(7, &ids);
        assert!(matches!(unaligned, Err(MapError::Unaligned { offset: 7, .. })));
        arena.write(64, &ids).unwrap();
        assert_eq!(arena.read(64, 9_000).unwrap(), ids);
        assert_eq!(arena.read(57, 9).unwrap(), [0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!(arena.read(9_062, 4).unwrap(), [8_999, 9_000, 0, 0]);
        // Up to the end, and not beyond.
        let last: Vec<u32> = (1..=64).collect();
        arena.write(9_984, &last).unwrap();
        assert_eq!(arena.read(10_046, 100).unwrap(), [63, 64]);
        assert!(arena.read(10_048, 1).unwrap().is_empty());
        assert!(matches!(arena.write(9_984, &[7; 65]), Err(MapError::Full { .. })));
        assert_eq!(arena.read(9_984, 64).unwrap(), last, "nothing of it was written");
        arena.write(9_984, &[9]).unwrap();
        assert_eq!(arena.read(9_984, 3).unwrap(), [9, 0, 0], "the rest of a chunk names nobody");
    });
}

#[test]
fn a_full_map_says_so() {
    with_bpffs(|pin_dir| {
        let mut options = options(pin_dir);
        options.sizes = Sizes { backends: 3, ..options.sizes };
        let backends = DataPlane::load(&options).unwrap().maps().backends;
        let value = BackendValue::default();
        for id in 1..=3 {
            backends.upsert(&id, &value).unwrap();
        }
        let error = backends.upsert(&4, &value).unwrap_err();
        assert!(matches!(error, MapError::Full { map: "BACKENDS", max_entries: 3 }), "{error}");
        assert!(backends.delete(&2).unwrap());
        assert!(!backends.delete(&2).unwrap());
        backends.upsert(&4, &value).unwrap();
        assert_eq!(backends.entries().unwrap().into_keys().collect::<Vec<_>>(), [1, 3, 4]);
    });
}

#[test]
fn a_hash_is_read_in_batches() {
    with_bpffs(|pin_dir| {
        let mut options = options(pin_dir);
        options.sizes = Sizes { connections: 20_000, ..options.sizes };
        let connections = DataPlane::load(&options).unwrap().maps().connections;
        let read = || {
            let mut read = BTreeMap::new();
            let note = |cookie, origin: SocketOrigin| {
                assert_eq!(read.insert(cookie, origin.backend), None);
            };
            connections.visit(note).unwrap();
            read
        };
        assert!(read().is_empty());
        // More than one batch. A map that evicts by age does so some way before it is full.
        let written: BTreeMap<u64, u32> = (1..=10_000).map(|n| (u64::from(n), n * 3)).collect();
        for (cookie, backend) in &written {
            let origin = SocketOrigin { backend: *backend, ..SocketOrigin::default() };
            connections.upsert(cookie, &origin).unwrap();
        }
        let begun = std::time::Instant::now();
        assert_eq!(read(), written);
        println!("{} entries read in {:?}", written.len(), begun.elapsed());
    });
}

#[test]
fn everything_is_pinned_under_the_version_and_removed_with_it() {
    with_bpffs(|pin_dir| {
        let data_plane = DataPlane::load(&options(pin_dir)).unwrap();
        let config = NodeConfig { nat_port_first: 61000, ..NodeConfig::default() };
        data_plane.maps().set_config(&config).unwrap();
        drop(data_plane);
        let version = pin_dir.join(format!("v{ABI_VERSION}"));
        assert!(version.join("maps/SERVICES").exists());

        let adopted = DataPlane::load(&options(pin_dir)).unwrap();
        assert_eq!(adopted.maps().config().unwrap(), config);
        let counters = adopted.maps().counters.read().unwrap();
        assert_eq!(counters.len(), Counter::ALL.len());
        DataPlane::remove(pin_dir).unwrap();
        assert!(!version.exists());
        DataPlane::remove(pin_dir).unwrap();
    });
}
