//! The size of the cluster and its settings, as the seed decides them.

use std::time::Duration;

use crate::rng::{Concern, Rng};
use crate::time::{Micros, seconds};
use crate::workload::scarce::Scarcity;

/// The stages, in the order of a message's way.
pub const STAGES: [&str; 4] = ["ingest", "policy", "send", "status-reconcile"];

/// Index of the send stage.
const SEND: usize = 2;

/// Processes of one stage that may run at a time.
pub const PER_STAGE: usize = 4;

/// The cluster.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Decides everything.
    pub seed: u64,
    /// Partitions of every topic.
    pub partitions: u32,
    /// Processes of each stage at the start; the others are spare.
    pub processes: [usize; 4],
    /// Session timeout of the groups.
    pub session_timeout: Micros,
    /// Inputs of one group commit at most.
    pub batch_inputs: usize,
    /// How long requests are produced.
    pub traffic: Micros,
    /// Requests.
    pub requests: usize,
    /// Tenants.
    pub tenants: usize,
    /// What is scarce beside slots.
    pub scarcity: Scarcity,
    /// How long the most patient request may wait; a multiple of ten minutes.
    pub patience: Micros,
    /// Tenants contend for slots, and nothing else is scarce.
    pub contended: bool,
    /// Calls that may run at a time in one process.
    pub slots: usize,
    /// Doubt window of send.
    pub doubt_window: Duration,
    /// Silence after acceptance that counts as unknown.
    pub status_deadline: Duration,
    /// Silence after `sent` that counts as expired.
    pub delivery_deadline: Duration,
}

impl Shape {
    /// What `seed` decides, with `minutes` of traffic if given.
    pub fn of(seed: u64, minutes: Option<u32>) -> Self {
        let shape = Self::ordinary(seed, minutes);
        // One kind of schedule, and not of those that hold up many calls at once.
        if seed % 12 == 10 { Self::contend(shape) } else { shape }
    }

    fn ordinary(seed: u64, minutes: Option<u32>) -> Self {
        let mut rng = Rng::new(seed, Concern::Shape);
        let partitions = rng.between(1, 4) as u32;
        let processes = [(); 4].map(|()| rng.between(1, 3) as usize);
        let drawn = rng.between(1, 4);
        let minutes = minutes.map_or(drawn, i64::from);
        let per_minute = rng.between(12, 36);
        let scarcity = Scarcity::of(seed);
        Self {
            seed,
            partitions,
            processes,
            session_timeout: seconds(*rng.pick(&[4, 6, 15])),
            batch_inputs: *rng.pick(&[1, 3, 10, 500]),
            traffic: seconds(60 * minutes),
            requests: (minutes * per_minute) as usize,
            tenants: rng.between(1, 5) as usize,
            slots: slots(seed),
            contended: false,
            scarcity,
            // A suspended template is tried after ten minutes.
            patience: seconds(if scarcity.suspensions { 1_200 } else { 600 }),
            doubt_window: Duration::from_secs(*rng.pick(&[60, 90])),
            status_deadline: Duration::from_secs(240),
            delivery_deadline: Duration::from_secs(400),
        }
    }

    fn contend(shape: Self) -> Self {
        let slots = 1 + shape.seed as usize / 12 % 3;
        let tenants = shape.tenants.max(3);
        let scarcity = Scarcity::default();
        let patience = seconds(600);
        let requests = 160;
        let contended = true;
        Self { partitions: 1, slots, tenants, scarcity, patience, requests, contended, ..shape }
    }

    /// One process of everything, for the enumerated matrix.
    pub fn small(seed: u64, partitions: u32, requests: usize) -> Self {
        Self {
            partitions,
            processes: [1; 4],
            session_timeout: seconds(4),
            batch_inputs: 3,
            traffic: seconds(6),
            requests,
            tenants: 2,
            slots: usize::MAX,
            scarcity: Scarcity::default(),
            patience: seconds(600),
            ..Self::ordinary(seed, Some(1))
        }
    }

    /// A few days with little traffic, for limits that are counted by the day; requests may wait
    /// for longer than one.
    pub fn days(seed: u64, days: i64, requests: usize, scarcity: Scarcity) -> Self {
        let traffic = seconds(24 * 3_600 * days);
        Self {
            session_timeout: seconds(15),
            batch_inputs: 500,
            traffic,
            tenants: 3,
            patience: seconds(30 * 3_600),
            scarcity,
            ..Self::small(seed, 2, requests)
        }
    }

    /// `usual`, or longer where the run is long: what is done over and over again is not what a run
    /// of days is for.
    pub fn every(&self, usual: Micros) -> Micros {
        usual.max(self.traffic / 400)
    }

    /// Whether answers are lost and webhooks late all the time. Little else happens to messages
    /// then: whoever is given back or withdrawn is in no doubt.
    pub fn is_silent(&self) -> bool {
        self.seed.is_multiple_of(4)
    }

    /// By when every message must have come to its end: deadlines, doubt and silence are over.
    pub fn horizon(&self) -> Micros {
        self.traffic + self.patience + seconds(15 * 60)
    }

    /// Stage of a process.
    pub fn stage_of(&self, process: usize) -> usize {
        process / PER_STAGE
    }

    /// First process of a stage.
    pub fn first_of(&self, stage: usize) -> usize {
        stage * PER_STAGE
    }

    /// A process of a stage that does not run at the start.
    pub fn spare_of(&self, stage: usize) -> usize {
        stage * PER_STAGE + PER_STAGE - 1
    }

    /// Whether a process runs at the start.
    pub fn is_initial(&self, process: usize) -> bool {
        process % PER_STAGE < self.processes[self.stage_of(process)]
    }

    /// The send stage.
    pub fn send(&self) -> usize {
        SEND
    }

    /// Some process that runs at the start; send more often than the others.
    pub fn any_initial(&self, rng: &mut Rng) -> usize {
        let stage = if rng.chance(250) { SEND } else { rng.below(4) as usize };
        self.first_of(stage) + rng.below(self.processes[stage] as u64) as usize
    }

    /// Some process that does not.
    pub fn any_spare(&self, rng: &mut Rng) -> usize {
        self.spare_of(rng.below(4) as usize)
    }
}

/// Few in every third run that is not silent, so that somebody has to wait for them.
fn slots(seed: u64) -> usize {
    let mut rng = Rng::new(seed, Concern::Slots);
    if rng.chance(400) && !seed.is_multiple_of(4) { rng.between(1, 4) as usize } else { usize::MAX }
}
