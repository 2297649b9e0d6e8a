//! Tables by which a flow's hash finds its backend, after "Maglev: A Fast and Reliable Software
//! Network Load Balancer" (NSDI 2016), §3.4: every backend has about the same share, and when one
//! leaves few flows of the others move.
//!
//! A table follows from the backends' addresses alone, so every node has the same.

use crate::{BackendKey, arena::UNIT};

/// Places for each backend; shares then differ by about one in this many.
const PLACES_PER_BACKEND: usize = 100;

/// The longest table, in units of the arena.
const UNITS_MAX: u32 = (1 << 20) / UNIT;

/// From one length to the next it is an eighth of an octave, or a unit where that is more.
const STEPS_PER_OCTAVE: u32 = 8;

/// Lengths of tables: primes, as the permutations need, each just below a whole number of units,
/// which the arena gives out.
const LENGTHS: [u32; count_lengths()] = lengths_of_steps();

/// The number of units of the length after that of `units`.
const fn next_step(units: u32) -> u32 {
    let step = (1 << units.ilog2()) / STEPS_PER_OCTAVE;
    units + if step == 0 { 1 } else { step }
}

const fn count_lengths() -> usize {
    let (mut units, mut count) = (1, 0);
    while units <= UNITS_MAX {
        units = next_step(units);
        count += 1;
    }
    count
}

const fn lengths_of_steps() -> [u32; count_lengths()] {
    let mut lengths = [0; count_lengths()];
    let (mut units, mut index) = (1, 0);
    while index < lengths.len() {
        let mut length = units * UNIT - 1;
        while !is_prime(length) {
            length -= 2;
        }
        lengths[index] = length;
        units = next_step(units);
        index += 1;
    }
    lengths
}

/// Of an odd number.
const fn is_prime(number: u32) -> bool {
    let mut divisor = 3;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            return false;
        }
        divisor += 2;
    }
    true
}

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
    let indices: Vec<u32> = (0..).take(backends.len()).collect();
    let mut places = Vec::new();
    fill(&mut places, backends, &indices, length);
    places
}

/// Writes into `places` for each place the id of its backend; `ids` are those of `backends`, as
/// many and in the same order. Otherwise as [`table`].
pub fn fill(places: &mut Vec<u32>, backends: &[BackendKey], ids: &[u32], length: u32) {
    places.clear();
    let (true, Some(first)) = (length > 0, ids.first()) else { return };
    places.resize(length as usize, *first);
    if length == 1 {
        return;
    }
    let mut walks: Vec<Walk> =
        backends.iter().zip(ids).map(|(key, id)| Walk::new(*key, *id, length)).collect();
    let mut free = Free::new(length);
    // Steps to the next free place become more as those become fewer, and to find the nearest of all
    // free ones less: about there it is less.
    let few = (length * 3).isqrt();
    let mut turns = 0;
    while free.left > few {
        let walk = &mut walks[turns];
        places[walk.next_free(&mut free)] = walk.id;
        turns = if turns + 1 == walks.len() { 0 } else { turns + 1 };
    }
    let mut last = free.places();
    for walk in &mut walks {
        walk.turn_to_nearest();
    }
    while !last.is_empty() {
        let walk = &mut walks[turns];
        places[walk.nearest(&mut last) as usize] = walk.id;
        turns = if turns + 1 == walks.len() { 0 } else { turns + 1 };
    }
}

/// The places that have no backend yet, a bit each: so they stay in the nearest cache.
struct Free {
    words: Vec<u64>,
    left: u32,
}

impl Free {
    fn new(length: u32) -> Self {
        let mut words = vec![u64::MAX; length.div_ceil(u64::BITS) as usize];
        if let Some(last) = words.last_mut() {
            *last >>= (u64::BITS - length % u64::BITS) % u64::BITS;
        }
        Self { words, left: length }
    }

