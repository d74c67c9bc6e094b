//! Long runs: `sim --seeds N --first S`, one seed: `sim --only-seed S`.

use std::process::ExitCode;

use sendplane_sim::counts::Counts;
use sendplane_sim::run::{Plan, run};
use sendplane_sim::shrink;

const USAGE: &str = "usage: sim [--seeds N] [--first SEED] [--only-seed SEED] [--minutes M]

  --seeds N         how many seeds to run (default 50)
  --first SEED      the first of them (default 1)
  --only-seed SEED  one seed
  --minutes M       minutes of traffic instead of the seed's own";

struct Options {
    seeds: u64,
    first: u64,
    minutes: Option<u32>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match parse(&arguments) {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("{problem}\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let mut counts = Counts::default();
    let mut failed = false;
    for seed in options.first..options.first.saturating_add(options.seeds) {
        let plan = match options.minutes {
            Some(minutes) => Plan::long(seed, minutes),
            None => Plan::of(seed),
        };
        let report = run(&plan);
        counts.merge(&report.counts);
        if let Some(first) = report.violations.first() {
            failed = true;
            println!("seed {seed}: {} violations", report.violations.len());
            for violation in report.violations.iter().take(5) {
                println!("  {violation:?}");
            }
            println!("{}", shrink::explain(&plan, first));
            break;
        }
    }
    for (name, count) in counts.iter() {
        println!("{count:>10}  {name}");
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn parse(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { seeds: 50, first: 1, minutes: None };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number: u64 =
            value.parse().map_err(|_| format!("{name}: {value:?} is not a number"))?;
        match name.as_str() {
            "--seeds" => options.seeds = number,
            "--first" => options.first = number,
            "--only-seed" => (options.seeds, options.first) = (1, number),
            "--minutes" => {
                let minutes = u32::try_from(number).map_err(|_| "--minutes: too many")?;
                options.minutes = Some(minutes);
            }
            other => return Err(format!("unknown option {other}")),
        }
    }
    Ok(options)
}
