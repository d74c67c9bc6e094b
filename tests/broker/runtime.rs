use std::time::Duration;

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use sendplane_tests::counter::keys_of;
use sendplane_tests::kafka::{self, Read};
use sendplane_tests::wait;

use crate::case::{Case, LIMIT, PARTITIONS, assert_exact};
use crate::worker::{SESSION, config, spawn, start_here, stop_worker};

#[test]
fn counts_exactly_once_in_both_lanes_with_timers_effects_and_dead_letters() {
    let case = Case::new("plain");
    let (bootstrap, topics) = (case.bootstrap.as_str(), &case.topics);
    let state = tempfile::tempdir().expect("temp dir");
    let keys = keys_of(1, PARTITIONS as u32, 3);
    let producer = kafka::producer(bootstrap);
    let send = |topic: &str, key: &str, value: &[u8]| kafka::send(&producer, topic, 1, key, value);
    for value in ["x", "bad", "later", "refuse", "call", "unencodable"] {
        send(topics.input, &keys[0], value.as_bytes());
    }
    send(topics.input, &keys[0], &[b'y'; 2_000]);
    send(topics.input, &keys[0], &[0xff, 0xfe]);
    send(topics.bulk, &keys[1], b"x");
    send(topics.feedback, &keys[2], b"x");
    kafka::flush(&producer);
    let (runtime, health) = start_here("plain", config("a", state.path(), bootstrap));
    let found = case.await_outputs(7);
    assert_eq!(found[&keys[0]], ["1", "2", "3", "effect", "timer"]);
    assert_eq!(
        (&found[&keys[1]][..], &found[&keys[2]][..]),
        (&["1".into()][..], &["1".into()][..])
    );
    wait::until("ready", LIMIT, || health.is_ready().then_some(()));
    runtime.stop().expect("stops");

    let dead = kafka::read_all(bootstrap, &topics.dead_letters, PARTITIONS);
    let code = |read: &Read| read.header("sendplane.error.code").expect("a code");
    let codes: Vec<String> = dead.iter().map(code).collect();
    let expected =
        ["undecodable", "refused", "output_not_encodable", "record_too_large", "undecodable"];
    assert_eq!(codes, expected);
    let large = &dead[3];
    assert_eq!(large.value, Some(vec![b'y'; 2_000]), "byte for byte");
    assert_eq!(large.key.as_deref(), Some(keys[0].as_bytes()));
    assert_eq!(large.header("__dlq.errors.topic").as_deref(), Some(topics.input));
    assert_eq!(large.header("__dlq.errors.partition").as_deref(), Some("1"));
    assert_eq!(large.header("__dlq.errors.offset").as_deref(), Some("6"));
    assert!(case.verified(state.path()) >= 5);

    // Again, with all feedback read: work must not wait for more of it.
    send(topics.input, &keys[2], b"x");
    kafka::flush(&producer);
    let (runtime, _) = start_here("plain", config("a", state.path(), bootstrap));
    assert_eq!(case.await_outputs(8)[&keys[2]], ["1", "2"]);
    runtime.stop().expect("stops");
}