    /// Whether the place was free.
    #[inline]
    fn take(&mut self, place: u32) -> bool {
        let word = &mut self.words[(place / u64::BITS) as usize];
        let bit = 1 << (place % u64::BITS);
        let is_free = *word & bit != 0;
        if is_free {
            *word &= !bit;
        }
        is_free
    }

    fn places(&self) -> Vec<u32> {
        let first_of_words = (0..).step_by(u64::BITS as usize);
        let bits = self.words.iter().zip(first_of_words).flat_map(|(word, first)| {
            (0..u64::BITS).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit)
        });
        bits.collect()
    }
}

/// The order in which a backend asks for places: a permutation, as `length` is prime.
struct Walk {
    id: u32,
    next: u32,
    skip: u32,
    length: u32,
    /// Of `skip`, by which it gives 1, and the same in parts of `length`, of which there are 2^32.
    inverse: u32,
    inverse_parts: u64,
}

impl Walk {
    fn new(key: BackendKey, id: u32, length: u32) -> Self {
        let hash = hash(key);
        let (first, second) = ((hash >> 32) as u32, hash as u32);
        let (next, skip) = (first % length, second % (length - 1) + 1);
        Self { id, next, skip, length, inverse: 0, inverse_parts: 0 }
    }

    #[inline]
    fn step(&mut self) -> u32 {
        let place = self.next;
        let next = place + self.skip;
        // Both are below the length, so that one subtraction is the remainder.
        self.next = next.min(next.wrapping_sub(self.length));
        place
    }

    /// It visits every place once, so while one is free it finds one.
    #[inline]
    fn next_free(&mut self, free: &mut Free) -> usize {
        loop {
            let place = self.step();
            if free.take(place) {
                free.left -= 1;
                return place as usize;
            }
        }
    }

    /// Makes ready for [`Self::nearest`].
    fn turn_to_nearest(&mut self) {
        self.inverse = inverse(self.skip, self.length);
        self.inverse_parts = (u64::from(self.inverse) << 32) / u64::from(self.length);
    }

    /// Takes out of `places` the one that the walk comes to first: the `n`th step from `next` is at
    /// `next + n * skip`, so `n` is the distance by the inverse of `skip`.
    fn nearest(&self, places: &mut Vec<u32>) -> u32 {
        let steps = |place: u32| {
            let ahead = place.wrapping_sub(self.next);
            let distance = ahead.min(ahead.wrapping_add(self.length));
            // Remainder of a product by multiplying with parts made before, one too many at most.
            let whole = ((u64::from(distance) * self.inverse_parts) >> 32) as u32;
            let rest =
                distance.wrapping_mul(self.inverse).wrapping_sub(whole.wrapping_mul(self.length));
            rest.min(rest.wrapping_sub(self.length))
        };
        let least = places.iter().map(|place| steps(*place)).min();
        let found = places.iter().position(|place| Some(steps(*place)) == least);
        places.swap_remove(found.unwrap_or_default())
    }
}

