//! Goal: whatever boundary of a commit the process dies at, once or twice in a row, with its disk
//! kept or wiped, ingest admits every request exactly once and its state equals the changelog.
//!
//! Method: the same requests run without a crash (the reference) and with a crash at every point of
//! every cycle; what a committed reader sees must be equal.

use std::collections::BTreeMap;
use std::time::Duration;

use sendplane_domain::id::{IdempotencyKey, TemplateName, TenantId};
use sendplane_domain::opaque::HashKey;
use sendplane_domain::shard::ShardKey;
use sendplane_domain::time::Timestamp;
use sendplane_sim::host::{CrashPoint, Disk, Ended, Host, Setting, folded};
use sendplane_sim::log::{Entry, Log, Refused};
use sendplane_stage_api::Globals;
use sendplane_stages::directory::{Directory, sample};
use sendplane_stages::ingest::{Ingest, IngestCodec, IngestSettings};
use sendplane_stages::schemas::Schemas;
use sendplane_wire::record::{AdmittedMessage, Decision, SendRequest};
use sendplane_wire::topic;

const PARTITIONS: u32 = 4;
const TENANT: &str = "acme";
const START: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const BATCH: usize = 4;

struct World {
    stage: Ingest,
    codec: IngestCodec,
    schemas: Schemas,
    directory: Directory,
    partition: i32,
}

/// What a committed reader sees: (key, message id) of the admitted, (message id, verdict) of the
/// rest.
type Seen = (Vec<(String, String)>, Vec<(String, String)>);

impl World {
    fn new() -> Self {
        let schemas = Schemas::fixed();
        let mut directory = Directory::default();
        directory.apply(&sample::set_tenant(sample::tenant(TENANT)));
        directory.apply(&sample::set_template(sample::template(TENANT, "hello", "utility", 0)));
        Self {
            stage: Ingest::new(IngestSettings { hash_key: HashKey::new("sim") }),
            codec: IngestCodec::new(&schemas),
            schemas,
            directory,
            partition: ShardKey::of(TenantId::new(TENANT)).partition(PARTITIONS),
        }
    }

    fn setting(&self) -> Setting<'_, Ingest> {
        Setting {
            stage: &self.stage,
            codec: &self.codec,
            globals: &self.directory,
            partition: self.partition,
            partitions: PARTITIONS,
        }
    }

    /// A log with twelve requests under eight keys: four are repetitions, one of other content.
    fn log(&self) -> Log {
        let mut log = Log::default();
        let encoder = self.schemas.encoder::<SendRequest>(topic::REQUESTS_TRANSACTIONAL);
        for number in 0..12 {
            let recipient = if number == 11 { "+491510000999" } else { "+491510000001" };
            let request = SendRequest {
                tenant: TenantId::new(TENANT),
                idempotency_key: IdempotencyKey::new(format!("key-{}", number % 8)),
                created_at: START,
                recipient: recipient.into(),
                template_name: TemplateName::new("hello"),
                template_language: "en".into(),
                variables: Default::default(),
                campaign: None,
                deadline: None,
                phone_number_id: None,
            };
            let entry = Entry {
                key: TENANT.as_bytes().to_vec(),
                value: Some(encoder.encode(&request).expect("encodes")),
                timestamp: START,
            };
            log.append(topic::REQUESTS_TRANSACTIONAL, self.partition, entry);
        }
        log
    }

    fn seen(&self, log: &Log) -> Seen {
        let read = |topic| log.read_committed(topic, self.partition, 0).0;
        let admitted = self.schemas.decoder::<AdmittedMessage>(topic::ADMITTED_TRANSACTIONAL);
        let decisions = self.schemas.decoder::<Decision>(topic::DECISIONS);
        let admitted = read(topic::ADMITTED_TRANSACTIONAL)
            .into_iter()
            .map(|(_, entry)| admitted.decode(entry.value.as_deref()).expect("decodes"))
            .map(|one| (one.idempotency_key.to_string(), one.message_id.to_string()))
            .collect();
        let decided = read(topic::DECISIONS)
            .into_iter()
            .map(|(_, entry)| decisions.decode(entry.value.as_deref()).expect("decodes"))
            .map(|one| (one.message_id.to_string(), format!("{:?}", one.verdict)))
            .collect();
        (admitted, decided)
    }
}

