//! What metasim accepted, and figures about it.

use std::collections::BTreeMap;

use sendplane_domain::time::Timestamp;
use sendplane_tests::plane::Plane;

/// A message that metasim accepted.
#[derive(Clone, Debug)]
pub struct Called {
    /// Number of the message, see [`crate::feeder::message_id`].
    pub n: u64,
    /// Phone number id it was sent from.
    pub number: String,
    /// When its call reached metasim.
    pub at: Timestamp,
}

/// Reads metasim's ledger piece by piece.
#[derive(Default)]
pub struct Ledger {
    since: u64,
    /// Everything read so far, in metasim's order.
    pub called: Vec<Called>,
}

impl Ledger {
    /// Reads what is new.
    pub fn read(&mut self, plane: &Plane) {
        loop {
            let page = plane.metasim(&format!("/metasim/ledger?since={}&limit=10000", self.since));
            let rows = page["accepted"].as_array().expect("a page");
            for row in rows {
                self.called.push(Called {
                    n: number_of(row["opaque"].as_str().expect("opaque data")),
                    number: row["phone_number_id"].as_str().expect("a number").to_owned(),
                    at: Timestamp::from_millis(row["accepted_at_ms"].as_i64().expect("a time")),
                });
            }
            self.since = page["next"].as_u64().expect("a position");
            if rows.is_empty() {
                return;
            }
        }
    }

    /// Calls from `number` in `[from, until)`.
    pub fn count(&self, number: &str, from: Timestamp, until: Timestamp) -> usize {
        let is_meant = |call: &&Called| call.number == number && call.at >= from && call.at < until;
        self.called.iter().filter(is_meant).count()
    }

    /// When each message was called.
    pub fn times(&self) -> BTreeMap<u64, Timestamp> {
        self.called.iter().map(|call| (call.n, call.at)).collect()
    }
}

/// The number of the message, out of `sp1.<tenant>.<slot>.<message id>.<attempt>.<mac>`.
fn number_of(opaque: &str) -> u64 {
    let message_id = opaque.split('.').nth(3).expect("a message id").replace('-', "");
    // The first of the last eight bytes holds the UUID's variant.
    u64::from_str_radix(&message_id[18..], 16).expect("hexadecimal")
}

/// The value below which `percent` of the sorted values are.
pub fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100).clamp(1, sorted.len().max(1));
    sorted.get(rank - 1).copied().unwrap_or(0)
}

/// Jain's fairness index: 1 when all have the same, 1/n when one has all.
pub fn jain(shares: &[usize]) -> f64 {
    let sum: f64 = shares.iter().map(|share| *share as f64).sum();
    let squares: f64 = shares.iter().map(|share| (*share as f64).powi(2)).sum();
    if squares == 0.0 { 0.0 } else { sum * sum / (shares.len() as f64 * squares) }
}
