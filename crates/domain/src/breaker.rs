//! A circuit breaker: stops calling what does not answer, and tries with single calls.
//!
//! ```text
//! Closed ──[`FAILURES_MAX`] failures in a row──▶ Open until a time ──▶ HalfOpen: one probe
//!    ▲                                             ▲                     │        │
//!    └──────────────── any success ◀───────────────┴─────── failed ◀─────┘        │
//!    ▲                                             a longer step                  │
//!    └────────────────────────────────── succeeded ◀──────────────────────────────┘
//! ```
//!
//! A success closes it whatever call it came from: it proves that the other side works. A failure
//! of a call that was granted before it opened says nothing new.
//!
//! What a webhook says of a call comes after its acceptance, late, repeatedly and in any order:
//!
//! | word | effect |
//! |---|---|
//! | a webhook refuses | opens it, from the time at which it was said; nothing if it was closed since, or if it is open and the call is older than that |
//! | a webhook says that a call was sent | closes it, if the call was granted since it opened |
//! | an answer accepts, and a webhook had opened it | closes it only [`UNCONTRADICTED`] after the first accepted probe, if no webhook refused one meanwhile: every such call is accepted first |

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{CLOCK_SKEW_MAX, INTENT_ANSWER_MAX};
use crate::time::Timestamp;

/// Failures in a row that open it.
pub const FAILURES_MAX: u32 = 5;

/// How long it stays open, the first time, the second time and so on; the last one repeats.
pub const OPEN_STEPS: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(15), Duration::from_secs(45)];

/// How long accepted probes must go without a bad word before they close what a webhook opened.
/// Webhooks come within seconds; without this bound a break of their path would hold messages for
/// as long as it lasts.
pub const UNCONTRADICTED: Duration = Duration::from_secs(300);

/// A breaker. The default is closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    state: State,
    /// When it was closed last. What was said before says nothing any more.
    closed_at: Timestamp,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// Calls are made.
    #[default]
    Closed,
    /// Calls are made, the last ones failed.
    Failing { failures: u32 },
    /// No calls before `until`.
    Open { opening: Opening, until: Timestamp },
    /// One call was made to see.
    HalfOpen {
        opening: Opening,
        probed_at: Timestamp,
        /// When a probe was accepted first, if a webhook opened it.
        passed_at: Option<Timestamp>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Opening {
    /// How often it opened in a row, from 1.
    times: u32,
    since: Timestamp,
    /// When the provider said so, if a webhook opened it.
    told_at: Option<Timestamp>,
}

/// What a breaker allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Any number of calls.
    Calls,
    /// One call.
    Probe,
    /// None before this time.
    NotBefore(Timestamp),
}

/// How a call's end became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// By its answer.
    Answer {
        /// When the call was granted.
        granted_at: Timestamp,
    },
    /// By a webhook, after it had been accepted.
    Webhook {
        /// When the call was granted.
        granted_at: Timestamp,
        /// When the provider said so, by its own clock, but not before the call.
        said_at: Timestamp,
    },
}

impl Word {
    /// Whether it is an answer.
    pub fn is_answer(self) -> bool {
        matches!(self, Self::Answer { .. })
    }

    /// When the call was granted.
    pub fn granted_at(self) -> Timestamp {
        match self {
            Self::Answer { granted_at } | Self::Webhook { granted_at, .. } => granted_at,
        }
    }

    /// When it was said, if it is known at `now`. The provider's clock may be ahead, but not by more
    /// than clocks may differ.
    pub fn said_at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Answer { .. } => now,
            Self::Webhook { said_at, .. } => said_at.min(now + CLOCK_SKEW_MAX),
        }
    }
}

impl Breaker {
    /// What is allowed at `now`. A probe whose result never came is replaced once it can no longer
    /// be running.
    pub fn admission(&self, now: Timestamp) -> Admission {
        let probe_at = match self.state {
            State::Closed | State::Failing { .. } => return Admission::Calls,
            State::Open { until, .. } => until,
            State::HalfOpen { probed_at, .. } => probed_at + INTENT_ANSWER_MAX,
        };
        if probe_at <= now { Admission::Probe } else { Admission::NotBefore(probe_at) }
    }

    /// A call was granted at `now`.
    pub fn granted(&mut self, now: Timestamp) {
        match &mut self.state {
            State::Closed | State::Failing { .. } => {}
            State::Open { opening, .. } => {
                let opening = *opening;
                self.state = State::HalfOpen { opening, probed_at: now, passed_at: None };
            }
            State::HalfOpen { probed_at, .. } => *probed_at = now,
        }
    }

