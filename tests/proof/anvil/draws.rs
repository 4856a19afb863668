//! Numbers from a seed, the same on every machine: what is emitted, and when things break.

/// splitmix64.
pub struct Draws(u64);

impl Draws {
    pub const fn of(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// One of `0 .. below`.
    pub fn below(&mut self, below: usize) -> usize {
        usize::try_from(self.draw() % u64::try_from(below).unwrap()).unwrap()
    }

    /// One of `least ..= most`.
    pub fn within(&mut self, least: u64, most: u64) -> u64 {
        least + self.draw() % (most - least + 1)
    }

    pub fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }
}
