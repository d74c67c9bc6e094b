//! Taking over: stable offsets, then the changelog's high watermark, then the changelog.

use std::collections::BTreeMap;
use std::rc::Rc;

use sendplane_domain::time::Timestamp;
use sendplane_stage_api::InputClass;
use sendplane_stage_api::commit::{CommitRecord, Fold};

use super::hosted::Hosted;
use super::task::{Disk, Task};
use super::turn::globals_applied;
use super::{Phase, Runner, Stepped};
use crate::env::Env;
use crate::evidence::Mismatch;
use crate::fault::Point;
use crate::log::{GroupOffset, Refused};
use crate::mutation::Mutation;
use crate::time::{Micros, ms, seconds};

/// Pending offsets of a dead owner are stable again once its transaction has timed out.
const STABLE_WITHIN: Micros = seconds(30);
/// A restore that reads nothing for this long is given up and begun again.
const PROGRESS_WITHIN: Micros = seconds(60);

enum Step {
    Begin,
    Offsets { deadline: Micros },
    Watermark,
    Read { deadline: Micros, began: bool },
    Open,
}

struct Folding {
    fold: Fold,
    next: i64,
    end: i64,
}

/// A takeover under way.
pub(crate) struct TakeOver {
    step: Step,
    committed: BTreeMap<i32, Vec<Option<GroupOffset>>>,
    folding: BTreeMap<i32, Folding>,
}

impl TakeOver {
    pub(super) fn new() -> Self {
        Self { step: Step::Begin, committed: BTreeMap::new(), folding: BTreeMap::new() }
    }
}

impl<S: Hosted> Runner<S> {
    pub(super) fn go_on_taking_over(&mut self, env: &mut Env, mut one: TakeOver) -> Stepped<S> {
        let point = match one.step {
            Step::Begin => Some(Point::BeforeTakeOver),
            Step::Watermark => Some(Point::BeforeWatermark),
            Step::Read { began: true, .. } => Some(Point::AmongRestore),
            Step::Open => Some(Point::BeforeOpen),
            Step::Offsets { .. } | Step::Read { .. } => None,
        };
        if let Some(point) = point
            && let Some(passage) = self.pass(env, point)
        {
            return self.interrupted(env, passage, Phase::TakeOver(one));
        }
        let is_begun = !matches!(one.step, Step::Begin);
        if is_begun && (self.core.is_being_revoked() || self.core.stopping) {
            // A revocation while we restore makes the restore pointless.
            env.counts.one("restores interrupted");
            return Stepped::Next(Phase::Loop, 0);
        }
        let wait = match one.step {
            Step::Begin => self.begin_takeover(env, &mut one),
            Step::Offsets { deadline } => match self.stable_offsets(env, &mut one) {
                Some(wait) => wait,
                None if env.now > deadline => return self.rebuild(),
                None => ms(100),
            },
            Step::Watermark => match self.watermarks(env, &mut one) {
                Ok(wait) => wait,
                Err(why) => return self.give_up(env, why),
            },
            Step::Read { deadline, .. } => match self.read_changelogs(env, &mut one) {
                Some(wait) => wait,
                None if env.now > deadline => return self.rebuild(),
                None => ms(20),
            },
            Step::Open => return self.open_tasks(env, one),
        };
        Stepped::Next(Phase::TakeOver(one), wait)
    }

    fn begin_takeover(&mut self, env: &mut Env, one: &mut TakeOver) -> Micros {
        if self.core.session.is_none() {
            self.renew_producer(env);
        }
        for (partition, task) in std::mem::take(&mut self.tasks) {
            self.kept.insert(partition, (task.results, task.running));
        }
        one.step = Step::Offsets { deadline: env.now + STABLE_WITHIN };
        env.latency(1, 10)
    }

    fn stable_offsets(&mut self, env: &mut Env, one: &mut TakeOver) -> Option<Micros> {
        one.committed.clear();
        for partition in &self.core.owned {
            let mut offsets = Vec::new();
            for input in self.stage.inputs() {
                match env.log.stable_offset(&self.core.group, input.topic, *partition) {
                    Ok(found) => offsets.push(found),
                    Err(Refused::Unstable) => {
                        env.counts.one("unstable offsets");
                        return None;
                    }
                    Err(_) => return None,
                }
            }
            one.committed.insert(*partition, offsets);
        }
        one.step = Step::Watermark;
        Some(env.latency(0, 10))
    }

    fn watermarks(&mut self, env: &mut Env, one: &mut TakeOver) -> Result<Micros, String> {
        let to_stable = env.has(Mutation::RestoreToStable) || env.has(Mutation::SequenceUnchecked);
        for partition in &self.core.owned {
            let disk = self.disks.entry(*partition).or_default();
            let end = if to_stable {
                env.log.last_stable_offset(&self.core.changelog, *partition)
            } else {
                env.log.high_watermark(&self.core.changelog, *partition)
            };
            let next = disk.next_offset;
            if next > end && !to_stable {
                return Err(format!("the store of {partition} is ahead of its changelog"));
            }
            if disk.rows.is_empty() && end > 0 {
                env.counts.one("restores from nothing");
            }
            let fold = Fold::after(disk.last_commit());
            one.folding.insert(*partition, Folding { fold, next, end });
        }
        one.step = Step::Read { deadline: env.now + PROGRESS_WITHIN, began: false };
        Ok(env.latency(0, 10))
    }

