//! Transactional messages without and beside a campaign, in turns: what the machine does meanwhile
//! meets both sides alike.

use std::time::Duration;

use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_tests::plane::Plane;
use sendplane_tests::wait;

use crate::feeder::{self, Feeder};
use crate::ledger::{Ledger, percentile};
use crate::scenario::{Report, WARM_UP, await_calls, no_violations, start};
use crate::{SHOPS, number_of};

/// The tenant that has the campaign.
const CAMPAIGNER: &str = "fast";
const CAMPAIGN: usize = 200_000;
/// Another tenant, with one marketing message in each turn of the campaign.
const SINGLE: &str = "single";
/// Without, beside, without, beside, without.
const TURNS: usize = 5;
const TURN: Duration = Duration::from_secs(30);
/// A pause counts within 2 s; calls under way end after 80 ms.
const SETTLED: Duration = Duration::from_secs(3);

/// How long a single marketing message of another tenant may wait: two active tenants, a quantum of
/// 8, 950 grants a second, and a cycle at most 100 ms long.
const TURN_MS: u64 = 200;
/// The same while a campaign is taken in from another partition: what the process had fetched of that
/// comes first, at most about 2,000 records, of which small portions take some 4,000 a second.
const TAKEN_IN_MS: u64 = 1_000;

/// What was measured in the turns of one side.
#[derive(Default)]
struct Side {
    /// Milliseconds from dispatch to call of all transactional messages, ascending.
    transactional: Vec<u64>,
    /// The 95th percentile of each turn.
    turns: Vec<u64>,
    /// Milliseconds that the marketing messages of [`SINGLE`] waited.
    single: Vec<u64>,
    /// Calls of the campaign, a second.
    campaign: Vec<u64>,
}

/// Ten shops with 5 one-off messages a second each.
pub fn run(plane: &mut Plane, report: &mut Report) {
    let mut ledger = start(plane, &[]);
    let mut feeder = Feeder::new(plane);
    std::thread::sleep(WARM_UP);
    let [mut alone, mut beside] = [Side::default(), Side::default()];
    let mut paused: Option<String> = None;
    for turn in 0..TURNS {
        let has_campaign = turn % 2 == 1;
        if turn == 1 {
            feed_campaign(plane, &mut feeder, &mut ledger);
        } else if let Some(id) = paused.take() {
            plane.cli(&["resume", &id]);
            std::thread::sleep(SETTLED);
        } else if turn > 0 {
            paused = Some(pause(plane));
            std::thread::sleep(SETTLED);
        }
        let side = if has_campaign { &mut beside } else { &mut alone };
        measure(plane, &mut ledger, &mut feeder, has_campaign, side);
    }
    for (what, side) in [("alone", &alone), ("beside a campaign", &beside)] {
        let p95 = percentile(&side.transactional, 95);
        report.line(
            &format!("transactional {what}: P95 from dispatch to call"),
            format!("{p95} ms"),
            "<= 100 ms",
            p95 <= 100,
        );
        println!(
            "    P50 {} ms of {} messages; P95 of each turn: {:?} ms",
            percentile(&side.transactional, 50),
            side.transactional.len(),
            side.turns
        );
    }
    let [p95, p95_beside] = [&alone, &beside].map(|side| percentile(&side.transactional, 95));
    let more = p95_beside.saturating_sub(p95);
    report.line("  the campaign's part in it", format!("{more} ms"), "<= 30 ms", more <= 30);
    let ratio = p95_beside as f64 / p95.max(1) as f64;
    let holds = (0.8..=1.2).contains(&ratio);
    report.line("  ratio of the two", format!("{ratio:.2}"), "0.80 to 1.20", holds);
    println!("  campaign meanwhile, calls a second in each turn: {:?}", beside.campaign);
    let [taken_in, waiting] = beside.single[..] else { panic!("one message in each turn") };
    for (what, waited, bound) in
        [("is taken in", taken_in, TAKEN_IN_MS), ("waits", waiting, TURN_MS)]
    {
        report.line(
            &format!("another tenant's marketing message, campaign {what}"),
            format!("{waited} ms"),
            &format!("<= {bound} ms"),
            waited <= bound,
        );
    }
    no_violations(plane, report);
}

/// All at once; the turn begins while it is taken in.
fn feed_campaign(plane: &Plane, feeder: &mut Feeder, ledger: &mut Ledger) {
    let number = number_of(plane, CAMPAIGNER);
    let called = ledger.called.len();
    for _ in 0..CAMPAIGN {
        feeder.send(CAMPAIGNER, &number, Lane::Bulk);
    }
    feeder.flush();
    await_calls(plane, ledger, called + 1);
}

fn pause(plane: &Plane) -> String {
    let pause = ["pause", "--tenant", CAMPAIGNER, "--reason", "bench", "-o", "json"];
    let pause: serde_json::Value = serde_json::from_str(&plane.cli(&pause)).expect("JSON");
    pause["id"].as_str().expect("an id").to_owned()
}

/// One turn.
fn measure(
    plane: &Plane,
    ledger: &mut Ledger,
    feeder: &mut Feeder,
    has_campaign: bool,
    side: &mut Side,
) {
    let shops: Vec<(String, String)> = (0..SHOPS)
        .map(|n| format!("shop{n}"))
        .map(|tenant| (tenant.clone(), number_of(plane, &tenant)))
        .collect();
    let mut sent: Vec<(u64, Timestamp)> = Vec::new();
    let mut single = None;
    let step = Duration::from_millis(200) / SHOPS as u32;
    let begin = feeder::now();
    let first = feeder.next();
    let mut due = wait::now();
    let end = due + TURN;
    while wait::now() < end {
        for (tenant, number) in &shops {
            let at = feeder::now();
            sent.push((feeder.send(tenant, number, Lane::Transactional), at));
            due += step;
            std::thread::sleep(due.saturating_duration_since(wait::now()));
        }
        if has_campaign && single.is_none() && wait::now() + TURN / 2 > end {
            let at = feeder::now();
            let number = number_of(plane, SINGLE);
            single = Some((feeder.send(SINGLE, &number, Lane::Bulk), at));
        }
    }
    feeder.flush();
    let until = feeder::now();
    let expected = sent.len() + usize::from(single.is_some());
    let times = wait::until("every message is called", Duration::from_secs(60), || {
        ledger.read(plane);
        let times = ledger.times();
        (times.range(first..).count() >= expected).then_some(times)
    });
    let waited = |(n, at): &(u64, Timestamp)| times[n].since(*at).as_millis() as u64;
    let mut transactional: Vec<u64> = sent.iter().map(waited).collect();
    transactional.sort_unstable();
    side.turns.push(percentile(&transactional, 95));
    side.transactional.extend(transactional);
    side.transactional.sort_unstable();
    side.single.extend(single.as_ref().map(waited));
    let calls = ledger.count(&number_of(plane, CAMPAIGNER), begin, until) as f64;
    side.campaign.push((calls / until.since(begin).as_secs_f64()).round() as u64);
}
