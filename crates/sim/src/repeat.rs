//! Dispatches that stand in the log twice, as after a replay by hand: what a decision says is done
//! once, however often it is said.

use sendplane_wire::record::Dispatch;
use sendplane_wire::topic;

use crate::env::{Env, Event};
use crate::log::partition::Entry;
use crate::process::hosted::SCHEMAS;
use crate::time::{Micros, seconds, true_wall};

/// How often one is repeated.
pub const EVERY: Micros = seconds(5);

/// Marks a repetition, for the mutation that takes it for something new.
pub const MARK: &str = "sim-repeated";

/// Repeats some dispatch, as long as there is traffic and a while longer.
pub fn one(env: &mut Env) {
    if env.now < env.shape.traffic + seconds(60) {
        env.after(env.shape.every(EVERY), Event::Repeat);
    }
    if !env.has_broker() {
        return;
    }
    let topics = [topic::DISPATCH_TRANSACTIONAL, topic::DISPATCH_BULK];
    let topic: &'static str = env.repeats.pick::<&'static str>(&topics);
    let partition = env.repeats.below(u64::from(env.shape.partitions)) as i32;
    let decoder = SCHEMAS.decoder::<Dispatch>(topic);
    let found: Vec<Entry> = env
        .log
        .committed(topic, partition)
        .map(|(_, entry, ..)| entry)
        .filter(|entry| decoder.decode(entry.value.as_deref()).is_ok())
        .cloned()
        .collect();
    if found.is_empty() {
        return;
    }
    let mut entry = env.repeats.pick(&found).clone();
    entry.headers.push((MARK.to_owned(), None));
    entry.timestamp = true_wall(env.now);
    env.log.append(topic, partition, entry, env.now);
    env.counts.one("dispatches repeated");
}