/// Of a number below a prime: what it has to be multiplied with to leave 1. By Euclid.
fn inverse(number: u32, prime: u32) -> u32 {
    let (mut rest, mut next_rest) = (i64::from(prime), i64::from(number));
    let (mut factor, mut next_factor) = (0_i64, 1_i64);
    while next_rest != 0 {
        let quotient = rest / next_rest;
        (rest, next_rest) = (next_rest, rest - quotient * next_rest);
        (factor, next_factor) = (next_factor, factor - quotient * next_factor);
    }
    factor.rem_euclid(i64::from(prime)) as u32
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
        for count in [2, 3, 7, 25, 100, 250] {
            let length = lengths(count.into()).next().unwrap();
            let table = table(&backends(count), length);
            let mut shares = vec![0_u32; count.into()];
            for index in &table {
                shares[*index as usize] += 1;
            }
            let (least, most) = (*shares.iter().min().unwrap(), *shares.iter().max().unwrap());
            let imbalance = f64::from(most) / f64::from(least) - 1.0;
            println!("{count} backends, {length} places: {least} to {most}, {imbalance:.4} more");
            assert!(most - least <= 1, "{count} backends: {least} to {most} of {length}");
            assert!((most - least) * 100 <= least, "{count} backends: {imbalance}");
        }
    }

    #[test]
    fn when_one_of_a_hundred_leaves_few_others_move() {
        let all = backends(100);
        let length = lengths(100).next().unwrap();
        let before = table(&all, length);
        let mut worst = 0.0_f64;
        for gone in 0..all.len() {
            let mut left = all.clone();
            left.remove(gone);
            let after = table(&left, length);
            let moved = before
                .iter()
                .zip(&after)
                .filter(|(old, new)| all[**old as usize] != left[**new as usize])
                .filter(|(old, _)| **old as usize != gone)
                .count();
            worst = worst.max(moved as f64 / f64::from(length));
        }
        println!("one of 100 leaves: at most {worst:.4} of the flows of others move");
        assert!(worst < 0.02, "{worst} of the flows of others moved");
    }

    /// As the paper has it, step by step.
    fn by_the_paper(backends: &[BackendKey], length: u32) -> Vec<u32> {
        let mut walks: Vec<Walk> = backends.iter().map(|key| Walk::new(*key, 0, length)).collect();
        let mut places = vec![None; length as usize];
        for turn in 0..length as usize {
            let index = turn % walks.len();
            let place = loop {
                let place = walks[index].step() as usize;
                if places[place].is_none() {
                    break place;
                }
            };
            places[place] = Some(index as u32);
        }
        places.into_iter().flatten().collect()
    }

    #[test]
    fn the_nearest_free_place_is_the_one_that_steps_would_find() {
        for count in [2, 3, 25, 60, 250, 700] {
            for length in lengths(count.into()) {
                let backends = backends(count);
                assert_eq!(table(&backends, length), by_the_paper(&backends, length));
            }
        }
    }

    #[test]
    fn lengths_leave_room_and_shrink() {
        assert_eq!(lengths(1).collect::<Vec<_>>(), [1]);
        assert_eq!(lengths(3).collect::<Vec<_>>(), [317, 251, 191, 127, 61]);
        assert_eq!(lengths(25).next(), Some(2557));
        assert_eq!(lengths(250).next(), Some(26_597));
        let few: Vec<u32> = lengths(300).collect();
        assert_eq!((few[0], few.last()), (30_713, Some(&317)));
        assert!(few.is_sorted_by(|one, next| one > next));
        assert_eq!(lengths(2_000_000).next(), None);
        assert!(table(&[], 251).is_empty());
    }

    #[test]
    fn lengths_are_prime_and_fill_their_units() {
        for length in LENGTHS {
            let divides = |divisor: &u32| length.is_multiple_of(*divisor);
            let mut divisors = (2..).take_while(|divisor| divisor * divisor <= length);
            assert!(!divisors.any(|divisor| divides(&divisor)), "{length}");
            assert!(length.next_multiple_of(UNIT) - length < UNIT, "{length}");
        }
        for pair in LENGTHS.windows(2) {
            // An eighth, and what the two lie below their units.
            let step = UNIT.max(pair[0] / STEPS_PER_OCTAVE) + UNIT;
            assert!(pair[0] < pair[1] && pair[1] <= pair[0] + step, "{pair:?}");
        }
    }

    /// Flows of one client reach the same backend by whichever node they come, and of whatever
    /// version that is: what a table holds may not change.
    #[test]
    fn a_table_is_the_same_everywhere() {
        const DIGESTS: [u64; 2] = [0xf321011f230222e, 0xb4955c214193b9c3];
        let digest = |count, length| {
            let places = table(&backends(count), length);
            places
                .iter()
                .fold(0_u64, |hash, id| (hash ^ u64::from(*id)).wrapping_mul(0x100_0000_01b3))
        };
        assert_eq!([digest(3, 251), digest(100, 8191)], DIGESTS);
    }
}