/// Runs to the end of the input; `crash(cycle)` says where the process dies in that cycle, and
/// whether its disk is lost. Returns how many processes it took.
fn run(
    world: &World,
    log: &mut Log,
    mut crash: impl FnMut(usize) -> Option<(CrashPoint, bool)>,
) -> usize {
    let mut disk = Disk::default();
    let mut processes = 0;
    let mut cycles = 0;
    'process: loop {
        processes += 1;
        assert!(processes < 100, "progress is made");
        let mut host =
            Host::take_over(log, &world.setting(), disk.clone()).expect("nothing is left open");
        let mut wall = START;
        loop {
            cycles += 1;
            wall = wall + Duration::from_millis(10);
            let plan = crash(cycles);
            match host.cycle(log, wall, BATCH, plan.map(|(point, _)| point)) {
                Ok(true) => {}
                Ok(false) => {
                    assert_eq!(*host.disk.rows(), folded(log, &world.stage, world.partition));
                    return processes;
                }
                Err(Ended::Crashed(_)) => {
                    let lost = plan.is_some_and(|(_, lost)| lost);
                    disk = if lost { Disk::default() } else { host.disk.clone() };
                    continue 'process;
                }
                Err(Ended::Refused(refused)) => panic!("the only owner is refused: {refused:?}"),
            }
        }
    }
}

fn reference() -> (World, Seen) {
    let world = World::new();
    let mut log = world.log();
    assert_eq!(run(&world, &mut log, |_| None), 1);
    let seen = world.seen(&log);
    assert_eq!(seen.0.len(), 8, "eight keys are admitted");
    assert_eq!(seen.1.len(), 4, "four repetitions are not");
    (world, seen)
}

#[test]
fn one_crash_anywhere_changes_nothing() {
    let (world, expected) = reference();
    let mut crashes: BTreeMap<CrashPoint, usize> = BTreeMap::new();
    for point in CrashPoint::ALL {
        for at in 1..=3 {
            for lost in [false, true] {
                let mut log = world.log();
                let processes =
                    run(&world, &mut log, |cycle| (cycle == at).then_some((point, lost)));
                *crashes.entry(point).or_default() += processes - 1;
                assert_eq!(world.seen(&log), expected, "{point:?} in cycle {at}, lost {lost}");
            }
        }
    }
    for point in CrashPoint::ALL {
        assert_eq!(crashes[&point], 6, "{point:?} really happened");
    }
}

#[test]
fn two_crashes_in_a_row_change_nothing() {
    let (world, expected) = reference();
    let mut crashes = 0;
    for first in CrashPoint::ALL {
        for second in CrashPoint::ALL {
            for lost in [false, true] {
                let mut log = world.log();
                let processes = run(&world, &mut log, |cycle| match cycle {
                    2 => Some((first, lost)),
                    3 => Some((second, !lost)),
                    _ => None,
                });
                crashes += processes - 1;
                assert_eq!(world.seen(&log), expected, "{first:?} then {second:?}");
            }
        }
    }
    assert_eq!(crashes, 9 * 9 * 2 * 2, "every run crashed twice");
}

/// A member that was frozen while the group moved on: its transaction carries its offsets, so the
/// group refuses it, and nothing of it can be read.
#[test]
fn a_stale_owner_cannot_commit() {
    let (world, expected) = reference();
    let mut log = world.log();
    let mut zombie =
        Host::take_over(&mut log, &world.setting(), Disk::default()).expect("takes over");
    log.next_generation();
    let refused = zombie.cycle(&mut log, START, BATCH, None);
    assert_eq!(refused, Err(Ended::Refused(Refused::IllegalGeneration)));
    assert_eq!(world.seen(&log), (Vec::new(), Vec::new()));
    assert_eq!(run(&world, &mut log, |_| None), 1);
    assert_eq!(world.seen(&log), expected, "the new owner does all of it");
}
