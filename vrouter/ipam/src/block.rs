use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use viaduct_net::{Family, Prefix};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    #[error(
        "a block of /{block_len} cannot be cut from {pool}: choose a blockSize from {} to {}",
        pool.len(), pool.family().bits()
    )]
    Length { pool: Prefix, block_len: u8 },
    #[error(
        "every /{block_len} block of {pool} is taken: add another IPPool, \
         or remove nodes whose blocks are no longer needed"
    )]
    Exhausted { pool: Prefix, block_len: u8 },
}

/// The lowest block of `pool` that overlaps none of `taken`. Deterministic, so that controllers
/// that race for a block meet at the same name, where only one of them can create it.
///
/// `taken` may hold prefixes of other pools, families and lengths. Costs O(|taken|), whatever the
/// size of the pool.
pub fn next_free_block(
    pool: Prefix,
    block_len: u8,
    taken: &BTreeSet<Prefix>,
) -> Result<Prefix, BlockError> {
    let bits = pool.family().bits();
    if block_len < pool.len() || block_len > bits {
        return Err(BlockError::Length { pool, block_len });
    }
    let exhausted = BlockError::Exhausted { pool, block_len };
    let last = last_address(pool);
    let mut candidate = to_number(pool.address());
    // In the order of their addresses, a covering prefix before what it contains: the candidate
    // only ever moves up.
    for prefix in taken.iter().filter(|prefix| prefix.overlaps(pool)) {
        let first_taken = to_number(prefix.address());
        let last_taken = last_address(*prefix);
        if last_taken < candidate {
            continue;
        }
        if first_taken > last_of(candidate, block_len, bits) {
            break;
        }
        // On to the first block behind the taken prefix.
        let end = last_of(last_taken, block_len, bits);
        if end >= last {
            return Err(exhausted);
        }
        candidate = end + 1;
    }
    Prefix::new(to_address(candidate, pool.family()), block_len).map_err(|_e| exhausted)
}

/// How many pods a block can serve: its addresses without the first (see
/// [`crate::Allocator`]), at most `u32::MAX`.
pub fn block_capacity(block: Prefix) -> u32 {
    let host_bits = block.family().bits() - block.len();
    match host_bits {
        0 => 1,
        1..32 => (1 << host_bits) - 1,
        _ => u32::MAX,
    }
}

/// The last address of the block of length `len` that holds `number`.
fn last_of(number: u128, len: u8, bits: u8) -> u128 {
    number | host_mask(len, bits)
}

pub(crate) fn last_address(prefix: Prefix) -> u128 {
    last_of(to_number(prefix.address()), prefix.len(), prefix.family().bits())
}

fn host_mask(len: u8, bits: u8) -> u128 {
    match bits - len {
        128 => u128::MAX,
        host_bits => (1 << host_bits) - 1,
    }
}

pub(crate) fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// `number` came from an address of `family`, so it fits.
pub(crate) fn to_address(number: u128, family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::from_bits(number as u32).into(),
        Family::V6 => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse().unwrap()
    }

    fn taken(all: &[&str]) -> BTreeSet<Prefix> {
        all.iter().map(|text| prefix(text)).collect()
    }

    #[test]
    fn the_lowest_free_block_is_next() {
        let pool = prefix("10.244.0.0/16");
        let mut blocks = BTreeSet::new();
        for third in ["10.244.0.0/26", "10.244.0.64/26", "10.244.0.128/26"] {
            let block = next_free_block(pool, 26, &blocks).unwrap();
            assert_eq!(block, prefix(third));
            blocks.insert(block);
        }
        blocks.remove(&prefix("10.244.0.64/26"));
        assert_eq!(next_free_block(pool, 26, &blocks).unwrap(), prefix("10.244.0.64/26"));
        assert_eq!(
            next_free_block(prefix("fd00:10:244::/56"), 122, &taken(&["fd00:10:244::/122"])),
            Ok(prefix("fd00:10:244::40/122")),
        );
    }

    #[test]
    fn blocks_of_another_length_are_kept_clear_of() {
        let pool = prefix("10.0.0.0/24");
        assert_eq!(next_free_block(pool, 26, &taken(&["10.0.0.3/32"])), Ok(prefix("10.0.0.64/26")));
        assert_eq!(
            next_free_block(pool, 26, &taken(&["10.0.0.0/25", "10.0.0.0/26", "10.0.0.200/32"])),
            Ok(prefix("10.0.0.128/26")),
        );
    }

    #[test]
    fn what_cannot_be_says_what_to_do() {
        let pool = prefix("10.0.0.0/25");
        let full = next_free_block(pool, 26, &taken(&["10.0.0.0/26", "10.0.0.64/26"]));
        assert_eq!(full, Err(BlockError::Exhausted { pool, block_len: 26 }));
        assert!(full.unwrap_err().to_string().contains("add another IPPool"));
        assert!(matches!(
            next_free_block(pool, 24, &BTreeSet::new()),
            Err(BlockError::Length { .. })
        ));
        // At the very end of the number space nothing overflows.
        let end = prefix("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124");
        assert!(next_free_block(end, 124, &BTreeSet::from([end])).is_err());
        assert!(next_free_block(prefix("0.0.0.0/0"), 0, &BTreeSet::new()).is_ok());
    }

    #[test]
    fn capacity_leaves_the_first_address_out() {
        assert_eq!(block_capacity(prefix("10.0.0.0/26")), 63);
        assert_eq!(block_capacity(prefix("10.0.0.1/32")), 1);
        assert_eq!(block_capacity(prefix("fd00::/64")), u32::MAX);
    }

    proptest! {
        /// Against the plain way: try every block from the first.
        #[test]
        fn agrees_with_trying_them_all(
            prefixes in proptest::collection::btree_set((0u8..=255, 26u8..=32), 0..40),
            block_len in 26u8..=30,
        ) {
            let pool = prefix("10.0.0.0/24");
            let taken: BTreeSet<Prefix> = prefixes
                .into_iter()
                .map(|(last, len)| Prefix::new(Ipv4Addr::new(10, 0, 0, last).into(), len).unwrap())
                .collect();
            let size = 1u32 << (32 - block_len);
            let plain = (0..256 / size)
                .map(|i| Prefix::new(Ipv4Addr::new(10, 0, 0, (i * size) as u8).into(), block_len))
                .map(Result::unwrap)
                .find(|block| !taken.iter().any(|other| other.overlaps(*block)));
            prop_assert_eq!(next_free_block(pool, block_len, &taken).ok(), plain);
        }
    }
}