    /// A call succeeded. True if that closed it.
    pub fn succeeded(&mut self, word: Word, now: Timestamp) -> bool {
        let opening = match self.state {
            State::Closed => return false,
            State::Failing { .. } => {
                if word.is_answer() {
                    self.state = State::Closed;
                }
                return false;
            }
            State::Open { opening, .. } | State::HalfOpen { opening, .. } => opening,
        };
        let is_probe = word.granted_at() >= opening.since;
        let is_proof = match word {
            Word::Webhook { .. } => is_probe,
            Word::Answer { .. } if opening.told_at.is_some() => is_probe && self.passed(now),
            Word::Answer { .. } => true,
        };
        is_proof && self.close(opening.told_at.map_or(now, |told_at| told_at.max(now)))
    }

    /// Whether accepted probes have gone uncontradicted for long enough.
    fn passed(&mut self, now: Timestamp) -> bool {
        match &mut self.state {
            State::HalfOpen { passed_at, .. } => {
                now >= *passed_at.get_or_insert(now) + UNCONTRADICTED
            }
            State::Closed | State::Failing { .. } | State::Open { .. } => false,
        }
    }

    /// It is known from elsewhere that calls went again at `at`. True if it was open.
    pub fn close(&mut self, at: Timestamp) -> bool {
        let was_open = self.is_open();
        *self = Self { state: State::Closed, closed_at: self.closed_at.max(at) };
        was_open
    }

    /// A call that was granted at `granted_at` failed because the other side is unwell. True if that
    /// opened it.
    pub fn failed(&mut self, granted_at: Timestamp, now: Timestamp) -> bool {
        let (times, told_at) = match self.state {
            State::Closed => return self.count(1, now),
            State::Failing { failures } => return self.count(failures.saturating_add(1), now),
            State::HalfOpen { opening, probed_at, .. } if granted_at >= probed_at => {
                (opening.times.saturating_add(1), opening.told_at)
            }
            State::Open { .. } | State::HalfOpen { .. } => return false,
        };
        self.open(Opening { times, since: now, told_at }, now, &OPEN_STEPS);
        true
    }

    /// A call was refused for a reason that concerns all calls, such as an access token: one is
    /// enough. True if that opened it.
    pub fn tripped(&mut self, word: Word, now: Timestamp) -> bool {
        self.tripped_for(word, now, &OPEN_STEPS)
    }

    /// As [`Self::tripped`], and it stays open for `steps`: for what heals in hours rather than
    /// seconds.
    pub fn tripped_for(&mut self, word: Word, now: Timestamp, steps: &[Duration; 3]) -> bool {
        let said_at = word.said_at(now);
        let is_told = !word.is_answer();
        let times = match self.state {
            State::Closed | State::Failing { .. } if is_told && said_at <= self.closed_at => {
                return false;
            }
            State::Closed | State::Failing { .. } => 1,
            State::Open { .. } => return false,
            State::HalfOpen { opening, probed_at, .. } => {
                // Webhooks may take longer than until the next probe.
                let since = if is_told { opening.since } else { probed_at };
                if word.granted_at() < since {
                    return false;
                }
                opening.times.saturating_add(1)
            }
        };
        let told_at = is_told.then_some(said_at);
        self.open(Opening { times, since: now, told_at }, said_at, steps);
        true
    }

    /// When it opened; `None` while calls are made.
    pub fn open_since(&self) -> Option<Timestamp> {
        match self.state {
            State::Closed | State::Failing { .. } => None,
            State::Open { opening, .. } | State::HalfOpen { opening, .. } => Some(opening.since),
        }
    }

    /// Whether calls are kept back.
    pub fn is_open(&self) -> bool {
        self.open_since().is_some()
    }

    fn count(&mut self, failures: u32, now: Timestamp) -> bool {
        if failures < FAILURES_MAX {
            self.state = State::Failing { failures };
            return false;
        }
        self.open(Opening { times: 1, since: now, told_at: None }, now, &OPEN_STEPS);
        true
    }

    fn open(&mut self, opening: Opening, from: Timestamp, steps: &[Duration; 3]) {
        let step = (opening.times as usize).clamp(1, steps.len()) - 1;
        self.state = State::Open { opening, until: from + steps[step] };
    }
}

#[cfg(test)]
mod tests;
