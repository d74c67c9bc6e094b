//! The gauges of a task, as long as it is here.

use std::collections::BTreeSet;

use sendplane_stage_api::cycle::Gauges;

/// Exports what a stage says it has, by partition. When the task leaves, its gauges go back to
/// zero: the next owner exports them, and sums over instances stay right.
pub(crate) struct TaskGauges {
    stage: &'static str,
    partition: String,
    known: BTreeSet<(&'static str, &'static str)>,
}

impl TaskGauges {
    pub fn new(stage: &'static str, partition: i32) -> Self {
        Self { stage, partition: partition.to_string(), known: BTreeSet::new() }
    }

    pub fn set(&mut self, gauges: &Gauges) {
        for (gauge, value) in gauges {
            self.export(*gauge, *value);
            self.known.insert(*gauge);
        }
    }

    fn export(&self, (name, label): (&'static str, &'static str), value: u64) {
        metrics::gauge!(name, "stage" => self.stage, "partition" => self.partition.clone(),
            "kind" => label)
        .set(value as f64);
    }
}

impl Drop for TaskGauges {
    fn drop(&mut self) {
        for gauge in &self.known {
            self.export(*gauge, 0);
        }
    }
}
