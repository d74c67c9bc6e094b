//! What all parts of a run share: time, events, the log, armed faults, evidence for the oracle.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::counts::Counts;
use crate::evidence::Evidence;
use crate::fault::{EndFate, Fault, Point, ProduceFate};
use crate::log::group::Assignment;
use crate::log::{Log, Session};
use crate::mutation::Mutation;
use crate::process::core::Core;
use crate::provider::Provider;
use crate::rng::{Concern, Rng};
use crate::shape::Shape;
use crate::time::{Micros, ms};
use crate::trace::{Note, Trace};

/// Something that happens at a time.
#[derive(Clone, Debug)]
pub enum Event {
    /// A process goes on; an outdated token means that it was disturbed meanwhile.
    Step {
        /// Which.
        process: usize,
        /// Of which wait.
        token: u64,
    },
    /// A process's client says that it lives.
    Heartbeat {
        /// Which.
        process: usize,
        /// Which life of it.
        incarnation: u64,
    },
    /// A rebalance has ended.
    Assigned {
        /// With what.
        assignment: Assignment,
        /// For which life of the process.
        incarnation: u64,
    },
    /// A process starts.
    Start(usize),
    /// A process is told to stop.
    Stop {
        /// Which.
        process: usize,
        /// When it starts again.
        restart_after: Option<Micros>,
    },
    /// An EndTxn arrives at last.
    LateEnd(Session),
    /// A call goes on.
    Call {
        /// Which.
        call: usize,
        /// How.
        step: CallStep,
    },
    /// The provider has webhooks to post.
    WebhooksDue,
    /// A webhook arrives at the gateway.
    Post(usize),
    /// The gateway reports how it has served; an outdated token means that it ended meanwhile.
    GatewayReports(u64),
    /// An upstream system produces its next record.
    Upstream(usize),
    /// A fault that is tied to a time only.
    Fault(usize),
    /// The brokers are back.
    BrokerBack,
    /// The coordinators look at their timeouts.
    Sweep,
    /// Stores are compared with their changelogs.
    Snapshot,
    /// Something happens to the account at the provider.
    Injection(usize),
    /// Some dispatch stands in the log once more.
    Repeat,
    /// One more of a storm's members joins, or leaves.
    Disturb {
        /// Index of the stage.
        stage: usize,
        /// Whom to take away.
        leaving: Option<u64>,
        /// How many are still to come.
        left: u32,
        /// How far apart.
        gap: Micros,
    },
}

/// The way of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStep {
    /// It has a connection; its deadline is checked.
    Check,
    /// Its first byte is written.
    Write,
    /// The provider has it.
    Arrive,
    /// The answer, or its absence, is seen.
    Answer,
}

struct Scheduled {
    at: Micros,
    order: u64,
    event: Event,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// What to do at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// Go on.
    Free,
    /// Stop here for a while.
    Frozen,
    /// Die here.
    Dead {
        /// Without the disk.
        wipe: bool,
        /// When the successor starts.
        restart_after: Micros,
    },
}

/// The shared part of a run.
pub struct Env {
    /// True time.
    pub now: Micros,
    queue: BinaryHeap<Reverse<Scheduled>>,
    order: u64,
    /// The log.
    pub log: Log,
    /// The cluster.
    pub shape: Shape,
    /// Latencies.
    pub latency: Rng,
    /// What readers have fetched.
    pub fetch: Rng,
    /// Which dispatches are repeated.
    pub repeats: Rng,
    /// Faults that wait for an occasion, by process.
    armed: BTreeMap<usize, Vec<Fault>>,
    /// Points passed, for the counts.
    pub counts: Counts,
    /// Lines for people.
    pub trace: Trace,
    /// What the oracle looks at.
    pub seen: Evidence,
    /// The bug of this run.
    pub mutation: Option<Mutation>,
    /// The brokers cannot be reached before.
    pub broker_down_until: Micros,
    /// The provider and all calls to it.
    pub provider: Provider,
}

impl Env {
    /// At the start of a run.
    pub fn new(
        shape: Shape,
        mutation: Option<Mutation>,
        trace: Trace,
        provider: Provider,
        faults: &[Fault],
    ) -> Self {
        let mut armed: BTreeMap<usize, Vec<Fault>> = BTreeMap::new();
        for fault in faults {
            if let Fault::Crash { process, .. }
            | Fault::Freeze { process, .. }
            | Fault::EndTxn { process, .. }
            | Fault::Produce { process, .. } = fault
            {
                armed.entry(*process).or_default().push(*fault);
            }
        }
        Self {
            now: 0,
            queue: BinaryHeap::new(),
            order: 0,
            log: Log::new(shape.partitions),
            latency: Rng::new(shape.seed, Concern::Latency),
            fetch: Rng::new(shape.seed, Concern::Fetch),
            repeats: Rng::new(shape.seed, Concern::Repeats),
            armed,
            counts: Counts::default(),
            trace,
            seen: Evidence::default(),
            mutation,
            broker_down_until: 0,
            provider,
            shape,
        }
    }

