//! Seeded randomness: SplitMix64, keyed by what is decided instead of by call order.
//!
//! A draw depends on (seed, concern, key), never on how many draws came before. So two requests
//! that swap places, or a fault knob that is turned, do not change what happens to anything else.

/// What a random stream decides. Streams of different concerns are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    Fault = 1,
    Latency,
    Wamid,
    Trace,
    StatusDelay,
    AsyncFailure,
    WebhookFault,
    InboundId,
    BusinessScopedId,
    TemplateId,
    MarketingCap,
    Pacing,
    Offline,
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64: a bijection on 64-bit words, so distinct inputs stay distinct.
pub(crate) fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// FNV-1a with a finaliser: a stable text hash, not a secure one.
pub(crate) fn hash_text(text: &str) -> u64 {
    let fnv = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    mix(fnv)
}

impl Rng {
    /// The stream of one decision.
    pub(crate) fn keyed(seed: u64, concern: Concern, key: u64) -> Self {
        let concern = mix((concern as u64).wrapping_mul(GAMMA));
        Self(mix(seed ^ concern) ^ mix(key.wrapping_add(GAMMA)))
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GAMMA);
        mix(self.0)
    }

    /// A value in `min..=max`; the modulo bias is below 2^-40 for the ranges used here.
    pub(crate) fn between(&mut self, min: u64, max: u64) -> u64 {
        match (max - min).checked_add(1) {
            Some(span) => min + self.next_u64() % span,
            None => self.next_u64(),
        }
    }

    /// A value in `[0, 1)` with 53 random bits; `unit() < p` is never for 0 and always for 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_sequence() {
        // The reference implementation's first outputs for state 1234567.
        let mut rng = Rng(1_234_567);
        let drawn: Vec<u64> = (0..3).map(|_| rng.next_u64()).collect();
        assert_eq!(drawn, [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn streams_differ_by_seed_concern_and_key() {
        let first = |seed, concern, key| Rng::keyed(seed, concern, key).next_u64();
        let base = first(1, Concern::Fault, 1);
        assert_eq!(base, first(1, Concern::Fault, 1));
        assert_ne!(base, first(2, Concern::Fault, 1));
        assert_ne!(base, first(1, Concern::Latency, 1));
        assert_ne!(base, first(1, Concern::Fault, 2));
    }

    #[test]
    fn units_have_hard_ends_and_a_fair_middle() {
        let mut rng = Rng::keyed(7, Concern::Fault, 0);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.unit())));
        let hits = (0..100_000).filter(|_| rng.unit() < 0.1).count();
        assert!((9_500..10_500).contains(&hits), "{hits}");
    }

    #[test]
    fn between_reaches_both_ends() {
        let mut rng = Rng::keyed(7, Concern::Latency, 0);
        let drawn: Vec<u64> = (0..1000).map(|_| rng.between(3, 5)).collect();
        assert_eq!(drawn.iter().min(), Some(&3));
        assert_eq!(drawn.iter().max(), Some(&5));
        assert_eq!(rng.between(9, 9), 9);
        rng.between(0, u64::MAX);
    }
}
