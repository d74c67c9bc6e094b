//! The webhook gateway under abuse: the binary on a real broker, spoken to as Meta does, and as
//! nobody should.
//!
//! | file | what |
//! |---|---|
//! | `signatures` | what is taken, what is refused, secrets that change, the verification handshake |
//! | `requests` | sizes, slowness, strange HTTP |
//! | `storm` | 1,000 connections at once |
//! | `broker` | the broker away, the gateway killed, the client gone |
//! | `status` | what the gateway says of its own gaps |
//! | `replays` | the same body again, with the ingest stage behind |
//!
//! 1,000 connections need about 1,100 file descriptors in the test and as many in the gateway, which
//! raises its own soft limit; `ulimit -n` of the test must be 4,096 or more.

mod broker;
mod harness;
mod replays;
mod requests;
mod signatures;
mod status;
mod storm;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The tests read one topic and stop one broker: one at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