    /// Whether `mutation` is the bug of this run.
    pub fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    /// Lets `event` happen at `at`.
    pub fn at(&mut self, at: Micros, event: Event) {
        self.order += 1;
        let scheduled = Scheduled { at: at.max(self.now), order: self.order, event };
        self.queue.push(Reverse(scheduled));
    }

    /// Lets `event` happen in a while.
    pub fn after(&mut self, wait: Micros, event: Event) {
        self.at(self.now + wait, event);
    }

    /// The next event up to `end`; time moves to it.
    pub fn next(&mut self, end: Micros) -> Option<Event> {
        if self.queue.peek()?.0.at > end {
            return None;
        }
        let Reverse(scheduled) = self.queue.pop()?;
        self.now = scheduled.at;
        Some(scheduled.event)
    }

    /// A latency between `low` and `high` milliseconds.
    pub fn latency(&mut self, low: i64, high: i64) -> Micros {
        self.latency.between(ms(low), ms(high))
    }

    /// Whether the brokers can be reached.
    pub fn has_broker(&self) -> bool {
        self.now >= self.broker_down_until
    }

    /// What happens to `core` at `point`.
    pub fn pass(&mut self, core: &mut Core, point: Point) -> Passage {
        self.counts.one(passed(point));
        let now = self.now;
        let armed = self.armed.entry(core.index).or_default();
        let due = armed.iter().position(|fault| match fault {
            Fault::Crash { after, point: at, .. } | Fault::Freeze { after, point: at, .. } => {
                *after <= now && *at == point
            }
            _ => false,
        });
        let Some(found) = due.map(|found| armed.remove(found)) else {
            return Passage::Free;
        };
        match found {
            Fault::Freeze { length, .. } => {
                core.frozen_until = now + length;
                core.was_frozen_at = Some(point);
                self.counts.one("freezes");
                self.counts.one(&format!("freezes at {point:?}"));
                if length > self.shape.session_timeout {
                    self.counts.one("zombies woken");
                }
                self.tell(core, None, || format!("freezes at {point:?} for {length} us"));
                Passage::Frozen
            }
            Fault::Crash { wipe, restart_after, again, process, .. } => {
                if let Some(point) = again {
                    let second = Fault::Crash {
                        process,
                        after: now,
                        point,
                        wipe: false,
                        restart_after,
                        again: None,
                    };
                    armed.push(second);
                    core.crashes_again = true;
                } else if core.crashes_again {
                    core.crashes_again = false;
                    self.counts.one("crashes, second in a row");
                }
                self.counts.one("crashes");
                self.counts.one(&format!("crashes at {point:?}"));
                self.tell(core, None, || format!("dies at {point:?}, disk lost: {wipe}"));
                Passage::Dead { wipe, restart_after }
            }
            _ => Passage::Free,
        }
    }

    /// The fate of an EndTxn that `core` sends now.
    pub fn end_fate(&mut self, core: &Core) -> Option<EndFate> {
        let now = self.now;
        let armed = self.armed.get_mut(&core.index)?;
        let due = armed
            .iter()
            .position(|fault| matches!(fault, Fault::EndTxn { after, .. } if *after <= now))?;
        match armed.remove(due) {
            Fault::EndTxn { fate, .. } => Some(fate),
            _ => None,
        }
    }

    /// The fate of records that `core` produces now.
    pub fn produce_fate(&mut self, core: &Core) -> Option<ProduceFate> {
        let now = self.now;
        let armed = self.armed.get_mut(&core.index)?;
        let due = armed
            .iter()
            .position(|fault| matches!(fault, Fault::Produce { after, .. } if *after <= now))?;
        match armed.remove(due) {
            Fault::Produce { fate, .. } => Some(fate),
            _ => None,
        }
    }

    /// A line about a process.
    pub fn tell(&mut self, core: &Core, partition: Option<i32>, text: impl FnOnce() -> String) {
        let at = self.now;
        self.trace.note(|| Note {
            at,
            who: core.name.clone(),
            task: partition.map(|partition| (core.stage, partition)),
            message: None,
            text: text(),
        });
    }
}

fn passed(point: Point) -> &'static str {
    match point {
        Point::CallBeforeWrite => "calls begun",
        Point::BeforeTakeOver => "takeovers begun",
        _ => "points passed",
    }
}
