//! The scenarios, and what each has to show.

use std::time::Duration;

use sendplane_domain::lane::Lane;
use sendplane_domain::time::Timestamp;
use sendplane_tests::plane::Plane;
use sendplane_tests::wait;

use crate::feeder::{self, Feeder};
use crate::ledger::{Ledger, jain, percentile};
use crate::{CAMPAIGNS, SHOPS, machine, number_of};

/// A scenario by its name.
pub type Scenario = (&'static str, fn(&mut Plane, &mut Report));

/// In the order they run.
pub const ALL: [Scenario; 5] = [
    ("rate-80", |plane, report| rate(plane, report, "slow", 76)),
    ("rate-1000", |plane, report| rate(plane, report, "fast", 950)),
    ("mixed", mixed),
    ("fair", fair),
    ("memory", memory),
];

/// Before a measurement begins.
const WARM_UP: Duration = Duration::from_secs(10);
/// How long is measured.
const SPAN: Duration = Duration::from_secs(60);

/// Collects what did not hold.
#[derive(Default)]
pub struct Report {
    failed: usize,
}

impl Report {
    /// Whether every goal was reached.
    pub fn holds(&self) -> bool {
        self.failed == 0
    }

    fn line(&mut self, what: &str, figure: String, goal: &str, holds: bool) {
        self.failed += usize::from(!holds);
        let verdict = if holds { "ok" } else { "NOT REACHED" };
        println!("  {what:<52} {figure:>12}   goal {goal:<18} {verdict}");
    }
}

/// A number with a backlog, at its pace: the ceiling less the margin of 5 %.
fn rate(plane: &mut Plane, report: &mut Report, tenant: &str, pace: usize) {
    let number = number_of(plane, tenant);
    let mut ledger = start(plane, &[]);
    let mut feeder = Feeder::new(plane);
    let seconds = (WARM_UP + SPAN).as_secs() as usize + 5;
    for _ in 0..pace * seconds {
        feeder.send(tenant, &number, Lane::Bulk);
    }
    feeder.flush();
    await_calls(plane, &mut ledger, 1);
    std::thread::sleep(WARM_UP);
    let (from, cpu) = (feeder::now(), machine::cpu_ms(plane.pid("send", "a")));
    std::thread::sleep(SPAN);
    let until = feeder::now();
    let cpu = machine::cpu_ms(plane.pid("send", "a")) - cpu;
    ledger.read(plane);
    let calls = ledger.count(&number, from, until);
    let per_second = calls as f64 / until.since(from).as_secs_f64();
    let share = 100.0 * per_second / pace as f64;
    report.line(
        &format!("{per_second:.1}/s of a pace of {pace}/s"),
        format!("{share:.1} %"),
        ">= 98 %",
        share >= 98.0,
    );
    println!("  processor time of send per message: {:.2} ms", cpu as f64 / calls.max(1) as f64);
    no_violations(plane, report);
}

/// Ten shops with 5 one-off messages a second each, first alone, then beside a campaign.
fn mixed(plane: &mut Plane, report: &mut Report) {
    let mut ledger = start(plane, &[]);
    let mut feeder = Feeder::new(plane);
    let alone = shops(plane, &mut ledger, &mut feeder, 0);
    let beside = shops(plane, &mut ledger, &mut feeder, 200_000);
    let [p95, p95_beside] = [&alone, &beside].map(|run| percentile(&run.transactional, 95));
    for (what, run) in [("alone", &alone), ("beside a campaign", &beside)] {
        let p95 = percentile(&run.transactional, 95);
        report.line(
            &format!("transactional {what}: P95 from dispatch to call"),
            format!("{p95} ms"),
            "<= 100 ms",
            p95 <= 100,
        );
        println!(
            "  {:<52} {:>9} ms   of {} messages",
            "  P50",
            percentile(&run.transactional, 50),
            run.transactional.len()
        );
    }
    let ratio = p95_beside as f64 / p95.max(1) as f64;
    report.line(
        "  ratio of the two",
        format!("{ratio:.2}"),
        "0.80 to 1.20",
        (0.8..=1.2).contains(&ratio),
    );
    println!("  campaign meanwhile: {:.0}/s", beside.campaign_per_second);
    // Two active tenants, a quantum of 8, 950 grants a second, and a cycle at most 100 ms long.
    let waited = beside.single_ms;
    report.line(
        "another tenant's single marketing message waited",
        format!("{waited} ms"),
        "<= 200 ms",
        waited <= 200,
    );
    no_violations(plane, report);
}

struct Shops {
    /// Milliseconds from dispatch to call, ascending.
    transactional: Vec<u64>,
    single_ms: u64,
    campaign_per_second: f64,
}

fn shops(plane: &Plane, ledger: &mut Ledger, feeder: &mut Feeder, campaign: usize) -> Shops {
    let called = ledger.called.len();
    let campaign_number = number_of(plane, "fast");
    for _ in 0..campaign {
        feeder.send("fast", &campaign_number, Lane::Bulk);
    }
    feeder.flush();
    if campaign > 0 {
        await_calls(plane, ledger, called + 1);
    }
    let shops: Vec<(String, String)> = (0..SHOPS)
        .map(|n| format!("shop{n}"))
        .map(|tenant| (tenant.clone(), number_of(plane, &tenant)))
        .collect();
    std::thread::sleep(WARM_UP);
    let begin = feeder::now();
    let mut sent: Vec<(u64, Timestamp)> = Vec::new();
    let mut single = None;
    let step = Duration::from_millis(200) / SHOPS as u32;
    let mut due = wait::now();
    let end = due + SPAN;
    while wait::now() < end {
        for (tenant, number) in &shops {
            let at = feeder::now();
            sent.push((feeder.send(tenant, number, Lane::Transactional), at));
            due += step;
            std::thread::sleep(due.saturating_duration_since(wait::now()));
        }
        if single.is_none() && wait::now() + SPAN / 2 > end {
            let at = feeder::now();
            let number = number_of(plane, "single");
            single = Some((feeder.send("single", &number, Lane::Bulk), at));
        }
    }
    feeder.flush();
    let until = feeder::now();
    let expected = sent.len() + 1;
    let first = sent[0].0;
    let single = single.expect("sent in the second half");
    let times = wait::until("every message is called", Duration::from_secs(60), || {
        ledger.read(plane);
        let times = ledger.times();
        (times.range(first..).count() >= expected).then_some(times)
    });
    let waited = |(n, at): &(u64, Timestamp)| times[n].since(*at).as_millis() as u64;
    let mut transactional: Vec<u64> = sent.iter().map(waited).collect();
    transactional.sort_unstable();
    let calls = ledger.count(&campaign_number, begin, until);
    Shops {
        transactional,
        single_ms: waited(&single),
        campaign_per_second: calls as f64 / until.since(begin).as_secs_f64(),
    }
}

/// Tenants with a backlog each, and fewer slots than they want together.
fn fair(plane: &mut Plane, report: &mut Report) {
    let mut ledger = start(plane, &[("SENDPLANE__SEND__MAX_CONCURRENT_CALLS", "32")]);
    let mut feeder = Feeder::new(plane);
    let tenants: Vec<(String, String)> = (0..CAMPAIGNS)
        .map(|n| format!("campaign{n}"))
        .map(|tenant| (tenant.clone(), number_of(plane, &tenant)))
        .collect();
    for (tenant, number) in &tenants {
        for _ in 0..5_000 {
            feeder.send(tenant, number, Lane::Bulk);
        }
    }
    feeder.flush();
    await_calls(plane, &mut ledger, 1_000);
    let from = feeder::now();
    std::thread::sleep(SPAN / 2);
    let until = feeder::now();
    ledger.read(plane);
    let shares: Vec<usize> =
        tenants.iter().map(|(_, number)| ledger.count(number, from, until)).collect();
    let index = jain(&shares);
    report.line(
        "Jain's index of equal tenants that share 32 slots",
        format!("{index:.4}"),
        ">= 0.98",
        index >= 0.98,
    );
    println!("  calls of each in {} s: {shares:?}", until.since(from).as_secs());
    no_violations(plane, report);
}

/// Ten thousand and a million messages waiting.
fn memory(plane: &mut Plane, report: &mut Report) {
    const BLOCK_CACHE_MIB: u64 = 64;
    const WRITE_BUFFER_MIB: u64 = 64;
    let bytes = |mib: u64| (mib << 20).to_string();
    let settings = [
        ("SENDPLANE__STATE__BLOCK_CACHE_BYTES", bytes(BLOCK_CACHE_MIB)),
        ("SENDPLANE__STATE__WRITE_BUFFER_BYTES", bytes(WRITE_BUFFER_MIB)),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    start(plane, &settings);
    let mut feeder = Feeder::new(plane);
    let number = number_of(plane, "slow");
    let mut resident = Vec::new();
    for waiting in [10_000, 1_000_000] {
        while feeder.next() < waiting {
            feeder.send("slow", &number, Lane::Bulk);
        }
        feeder.flush();
        let limit = Duration::from_secs(900);
        wait::until("everything is taken in", limit, || {
            let metrics = plane.metrics("send", "a")?;
            let taken = metrics.sum("sendplane_messages_taken_in_total");
            (taken >= waiting).then_some(())
        });
        // Compaction and the allocator settle.
        std::thread::sleep(WARM_UP);
        let mib = machine::resident_mib(plane.pid("send", "a"));
        println!("  {waiting} waiting: {mib} MiB resident");
        resident.push(mib);
    }
    // Threads, librdkafka's queues, decoders: what a process without any backlog has.
    let bound = BLOCK_CACHE_MIB + WRITE_BUFFER_MIB + 256;
    report.line(
        "resident with a million waiting",
        format!("{} MiB", resident[1]),
        &format!("<= {bound} MiB"),
        resident[1] <= bound,
    );
}

/// Starts send on a plane without messages.
fn start(plane: &mut Plane, settings: &[(&str, &str)]) -> Ledger {
    plane.start_stage_with("send", "a", settings);
    plane.await_ready("send", "a");
    Ledger::default()
}

fn await_calls(plane: &Plane, ledger: &mut Ledger, count: usize) {
    wait::until("calls are made", Duration::from_secs(120), || {
        ledger.read(plane);
        (ledger.called.len() >= count).then_some(())
    });
}

fn no_violations(plane: &Plane, report: &mut Report) {
    let violations = plane.metasim("/metasim/violations");
    let count = violations["total"].as_u64().expect("a count");
    report.line("violations that metasim counted", count.to_string(), "0", count == 0);
    let refused = plane.metrics("send", "a").map_or(0, |metrics| {
        metrics.sum_with("sendplane_meta_requests_total", "code_class=\"throttle_number\"")
    });
    report.line("refusals for going too fast (130429)", refused.to_string(), "0", refused == 0);
}
