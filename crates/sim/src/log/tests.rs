use super::group::Heartbeat;
use super::*;

fn entry(text: &str) -> Entry {
    Entry {
        key: Some(text.as_bytes().to_vec()),
        value: Some(Vec::new()),
        headers: Vec::new(),
        timestamp: true_wall(0),
    }
}

fn keys(log: &Log, from: i64) -> Vec<String> {
    let (found, _) = log.read_committed("t", 0, from, 100);
    found
        .into_iter()
        .map(|(_, entry)| String::from_utf8(entry.key.clone().expect("key")).expect("text"))
        .collect()
}

fn offsets(offset: i64, metadata: &str) -> Offsets {
    Offsets::from([(("t".to_owned(), 0), (offset, metadata.to_owned()))])
}

#[test]
fn an_open_transaction_below_holds_committed_data_back() {
    let mut log = Log::new(1);
    let zombie = log.init("zombie", 0);
    log.produce(&zombie, "t", 0, entry("z"), 0).expect("produces");
    let owner = log.init("owner", 0);
    log.produce(&owner, "t", 0, entry("a"), 0).expect("produces");
    log.end(&owner, 0).expect("commits");
    assert_eq!(keys(&log, 0), Vec::<String>::new());
    assert_eq!((log.last_stable_offset("t", 0), log.high_watermark("t", 0)), (0, 3));
    log.init("zombie", 0);
    assert_eq!(keys(&log, 0), ["a"]);
    assert_eq!(log.end(&zombie, 0), Err(Refused::Fenced));
    assert_eq!(log.read_committed("t", 0, 0, 1).1, 4, "a position passes what is skipped");
}

#[test]
fn a_late_end_ends_the_next_transaction_of_its_session_only() {
    let mut log = Log::new(1);
    let session = log.init("a", 0);
    log.produce(&session, "t", 0, entry("1"), 0).expect("produces");
    log.end(&session, 0).expect("the client's retry");
    assert_eq!(log.end(&session, 0), Ok(()), "repeated while nothing is open: the same answer");
    log.produce(&session, "t", 0, entry("half"), 0).expect("produces");
    log.end(&session, 0).expect("the late one");
    assert_eq!(keys(&log, 0), ["1", "half"], "half a transaction is visible");
    let renewed = log.init("a", 0);
    log.produce(&renewed, "t", 0, entry("2"), 0).expect("produces");
    assert_eq!(log.end(&session, 0), Err(Refused::Fenced), "a new epoch fences it");
    assert_eq!(keys(&log, 0), ["1", "half"]);
}

#[test]
fn the_coordinator_aborts_what_takes_too_long() {
    let mut log = Log::new(1);
    let session = log.init("a", 0);
    log.produce(&session, "t", 0, entry("1"), 0).expect("produces");
    assert_eq!(log.expire_transactions(TRANSACTION_TIMEOUT - 1), 0);
    assert_eq!(log.expire_transactions(TRANSACTION_TIMEOUT), 1);
    assert_eq!(log.end(&session, TRANSACTION_TIMEOUT), Err(Refused::Fenced));
    assert_eq!(keys(&log, 0), Vec::<String>::new());
}

#[test]
fn only_the_current_generation_commits_offsets() {
    let mut log = Log::new(2);
    let first = log.group("g").join(Some(0), 0);
    let assigned = log.group("g").complete(2, 0);
    assert_eq!((assigned[0].generation, assigned[0].partitions.clone()), (1, vec![0, 1]));
    let session = log.init("a", 0);
    let second = log.group("g").join(Some(1), 0);
    assert_eq!(log.group("g").heartbeat(first, 1), Heartbeat::Rebalance);
    log.send_offsets(&session, "g", Some((first, 1)), offsets(4, "1"), 1)
        .expect("the old generation commits while the rebalance is prepared");
    assert_eq!(log.stable_offset("g", "t", 0), Err(Refused::Unstable));
    log.end(&session, 1).expect("commits");
    assert_eq!(log.stable_offset("g", "t", 0), Ok(Some((4, "1".to_owned()))));
    log.group("g").rejoin(first, 1).expect("known");
    let assigned = log.group("g").complete(2, 1);
    assert_eq!(assigned.len(), 2);
    assert_eq!((assigned[1].member, assigned[1].partitions.clone()), (second, vec![1]));
    let stale = log.send_offsets(&session, "g", Some((first, 1)), offsets(5, "2"), 1);
    assert_eq!(stale, Err(Refused::IllegalGeneration));
    let empty = log.send_offsets(&session, "g", Some((first, 1)), Offsets::new(), 1);
    assert_eq!(empty, Ok(()), "without offsets nobody is asked");
}

#[test]
fn a_silent_member_is_expelled_and_the_rest_shares() {
    let mut log = Log::new(3);
    let silent = log.group("g").join(Some(0), 0);
    let alive = log.group("g").join(Some(1), 0);
    assert_eq!(log.group("g").complete(3, 0)[0].partitions, [0, 1]);
    log.group("g").heartbeat(alive, seconds(5));
    log.group("g").expire(seconds(6), seconds(6));
    assert_eq!(log.group("g").heartbeat(silent, seconds(6)), Heartbeat::Unknown);
    log.group("g").rejoin(alive, seconds(7)).expect("known");
    let assigned = log.group("g").complete(3, seconds(7));
    assert_eq!((assigned.len(), assigned[0].partitions.clone()), (1, vec![0, 1, 2]));
}
