//! What the processes of a plane say about themselves at `/metrics`.

use std::collections::BTreeMap;

use super::Plane;
use crate::http;

/// One scrape: value by series, as written (`name{label="value"}`).
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    /// Reads the text format.
    pub fn parse(text: &str) -> Self {
        let series = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?)));
        Self(series.collect())
    }

    /// The sum over all series of a metric.
    pub fn sum(&self, name: &str) -> u64 {
        let series = self.0.iter().filter(|(series, _)| name_of(series) == name);
        series.map(|(_, value)| *value).sum::<f64>() as u64
    }

    /// The sum over the series of a metric that carry this label, as `name="value"`.
    pub fn sum_with(&self, name: &str, label: &str) -> u64 {
        let series =
            self.0.iter().filter(|(series, _)| name_of(series) == name && series.contains(label));
        series.map(|(_, value)| *value).sum::<f64>() as u64
    }
}

fn name_of(series: &str) -> &str {
    series.split('{').next().unwrap_or(series)
}

/// What a plane's processes counted, those that are gone included. A killed process is asked right
/// before; a frozen one cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Transactions committed.
    pub transactions: u64,
    /// Doubts recovered from.
    pub recoveries: u64,
    /// Rebalances answered.
    pub rebalances: u64,
    /// Dead letters written.
    pub dead_letters: u64,
    /// Second wamids of one message.
    pub duplicates_detected: u64,
    /// Torn transactions met at a restore.
    pub tears: u64,
}

impl Tally {
    /// Adds what one process counted.
    pub fn add(&mut self, metrics: &Metrics) {
        self.transactions += metrics.sum("sendplane_transactions_total");
        self.recoveries += metrics.sum("sendplane_recoveries_total");
        self.rebalances += metrics.sum("sendplane_rebalances_total");
        self.dead_letters += metrics.sum("sendplane_dlq_records_total");
        self.duplicates_detected += metrics.sum("sendplane_duplicate_sends_detected_total");
        self.tears += metrics.sum("sendplane_changelog_tears_total");
    }
}

impl Plane {
    /// A scrape of one instance; `None` while it does not answer or is frozen.
    pub fn metrics(&self, stage: &str, instance: &str) -> Option<Metrics> {
        let entry = self.stages.get(&format!("{stage}-{instance}"))?;
        if entry.frozen {
            return None;
        }
        let (_, text) = http::try_request(entry.admin_port, "GET", "/metrics", &[], "")?;
        Some(Metrics::parse(&text))
    }

    /// What all processes counted since the plane's start.
    pub fn tally(&self) -> Tally {
        let mut tally = self.gone;
        for (stage, instance) in self.running() {
            if let Some(metrics) = self.metrics(&stage, &instance) {
                tally.add(&metrics);
            }
        }
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_of_one_metric_are_summed() {
        let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 7\na_total 1\n\nb 0.5\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum_with("a", "x=\"2\""), 3);
        assert_eq!((metrics.sum("a"), metrics.sum("ab"), metrics.sum("c")), (5, 7, 0));
    }
}