    /// `None`: nothing more can be read yet.
    fn read_changelogs(&mut self, env: &mut Env, one: &mut TakeOver) -> Option<Micros> {
        let mut progress = false;
        for (partition, folding) in &mut one.folding {
            let left = (folding.end - folding.next).max(0) as usize;
            let limit = (left / 2).max(5);
            let changelog = &self.core.changelog;
            let (found, next) = env.log.read_committed(changelog, *partition, folding.next, limit);
            progress |= next > folding.next;
            let disk = self.disks.entry(*partition).or_default();
            for (offset, entry) in found {
                // Beyond the end is somebody else's: the runtime stops there too.
                if offset >= folding.end {
                    break;
                }
                fold_one(&mut folding.fold, disk, offset, &entry);
            }
            folding.next = next;
        }
        if one.folding.values().all(|folding| folding.next >= folding.end) {
            one.step = Step::Open;
            return Some(0);
        }
        if progress {
            one.step = Step::Read { deadline: env.now + PROGRESS_WITHIN, began: true };
            return Some(env.latency(0, 5));
        }
        None
    }

    fn open_tasks(&mut self, env: &mut Env, one: TakeOver) -> Stepped<S> {
        let TakeOver { committed, folding, .. } = one;
        let mut tasks = BTreeMap::new();
        for (partition, Folding { fold, .. }) in folding {
            let last = fold.last().cloned();
            let torn = fold.finish();
            let offsets = match self.agree(env, last.as_ref(), &committed[&partition]) {
                Ok(offsets) => offsets,
                Err(detail) => {
                    self.note_mismatch(env, partition, detail);
                    self.core.kept = self.core.session.take();
                    return self.rebuild();
                }
            };
            if !torn.is_empty() {
                env.counts.one("tears found by a restore");
            }
            env.counts.one("restores");
            self.slots.forget(partition);
            tasks.insert(partition, self.open_task(env, partition, last.as_ref(), offsets, torn));
        }
        self.tasks = tasks;
        for (partition, (results, running)) in std::mem::take(&mut self.kept) {
            if let Some(task) = self.tasks.get_mut(&partition) {
                (task.results, task.running) = (results, running);
            }
        }
        if self.core.failures > 0 {
            env.counts.one("recoveries");
        }
        Stepped::Next(Phase::Loop, 0)
    }

    fn note_mismatch(&self, env: &mut Env, partition: i32, detail: String) {
        env.tell(&self.core, Some(partition), || detail.clone());
        env.counts.one("restores refused");
        let group = env.log.group(&self.core.group);
        let is_owner = self.core.member.is_some_and(|(id, at)| group.check(id, at).is_ok());
        let stage = self.core.stage;
        env.seen.mismatches.push(Mismatch { stage, partition, is_owner, detail });
    }

    fn open_task(
        &self,
        env: &mut Env,
        partition: i32,
        last: Option<&CommitRecord>,
        offsets: Vec<i64>,
        torn: Vec<Vec<u8>>,
    ) -> Task<S> {
        env.tell(&self.core, Some(partition), || {
            format!("opens at transaction {:?}", last.map(|last| last.txn_seq))
        });
        let last_now = last.map_or(Timestamp::default(), |last| last.now);
        let inputs = self.stage.inputs().iter().enumerate();
        let feedback = inputs.filter(|(_, input)| input.class == InputClass::Feedback);
        let marks = feedback
            .map(|(index, input)| (index, env.log.last_stable_offset(input.topic, partition)))
            .filter(|(index, mark)| offsets[*index] < *mark)
            .collect();
        Task {
            partition,
            txn_seq: last.map_or(0, |last| last.txn_seq),
            last_now,
            opened: (env.now, last_now),
            fresh: last.is_none(),
            fetched: offsets.clone(),
            offsets,
            torn,
            timer_floor: Timestamp::default(),
            next_timer: Some(Timestamp::default()),
            globals_applied: globals_applied(&self.disks[&partition].rows),
            queues: BTreeMap::new(),
            results: Default::default(),
            running: Rc::default(),
            epoch: self.core.epoch,
            feedback_marks: marks,
        }
    }

    /// State and offsets must be of one transaction.
    fn agree(
        &self,
        env: &Env,
        last: Option<&CommitRecord>,
        committed: &[Option<GroupOffset>],
    ) -> Result<Vec<i64>, String> {
        let inputs = self.stage.inputs();
        let Some(last) = last else {
            return match committed.iter().flatten().next() {
                Some(found) if !env.has(Mutation::SequenceUnchecked) => {
                    Err(format!("no state, but offsets of transaction {}", found.1))
                }
                _ => Ok(vec![0; inputs.len()]),
            };
        };
        let mut offsets = Vec::new();
        for (input, found) in inputs.iter().zip(committed) {
            let recorded = last.inputs.get(input.topic).copied().unwrap_or(0);
            let expected = (recorded, last.txn_seq.to_string());
            match found {
                Some(found) if *found == expected => offsets.push(found.0),
                Some(found) if env.has(Mutation::SequenceUnchecked) => offsets.push(found.0),
                None if env.has(Mutation::OffsetsNotSent) => offsets.push(recorded),
                None if env.has(Mutation::TimerWithoutOffsets) => offsets.push(recorded),
                Some(found) if env.has(Mutation::TimerWithoutOffsets) => offsets.push(found.0),
                _ => {
                    return Err(format!(
                        "state ends at {expected:?} of {}, the group's offset is {found:?}",
                        input.topic
                    ));
                }
            }
        }
        Ok(offsets)
    }
}

fn fold_one(fold: &mut Fold, disk: &mut Disk, offset: i64, entry: &crate::log::partition::Entry) {
    let key = entry.key.clone().unwrap_or_default();
    // Two owners who committed for one task: the oracle reports it from the log itself.
    let Ok(Some(batch)) = fold.push(offset, key, entry.value.clone()) else { return };
    disk.write(batch.writes, batch.next_offset);
}
