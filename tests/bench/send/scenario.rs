//! The scenarios, and what each has to show.

use std::time::Duration;

use sendplane_domain::lane::Lane;
use sendplane_tests::plane::Plane;
use sendplane_tests::wait;

use crate::feeder::{self, Feeder};
use crate::ledger::{Ledger, jain};
use crate::{CAMPAIGNS, machine, mixed, number_of};

/// A scenario by its name.
pub type Scenario = (&'static str, fn(&mut Plane, &mut Report));

/// In the order they run.
pub const ALL: [Scenario; 5] = [
    ("rate-80", |plane, report| rate(plane, report, "slow", 76)),
    ("rate-1000", |plane, report| rate(plane, report, "fast", 950)),
    ("mixed", mixed::run),
    ("fair", fair),
    ("memory", memory),
];

/// Before a measurement begins.
pub const WARM_UP: Duration = Duration::from_secs(10);
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

    /// One figure beside its goal.
    pub fn line(&mut self, what: &str, figure: String, goal: &str, holds: bool) {
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
pub fn start(plane: &mut Plane, settings: &[(&str, &str)]) -> Ledger {
    plane.start_stage_with("send", "a", settings);
    plane.await_ready("send", "a");
    Ledger::default()
}

/// Waits until metasim has accepted so many.
pub fn await_calls(plane: &Plane, ledger: &mut Ledger, count: usize) {
    wait::until("calls are made", Duration::from_secs(120), || {
        ledger.read(plane);
        (ledger.called.len() >= count).then_some(())
    });
}

/// Neither metasim nor send counted a call too many.
pub fn no_violations(plane: &Plane, report: &mut Report) {
    let violations = plane.metasim("/metasim/violations");
    let count = violations["total"].as_u64().expect("a count");
    report.line("violations that metasim counted", count.to_string(), "0", count == 0);
    let refused = plane.metrics("send", "a").map_or(0, |metrics| {
        metrics.sum_with("sendplane_meta_requests_total", "code_class=\"throttle_number\"")
    });
    report.line("refusals for going too fast (130429)", refused.to_string(), "0", refused == 0);
}
