//! Chance that can be asked again: every draw is decided by the seed, a concern and a number, and by nothing else.
//!
//! Because any place of the sequence can be reached at once, an event or a customer is made anew from its number
//! alone: a copy that arrives days later costs no memory. All arithmetic is on integers, so that every machine
//! draws the same.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a draw decides. Each concern has a stream of its own, so that a change to one leaves the others as they were.
#[derive(Debug, Clone, Copy)]
pub enum Concern {
    Stream = 1,
    Event,
    Dirty,
    Dirt,
    Duplicate,
    Copy,
    Late,
    Life,
    Profile,
    Version,
    Export,
    Drift,
    Spike,
}

/// Room for the draws of one number before those of the next begin, in words of 32 bits.
const STRIDE: u128 = 128;

pub struct Random(ChaCha8Rng);

impl Random {
    pub fn at(seed: u64, concern: Concern, number: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = ChaCha8Rng::from_seed(key);
        rng.set_stream(concern as u64);
        rng.set_word_pos(u128::from(number) * STRIDE);
        Random(rng)
    }

    pub fn bits(&mut self) -> u32 {
        self.0.next_u32()
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A number from 0 up to `bound`, exclusive; 0 when there is none.
    pub fn below(&mut self, bound: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(bound)) >> 32) as u32
    }

    /// As [`Random::below`], for spans of time and numbers of events.
    pub fn below_long(&mut self, bound: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.below(high - low + 1)
    }

    pub fn one_in(&mut self, n: u32) -> bool {
        self.below(n) == 0
    }

    pub fn percent(&mut self, share: u32) -> bool {
        self.below(100) < share
    }

    pub fn pick<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        choices[self.below(N as u32) as usize]
    }

    /// Picks by weights that add up to 100.
    pub fn weighted<T: Copy, const N: usize>(&mut self, choices: &[(u32, T); N]) -> T {
        let mut left = self.below(100);
        for (weight, choice) in choices {
            if left < *weight {
                return *choice;
            }
            left -= weight;
        }
        choices[0].1
    }
}

/// Exactly `count` of the numbers from 0 up to `of`, spread over all of them: one at random in each of `count` equal
/// stretches.
pub struct Scatter {
    seed: u64,
    concern: Concern,
    count: u64,
    of: u64,
}

impl Scatter {
    pub fn new(seed: u64, concern: Concern, count: u64, of: u64) -> Self {
        Scatter { seed, concern, count: count.min(of), of }
    }

    pub fn hits(&self, number: u64) -> bool {
        if self.count == 0 || number >= self.of {
            return false;
        }
        let (count, of) = (u128::from(self.count), u128::from(self.of));
        let stretch = ((u128::from(number) + 1) * count - 1) / of;
        let first = (stretch * of / count) as u64;
        let next = ((stretch + 1) * of / count) as u64;
        let stretch = stretch as u64;
        number == first + Random::at(self.seed, self.concern, stretch).below_long(next - first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scatter_hits_exactly_as_often_as_it_was_told() {
        for (count, of) in [(0, 10), (1, 10), (3, 10), (7, 10), (10, 10), (25, 10), (333, 1000), (0, 0)] {
            let scatter = Scatter::new(1, Concern::Dirty, count, of);
            assert_eq!((0..of + 5).filter(|n| scatter.hits(*n)).count() as u64, count.min(of), "{count} of {of}");
        }
    }

    #[test]
    fn draws_are_the_same_on_every_machine() {
        // ChaCha with eight rounds under a zero key: the first words of the published test vector (little-endian).
        let mut plain = ChaCha8Rng::from_seed([0; 32]);
        assert_eq!([plain.next_u32(), plain.next_u32()], [0x2fef003e, 0xd6405f89]);
        let mut placed = Random::at(0, Concern::Stream, 2);
        let mut walked = ChaCha8Rng::from_seed([0; 32]);
        walked.set_stream(1);
        assert_eq!(Some(placed.bits()), (0..257).map(|_| walked.next_u32()).last());
    }

    #[test]
    fn weights_decide_the_shares() {
        let mut random = Random::at(7, Concern::Stream, 0);
        let heavy = (0..10_000).filter(|_| random.weighted(&[(90, true), (10, false)])).count();
        assert!((8_800..9_200).contains(&heavy), "{heavy}");
    }
}
