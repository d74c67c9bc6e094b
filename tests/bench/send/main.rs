//! `make bench-send`: how fast and how evenly the send stage calls, on a real broker, with a
//! metasim that answers after 80 ms. Times are those at which a call reaches metasim.
//!
//! Arguments name scenarios, `rate-80 rate-1000 mixed fair memory`; without any, all run. Every
//! line states the figure, the goal and whether it holds; the exit code is 1 if one does not. The
//! machine's load is printed beside them: figures of a busy machine say little.

mod feeder;
mod ledger;
mod machine;
mod mixed;
mod scenario;

use sendplane_tests::plane::{Plane, Setup};
use sendplane_tests::stack::{self, Stack};

/// Tenants with a number of 1,000/s each, for campaigns that share the slots.
pub const CAMPAIGNS: usize = 8;
/// Tenants with a trickle of transactional messages.
pub const SHOPS: usize = 10;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let mut tenants = vec![account("slow", 80), account("fast", 1_000), account("single", 80)];
    tenants.extend((0..CAMPAIGNS).map(|n| account(&format!("campaign{n}"), 1_000)));
    tenants.extend((0..SHOPS).map(|n| account(&format!("shop{n}"), 80)));
    let mut report = scenario::Report::default();
    for (name, run) in scenario::ALL {
        if wanted.is_empty() || wanted.iter().any(|one| one == name) {
            println!("\n{name} (load of the machine: {})", machine::load());
            // Each on a broker of its own: what one leaves waiting is not the next one's work.
            let stack: &'static Stack = Box::leak(Box::new(stack::start(&format!("-{name}"), &[])));
            let tenants = tenants.clone();
            let mut plane =
                Plane::start_without_stages(Setup { tenants, webhooks: false, ..Setup::on(stack) });
            plane.faults(&serde_json::json!({"latency_ms": [80, 80]}));
            run(&mut plane, &mut report);
            drop(plane);
            stack.command(&["down"]);
        }
    }
    std::process::exit(i32::from(!report.holds()));
}

/// A tenant, its number's id, and what metasim grants the number.
fn account(tenant: &str, rate: u32) -> (String, String, u32) {
    let digits: u64 = tenant.bytes().fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % 1_000_000);
    (tenant.to_owned(), format!("{}", 100_000_000_000_000 + digits), rate)
}

/// The number of a tenant.
pub fn number_of(plane: &Plane, tenant: &str) -> String {
    let row = plane.setup().tenants.iter().find(|(name, _, _)| name == tenant);
    row.expect("a tenant of the bench").1.clone()
}
