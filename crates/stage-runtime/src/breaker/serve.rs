//! What an open breaker does in each cycle of its thread.

use std::time::Instant;

use sendplane_stage_api::Stage;

use crate::batch::Surroundings;
use crate::error::Error;
use crate::health::Health;
use crate::lanes::Lanes;
use crate::task::Task;

use super::alarm::{Alarm, Place};
use super::{PROBE_RECORDS, may_close, probe};

/// Pauses the reader and raises the alarm for what has just opened; tries the head of what has been
/// open for long enough, and closes it when enough of it can be used.
pub(crate) fn serve<S: Stage>(
    env: &Surroundings<'_, S>,
    task: &mut Task<S>,
    lanes: &Lanes,
    health: &Health,
    now: Instant,
) -> Result<(), Error> {
    if !task.breakers.is_open(|_| true) {
        return Ok(());
    }
    let mut breakers = std::mem::take(&mut task.breakers);
    let mut usable = Vec::new();
    for (input, open) in breakers.open_ones() {
        let topic = env.stage.inputs()[input].topic;
        if !open.paused {
            lanes.pause(input, task.partition)?;
            open.paused = true;
        }
        if open.alarm.is_none() {
            let place = Place { stage: env.stage.name(), topic, partition: task.partition, health };
            open.alarm = Some(Alarm::raise(place, open, &env.breaker));
        }
        if !env.begin_work || !open.is_probe_due(now) {
            continue;
        }
        let tried = open.held.len().min(PROBE_RECORDS);
        let dead = probe::rehearse(env, task, open.held.iter().take(tried))?;
        let closes = dead.is_some_and(|dead| may_close(dead, tried, &env.breaker));
        tracing::info!(topic, partition = task.partition, tried, dead, closes, "breaker probed");
        if closes {
            usable.push(input);
        }
    }
    for input in usable {
        let queue = task.queues.entry(env.stage.inputs()[input].class).or_default();
        for record in breakers.close(input).into_iter().rev() {
            queue.push_front(record);
        }
        if !task.held.contains(&env.stage.inputs()[input].class) {
            lanes.resume(input, task.partition)?;
        }
    }
    task.breakers = breakers;
    Ok(())
}
