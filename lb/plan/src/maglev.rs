//! Tables by which a flow's hash finds its backend, after "Maglev: A Fast and Reliable Software
//! Network Load Balancer" (NSDI 2016), §3.4: every backend has about the same share, and when one
//! leaves few flows of the others move.
//!
//! A table follows from the backends' addresses alone, so every node has the same.

use crate::BackendKey;

/// Lengths of tables: primes, as the permutations need, each just below a power of two, as the
/// arena likes.
const LENGTHS: [u32; 10] = [251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131_071];

/// Places for each backend; shares then differ by about one in this many.
const PLACES_PER_BACKEND: usize = 100;

/// The lengths that a table for so many backends may have, the best first; a shorter one serves
/// where there is no room, with shares less even. One backend needs no more than one place.
pub fn lengths(backends: usize) -> impl Iterator<Item = u32> {
    let ample = backends.saturating_mul(PLACES_PER_BACKEND);
    let best = LENGTHS.iter().position(|length| *length as usize >= ample);
    let fits = best.map_or(&LENGTHS[..], |best| &LENGTHS[..=best]);
    let single: &[u32] = if backends == 1 { &[1] } else { &[] };
    let many = if backends == 1 { &[] } else { fits };
    let enough = move |length: &u32| *length as usize >= backends;
    single.iter().copied().chain(many.iter().rev().copied().filter(enough))
}

/// For each place the index of its backend. `length` is 1 or of [`lengths`]; none where there are
/// no backends.
pub fn table(backends: &[BackendKey], length: u32) -> Vec<u32> {
    const EMPTY: u32 = u32::MAX;
    if backends.is_empty() || length == 0 {
        return Vec::new();
    }
    if length == 1 {
        return vec![0];
    }
    let mut walks: Vec<Walk> = backends.iter().map(|key| Walk::new(*key, length)).collect();
    let mut places = vec![EMPTY; length as usize];
    let mut filled = 0;
    loop {
        for (index, walk) in walks.iter_mut().enumerate() {
            // Each walk visits every place once, so while one is empty it finds one.
            let mut place = walk.step(length);
            while places[place] != EMPTY {
                place = walk.step(length);
            }
            places[place] = index as u32;
            filled += 1;
            if filled == length {
                return places;
            }
        }
    }
}

/// The order in which a backend asks for places: a permutation, as `length` is prime.
struct Walk {
    next: u32,
    skip: u32,
}

impl Walk {
    fn new(key: BackendKey, length: u32) -> Self {
        let hash = hash(key);
        let (first, second) = ((hash >> 32) as u32, hash as u32);
        Self { next: first % length, skip: second % (length - 1) + 1 }
    }

    fn step(&mut self, length: u32) -> usize {
        let place = self.next;
        self.next =
            (u64::from(self.next) + u64::from(self.skip)).rem_euclid(u64::from(length)) as u32;
        place as usize
    }
}

/// FNV-1a over address and port, finished as splitmix64 is, so that neighbouring addresses part.
fn hash(key: BackendKey) -> u64 {
    let address = ebpf_abi::Address::from(key.ip()).octets();
    let octets = address.into_iter().chain(key.port().to_be_bytes());
    let mut hash = octets.fold(0xcbf2_9ce4_8422_2325_u64, |hash, octet| {
        (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(count: u16) -> Vec<BackendKey> {
        (0..count)
            .map(|number| format!("10.0.{}.{}:80", number >> 8, number & 255))
            .map(|text| text.parse().unwrap())
            .collect()
    }

    #[test]
    fn shares_are_even() {
        for count in [2, 3, 7, 100, 250] {
            let length = lengths(count.into()).next().unwrap();
            let table = table(&backends(count), length);
            let mut shares = vec![0_u32; count.into()];
            for index in &table {
                shares[*index as usize] += 1;
            }
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 1, "{count} backends: {least} to {most} of {length}");
        }
    }

    #[test]
    fn when_one_of_a_hundred_leaves_few_others_move() {
        let all = backends(100);
        let length = lengths(100).next().unwrap();
        let before = table(&all, length);
        let gone = 37;
        let mut left = all.clone();
        left.remove(gone);
        let after = table(&left, length);
        let moved = before
            .iter()
            .zip(&after)
            .filter(|(old, new)| all[**old as usize] != left[**new as usize])
            .filter(|(old, _)| **old as usize != gone)
            .count();
        let share = moved as f64 / f64::from(length);
        assert!(share < 0.02, "{share} of the flows of others moved");
    }

    #[test]
    fn lengths_leave_room_and_shrink() {
        assert_eq!(lengths(1).collect::<Vec<_>>(), [1]);
        assert_eq!(lengths(3).collect::<Vec<_>>(), [509, 251]);
        assert_eq!(lengths(300).collect::<Vec<_>>(), [32749, 16381, 8191, 4093, 2039, 1021, 509]);
        assert_eq!(lengths(200_000).next(), None);
        assert!(table(&[], 251).is_empty());
    }

    #[test]
    fn lengths_are_prime() {
        for length in LENGTHS {
            let divides = |divisor: &u32| length.is_multiple_of(*divisor);
            let mut divisors = (2..).take_while(|divisor| divisor * divisor <= length);
            assert!(!divisors.any(|divisor| divides(&divisor)), "{length}");
        }
    }
}