/// Two instances under load: one is killed with -9 again and again, once with its disk wiped; the
/// other is frozen past its session, loses its partitions, and wakes.
#[test]
fn survives_kill_wipe_and_zombie() {
    let case = Case::new("chaos");
    let (first, second) =
        (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
    let mut a = Some(spawn(&case, "a", first.path()));
    let b = spawn(&case, "b", second.path());
    let mut kills = 0;
    let mut frozen_at = None;
    let expected = case.feed(250, |round| {
        std::thread::sleep(Duration::from_millis(40));
        match round {
            60 | 120 | 180 => {
                a.take().expect("running").kill();
                kills += 1;
                if round == 120 {
                    std::fs::remove_dir_all(first.path().join("counter-chaos")).expect("wiped");
                }
                a = Some(spawn(&case, "a", first.path()));
            }
            140 => {
                b.freeze();
                frozen_at = Some(wait::now());
            }
            _ => {}
        }
    });
    let frozen_at = frozen_at.expect("b was frozen");
    let long = SESSION + Duration::from_secs(2);
    wait::until("the frozen member's session has ended", LIMIT, || {
        (frozen_at.elapsed() > long).then_some(())
    });
    b.wake();
    let found = case.await_outputs(5_000);
    assert_eq!(kills, 3);
    assert_exact(&found, &expected);
    let mut a = a.expect("running");
    assert!(a.is_running());
    stop_worker(first.path(), a);
    stop_worker(second.path(), b);
    let compared = case.verified(first.path()) + case.verified(second.path());
    assert!(compared >= 20, "{compared} keys compared");
    case.audit(&[]);
}

/// KAFKA-10167: a zombie's open transaction stands in the changelog below committed data, so the
/// last stable offset hides that data. Whoever restores only up to it loses updates.
#[test]
fn restores_what_an_open_transaction_of_a_zombie_hides() {
    let case = Case::new("zombie");
    let (bootstrap, topics) = (case.bootstrap.as_str(), &case.topics);
    let state = tempfile::tempdir().expect("temp dir");
    let key = keys_of(2, PARTITIONS as u32, 1).remove(0);
    let producer = kafka::producer(bootstrap);
    let send = || {
        kafka::send(&producer, topics.input, 2, &key, b"x");
        kafka::flush(&producer);
    };
    // The owner has taken over before the zombie writes: a takeover would wait the zombie out.
    let (runtime, _) = start_here("zombie", config("a", state.path(), bootstrap));
    send();
    case.await_outputs(1);
    let zombie: BaseProducer = kafka::config(bootstrap)
        .set("transactional.id", "a-zombie")
        .set("transaction.timeout.ms", "30000")
        .create()
        .expect("a producer");
    zombie.init_transactions(Duration::from_secs(30)).expect("initialises");
    zombie.begin_transaction().expect("begins");
    let record = BaseRecord::<[u8], [u8], ()>::to(&topics.changelog)
        .partition(2)
        .key(&[0x01, 0x00, b'z'][..])
        .payload(&[0, 1, 9][..]);
    zombie.send(record).map_err(|(error, _)| error).expect("sends");
    wait::until("the zombie's record is in the log", LIMIT, || {
        zombie.poll(Duration::from_millis(20));
        (zombie.in_flight_count() == 0).then_some(())
    });

    for count in 2..=3 {
        send();
        case.await_outputs(count);
    }
    runtime.stop().expect("stops");
    let hidden = kafka::end(bootstrap, &topics.changelog, 2, "read_committed");
    let written = kafka::end(bootstrap, &topics.changelog, 2, "read_uncommitted");
    assert!(hidden < written, "the case is real: {hidden} < {written}");

    let wiped = tempfile::tempdir().expect("temp dir");
    let (runtime, _) = start_here("zombie", config("a", wiped.path(), bootstrap));
    send();
    let found = case.await_outputs(4);
    assert_eq!(found[&key], ["1", "2", "3", "4"], "nothing was forgotten");
    // A restore that stops at the last stable offset is caught by the sequence check and repeated
    // until the zombie is gone: nothing is lost, but the high watermark is what makes it right.
    assert_eq!(runtime.recoveries(), 0, "restored to the high watermark at once");
    runtime.stop().expect("stops");
    assert!(case.verified(wiped.path()) >= 2);
}

/// A panic names its record and stops; listed in `quarantine` the record is dead-lettered.
#[test]
fn a_panic_stops_and_quarantine_releases() {
    let case = Case::new("panic");
    let (bootstrap, topics) = (case.bootstrap.as_str(), &case.topics);
    let state = tempfile::tempdir().expect("temp dir");
    let key = keys_of(0, PARTITIONS as u32, 1).remove(0);
    let producer = kafka::producer(bootstrap);
    for value in ["x", "panic", "x"] {
        kafka::send(&producer, topics.input, 0, &key, value.as_bytes());
    }
    kafka::flush(&producer);
    let (runtime, _) = start_here("panic", config("a", state.path(), bootstrap));
    wait::until("the stage stops", LIMIT, || (!runtime.is_running()).then_some(()));
    let error = runtime.stop().expect_err("a panic is an error").to_string();
    let position = format!("{}/0/1", topics.input);
    assert!(error.contains(&position) && error.contains("told to panic"), "{error}");

    let mut released = config("a", state.path(), bootstrap);
    released.quarantine = vec![position];
    let (runtime, _) = start_here("panic", released);
    let found = case.await_outputs(2);
    assert_eq!(found[&key], ["1", "2"]);
    runtime.stop().expect("stops");
    let dead = kafka::read_all(bootstrap, &topics.dead_letters, PARTITIONS);
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].header("sendplane.error.code").as_deref(), Some("quarantined"));
}

/// Two processes with one instance id: one of them is told so and stops, and until then nothing is
/// counted twice. Usually it is the older one; a producer it happened to renew may turn that round.
#[test]
fn two_processes_with_one_instance_id_do_not_live_together() {
    let case = Case::new("twins");
    let (bootstrap, topics) = (case.bootstrap.as_str(), &case.topics);
    let (first, second) =
        (tempfile::tempdir().expect("temp dir"), tempfile::tempdir().expect("temp dir"));
    let producer = kafka::producer(bootstrap);
    let mut sent = 0;
    let mut send_round = || {
        for partition in 0..PARTITIONS {
            let key = keys_of(partition, PARTITIONS as u32, 1).remove(0);
            kafka::send(&producer, topics.input, partition, &key, b"x");
            sent += 1;
        }
        kafka::flush(&producer);
        sent
    };
    let (older, _) = start_here("twins", config("same", first.path(), bootstrap));
    let before = send_round();
    case.await_outputs(before);
    let (newer, _) = start_here("twins", config("same", second.path(), bootstrap));
    let mut all = before;
    wait::until("one of them is fenced", LIMIT, || {
        all = send_round();
        std::thread::sleep(Duration::from_millis(100));
        (!older.is_running() || !newer.is_running()).then_some(())
    });
    let (stopped, running) = if older.is_running() { (newer, older) } else { (older, newer) };
    let error = stopped.stop().expect_err("fenced").to_string();
    assert!(error.contains("instance-id"), "{error}");
    let found = case.await_outputs(all);
    let keys = (0..PARTITIONS).map(|p| keys_of(p, PARTITIONS as u32, 1).remove(0));
    let each = all / PARTITIONS as usize;
    assert_exact(&found, &keys.map(|key| (key, each)).collect());
    running.stop().expect("stops");
}
