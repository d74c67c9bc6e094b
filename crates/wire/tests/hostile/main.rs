//! Everything that can come in from outside, through the public interface: whatever the bytes, an
//! answer without a panic, in bounded memory, that loses nothing which was readable.
//!
//! Each property runs at least 100,000 cases. A case is made of a few hundred random bytes
//! ([`entropy`]), so that a failing one shrinks to few and simple decisions.

mod avro;
mod body;
mod datum;
mod entropy;
mod memory;
mod webhook;

use proptest::test_runner::{Config, TestCaseResult, TestRunner};

/// Runs `property` on `cases` random byte strings of up to `bytes_max` bytes.
fn check(cases: u32, bytes_max: usize, property: impl Fn(&[u8]) -> TestCaseResult) {
    let config = Config { failure_persistence: None, ..Config::with_cases(cases) };
    let bytes = proptest::collection::vec(proptest::num::u8::ANY, 0..bytes_max);
    let outcome = TestRunner::new(config).run(&bytes, |bytes| property(&bytes));
    outcome.unwrap_or_else(|error| panic!("{error}"));
    memory::assert_bounded();
}
