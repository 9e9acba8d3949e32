//! Inputs out of seeds, the same ones for the same number.

use fastrand::Rng;

/// Longer ones only repeat themselves.
const LONGEST: usize = 600;

pub struct Mutator<'a> {
    random: Rng,
    seeds: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub fn new(seed: u64, seeds: &'a [Vec<u8>]) -> Self {
        Self { random: Rng::with_seed(seed), seeds }
    }

    /// A seed, changed in a few places.
    pub fn input(&mut self) -> Vec<u8> {
        let mut input = self.seed().to_vec();
        for _ in 0..self.random.u8(1..=8) {
            self.change(&mut input);
        }
        input.truncate(LONGEST);
        input
    }

    fn seed(&mut self) -> &'a [u8] {
        self.random.choice(self.seeds).map_or(&[], Vec::as_slice)
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let at = self.random.usize(..=input.len());
        let end = self.random.usize(at..=input.len().min(at + 16));
        match self.random.u8(..8) {
            0 => input.insert(at, self.random.u8(..)),
            1 => drop(input.drain(at..end)),
            2 => {
                let repeated = input[at..end].to_vec();
                input.splice(end..end, repeated);
            }
            3 => {
                let other = self.seed();
                let from = self.random.usize(..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            4 => {
                let piece = self.random.choice([&b"\n"[..], b" ", b"ERR ", b"@", b"\0", b"\xff"]);
                input.splice(at..at, piece.unwrap_or_default().iter().copied());
            }
            5 if at < input.len() => input[at] ^= 1 << self.random.u8(..8),
            6 if at < input.len() => input[at] = self.random.u8(..12),
            7 if at < input.len() => input[at] = self.random.u8(..),
            _ => {}
        }
    }
}
