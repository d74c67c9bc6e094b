//! Seeded randomness: SplitMix64, one stream per concern.
//!
//! A stream of its own for every concern keeps a run comparable: a fault that is taken away does
//! not change what the workload asks for.

/// What a stream decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Size of the cluster and its settings.
    Shape = 1,
    /// What upstream systems produce.
    Workload,
    /// Which faults happen, and when.
    Faults,
    /// How long a step takes.
    Latency,
    /// What a reader has fetched already.
    Fetch,
    /// How webhooks travel.
    Webhooks,
    /// What callers withdraw.
    Cancels,
    /// What changes after a message was released: consent and templates.
    Changes,
    /// Which dispatches stand in the log twice.
    Repeats,
    /// When the gateway is away, and webhooks are late.
    Silence,
    /// What is scarce: budgets, users; and what the provider takes away.
    Scarcity,
    /// How many calls may run at a time.
    Slots,
}

/// A stream of random numbers (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub struct Rng(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Rng {
    /// The stream of `concern` under `seed`.
    pub fn new(seed: u64, concern: Concern) -> Self {
        Self(mix(seed.wrapping_add(GAMMA)) ^ mix((concern as u64).wrapping_mul(GAMMA)))
    }

    /// The next word.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.word() % bound }
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as u64) as i64
    }

    /// True in `per_mille` of 1,000 cases.
    pub fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of `choices`, which must not be empty.
    pub fn pick<'c, T>(&mut self, choices: &'c [T]) -> &'c T {
        &choices[self.below(choices.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let first = |seed, concern| Rng::new(seed, concern).word();
        assert_eq!(first(1, Concern::Faults), first(1, Concern::Faults));
        assert_ne!(first(1, Concern::Faults), first(2, Concern::Faults));
        assert_ne!(first(1, Concern::Faults), first(1, Concern::Shape));
    }

    #[test]
    fn draws_stay_in_range_and_reach_its_ends() {
        let mut rng = Rng::new(7, Concern::Latency);
        let drawn: Vec<i64> = (0..500).map(|_| rng.between(-2, 2)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&-2), Some(&2)));
        let hits = (0..10_000).filter(|_| rng.chance(100)).count();
        assert!((850..1_150).contains(&hits), "{hits}");
        assert!(!rng.chance(0) && rng.chance(1_000));
    }
}
