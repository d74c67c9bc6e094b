//! What the world is told about an open breaker.

use crate::config::BreakerLimits;
use crate::health::Health;

use super::{Open, PROBE_EVERY};

/// Stands as long as the breaker is open and the task is ours.
pub(super) struct Alarm {
    health: Health,
    subject: String,
    gauge: metrics::Gauge,
}

/// Whose breaker it is.
#[derive(Clone, Copy)]
pub(super) struct Place<'p> {
    pub stage: &'static str,
    pub topic: &'static str,
    pub partition: i32,
    pub health: &'p Health,
}

impl Alarm {
    pub fn raise(place: Place<'_>, open: &Open, limits: &BreakerLimits) -> Self {
        let Place { stage, topic, partition, health } = place;
        let text = text(place, open, limits);
        tracing::error!(
            stage,
            topic,
            partition,
            offset = open.from,
            code = open.tripped.code,
            reason = text,
            "dead-letter breaker is open"
        );
        metrics::counter!("sendplane_dead_letter_breaker_trips_total",
            "stage" => stage, "topic" => topic)
        .increment(1);
        let gauge = metrics::gauge!("sendplane_dead_letter_breaker_open",
            "stage" => stage, "topic" => topic, "partition" => partition.to_string());
        gauge.set(1);
        let subject = format!("dead-letter-breaker-{topic}-{partition}");
        health.obstruct(subject.clone(), text);
        Self { health: health.clone(), subject, gauge }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        self.health.clear(&self.subject);
        self.gauge.set(0);
    }
}

fn text(place: Place<'_>, open: &Open, limits: &BreakerLimits) -> String {
    let Place { stage, topic, partition, .. } = place;
    let tripped = &open.tripped;
    format!(
        "{stage} takes no more of {topic}, partition {partition}, from offset {} on: {} of the last \
         {} records ({:.0} %) would be dead letters, most of them {}. Mend the cause (`sendplane \
         dlq list --stage {stage}` shows the first of them) and it goes on by itself, looked at \
         every {} s. To dead-letter them all the same, raise runtime.dead-letter-breaker.share \
         (now {}, 1 never stops) and restart",
        open.from,
        tripped.dead,
        tripped.seen,
        100.0 * tripped.dead as f64 / tripped.seen.max(1) as f64,
        tripped.code,
        PROBE_EVERY.as_secs(),
        limits.share,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::Tripped;

    #[test]
    fn an_alarm_says_what_where_and_the_way_out_and_ends_with_its_breaker() {
        let health = Health::new();
        let place = Place { stage: "ingest", topic: "in", partition: 3, health: &health };
        let tripped = Tripped { seen: 200, dead: 130, code: "unknown_schema_id" };
        let open = Open::new(4711, tripped);
        let alarm = Alarm::raise(place, &open, &BreakerLimits::default());
        let obstacles = health.obstacles();
        let text = &obstacles["dead-letter-breaker-in-3"];
        for part in [
            "ingest",
            "in, partition 3",
            "4711",
            "130 of the last 200",
            "(65 %)",
            "unknown_schema_id",
            "runtime.dead-letter-breaker.share",
            "now 0.5",
            "30 s",
        ] {
            assert!(text.contains(part), "{part:?} is not in {text}");
        }
        drop(alarm);
        assert!(health.is_ready());
    }
}
