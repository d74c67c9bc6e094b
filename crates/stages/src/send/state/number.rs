//! The rows of a number and of its pairs.

use sendplane_domain::breaker::Breaker;
use sendplane_domain::rate::Gcra;
use sendplane_domain::throttle::Throttle;
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{TableValue, decode_body};
use serde::{Deserialize, Serialize};

/// What a number has used, what it may not do, and when it looks at its queue next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::send) struct Number {
    pub bucket: Gcra,
    /// When the number's timer stands, if it does.
    pub wake: Option<Timestamp>,
    /// After refusals for going too fast.
    pub throttle: Throttle,
    /// Open while its calls fail for reasons that are not the messages'.
    pub breaker: Breaker,
    /// No call before: the provider said so.
    pub held_until: Timestamp,
    /// No entry of a lane's queue stands before this time, by [`super::lane_rank`]: what was taken
    /// out leaves tombstones, which a search from the start would wade through.
    pub heads: [Timestamp; 2],
    /// Open while the number may send no bulk: the provider restricts it for spam.
    pub bulk: Breaker,
    /// What a notice said last about its throughput.
    pub throughput: Option<Noticed>,
}

/// A limit that a notice told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::send) struct Noticed {
    /// The limit, as the record `Notice` has it.
    pub limit: i32,
    /// When Meta said it. A tenant's record that was written later counts instead.
    pub at: Timestamp,
}

impl Noticed {
    /// The newer of what a notice said and what the tenant's record says, which was written at
    /// `updated_at`.
    pub fn newest<T: From<i32>>(noticed: Option<Self>, row: T, updated_at: Timestamp) -> T {
        match noticed {
            Some(noticed) if noticed.at > updated_at => noticed.limit.into(),
            Some(_) | None => row,
        }
    }
}

#[derive(Deserialize)]
struct NumberV1 {
    bucket: Gcra,
    wake: Option<Timestamp>,
}

impl TableValue for Number {
    const VERSION: u16 = 2;

    fn upgrade(_version: u16, bytes: &[u8]) -> Result<Self, String> {
        let old: NumberV1 = decode_body(bytes)?;
        Ok(Self { bucket: old.bucket, wake: old.wake, ..Self::default() })
    }
}

/// What a pair of number and contact has used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::send) struct Pair {
    pub bucket: Gcra,
    /// No call before: the provider refused one.
    pub held_until: Timestamp,
    /// Messages that wait for the pair.
    pub parked: u32,
    /// The minute under which the row stands in the table of ends.
    pub end_minute: u64,
}

impl TableValue for Pair {}
