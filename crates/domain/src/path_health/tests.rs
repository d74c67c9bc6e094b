use proptest::prelude::*;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(1_790_000_000_000 + seconds * 1_000)
}

fn gap(since: i64, until: i64) -> Gap {
    Gap { since: at(since), until: at(until) }
}

fn fresh() -> PathHealth {
    PathHealth::start(None, at(0))
}

/// One request from `begun` to `ended`.
fn request(health: &mut PathHealth, begun: i64, ended: i64, verdict: Verdict<'_>) {
    let ticket = health.begin(at(begun));
    health.end(ticket, verdict, at(ended));
}

#[test]
fn what_was_turned_away_is_a_gap_from_begin_to_end() {
    let mut health = fresh();
    request(&mut health, 10, 13, Verdict::TurnedAway);
    request(&mut health, 20, 21, Verdict::Taken("app"));
    request(&mut health, 30, 30, Verdict::NoWebhook);
    health.turned_away(at(40));
    let account = health.account(at(50));
    assert_eq!(account.gaps, [gap(10, 13), gap(40, 40)]);
    assert_eq!((account.started_at, account.alive_at), (at(0), at(50)));
    assert!(!account.is_stopped);
}

#[test]
fn one_that_was_taken_late_may_have_been_passed_by_others() {
    let mut health = fresh();
    request(&mut health, 10, 15, Verdict::Taken("app"));
    assert_eq!(health.account(at(30)).gaps, []);
    request(&mut health, 40, 46, Verdict::Taken("app"));
    assert_eq!(health.account(at(60)).gaps, [gap(40, 46)]);
    request(&mut health, 70, 71, Verdict::Astray("app"));
    assert_eq!(health.account(at(80)).gaps, [gap(40, 46), gap(70, 71)]);
}

#[test]
fn the_account_ends_where_something_is_still_open() {
    let mut health = fresh();
    let slow = health.begin(at(10));
    request(&mut health, 12, 12, Verdict::Taken("app"));
    assert_eq!(health.account(at(14)).alive_at, at(10));
    health.end(slow, Verdict::Taken("app"), at(14));
    health.end(slow, Verdict::TurnedAway, at(14));
    let account = health.account(at(14));
    assert_eq!((account.alive_at, account.gaps), (at(14), Vec::new()), "a second end is none");
}

#[test]
fn a_wrong_signature_is_noise_until_the_secrets_change() {
    let mut health = fresh();
    request(&mut health, 10, 11, Verdict::WrongSignature("app"));
    request(&mut health, 12, 12, Verdict::Taken("other"));
    assert_eq!(health.account(at(20)).alive_at, at(10), "nobody knows yet what it was");
    request(&mut health, 21, 21, Verdict::Taken("app"));
    let account = health.account(at(22));
    assert_eq!((account.alive_at, account.gaps), (at(22), Vec::new()));

    request(&mut health, 30, 30, Verdict::WrongSignature("app"));
    request(&mut health, 35, 35, Verdict::WrongSignature("app"));
    health.secrets_changed(at(40));
    let account = health.account(at(41));
    assert_eq!((account.alive_at, account.gaps), (at(41), vec![gap(30, 40)]));
}

#[test]
fn too_many_unexplained_apps_are_a_gap() {
    let mut health = fresh();
    for number in 0..SUSPECTS_MAX + 1 {
        request(&mut health, 10, 10, Verdict::WrongSignature(&number.to_string()));
    }
    assert_eq!(health.account(at(11)).gaps, [gap(10, 10)]);
}

#[test]
fn a_stop_in_good_order_leaves_only_the_time_others_need_to_know() {
    let mut health = fresh();
    let account = health.stop(at(100));
    assert!(account.is_stopped);
    assert_eq!((account.alive_at, account.gaps.clone()), (at(100), vec![gap(100, 130)]));
    let account = PathHealth::start(Some(&account), at(500)).account(at(510));
    assert_eq!((account.started_at, account.gaps), (at(500), vec![gap(100, 130)]));
}

#[test]
fn a_stop_cuts_off_what_is_open_and_explains_no_signature() {
    let mut health = fresh();
    health.begin(at(90));
    request(&mut health, 50, 50, Verdict::WrongSignature("app"));
    // The clock went back for the request at 50.
    let account = health.stop(at(100));
    assert_eq!(account.gaps, [gap(50, 130)]);
    assert_eq!(account.alive_at, at(100));
}

#[test]
fn any_other_end_is_a_gap_up_to_the_start() {
    let mut health = fresh();
    request(&mut health, 10, 11, Verdict::TurnedAway);
    let last = health.account(at(100));
    let account = PathHealth::start(Some(&last), at(160)).account(at(161));
    assert_eq!(account.gaps, [gap(10, 11), gap(100, 160)]);
    assert_eq!(account.started_at, at(160));
}

#[test]
fn a_clock_that_was_ahead_vouched_for_nothing() {
    let last = fresh().account(at(1_000));
    let account = PathHealth::start(Some(&last), at(160)).account(at(161));
    assert_eq!(account.gaps, [gap(0, 160)]);
    let mut health = fresh();
    request(&mut health, 600, 600, Verdict::Taken("app"));
    request(&mut health, 10, 10, Verdict::Taken("app"));
    let account = health.account(at(11));
    assert_eq!((account.alive_at, account.gaps), (at(11), vec![gap(10, 600)]));
}

#[test]
fn near_gaps_are_one_and_old_ones_are_forgotten() {
    let mut health = fresh();
    request(&mut health, 10, 11, Verdict::TurnedAway);
    request(&mut health, 16, 17, Verdict::TurnedAway);
    request(&mut health, 23, 24, Verdict::TurnedAway);
    assert_eq!(health.account(at(25)).gaps, [gap(10, 17), gap(23, 24)]);
    let day = GAPS_KEPT.as_secs() as i64;
    assert_eq!(health.account(at(18 + day)).gaps, [gap(23, 24)]);
    assert_eq!(health.account(at(25 + day)).gaps, []);
}

#[test]
fn beyond_the_limit_the_oldest_become_one() {
    let mut health = fresh();
    for number in 0..GAPS_MAX as i64 + 3 {
        health.turned_away(at(number * 10));
    }
    let gaps = health.account(at(2_000)).gaps;
    assert_eq!(gaps.len(), GAPS_MAX);
    assert_eq!((gaps[0], gaps[1]), (gap(0, 30), gap(40, 40)));
}

proptest! {
    /// Whatever happens, an account that says "complete up to T, no gap" is never contradicted by
    /// a later one: no request that was turned away began before T outside its gaps.
    #[test]
    fn an_account_is_never_contradicted(
        steps in prop::collection::vec((0_u8..6, 0_i64..4, 0_usize..8), 1..80),
    ) {
        let mut health = fresh();
        let (mut now, mut open, mut said) = (0, Vec::new(), Vec::new());
        let mut lost: Vec<i64> = Vec::new();
        for (kind, wait, which) in steps {
            now += wait;
            match kind {
                0 | 1 => open.push((health.begin(at(now)), now)),
                2 if !open.is_empty() => {
                    let (ticket, _) = open.remove(which % open.len());
                    health.end(ticket, Verdict::Taken("app"), at(now));
                }
                3 if !open.is_empty() => {
                    let (ticket, begun) = open.remove(which % open.len());
                    health.end(ticket, Verdict::TurnedAway, at(now));
                    lost.push(begun);
                }
                4 => said.push(health.account(at(now))),
                5 if which == 0 => {
                    let last = health.account(at(now));
                    lost.extend(open.drain(..).map(|(_, begun)| begun));
                    now += 7;
                    health = PathHealth::start(Some(&last), at(now));
                }
                _ => {}
            }
        }
        said.push(health.account(at(now)));
        for account in said {
            for begun in &lost {
                let is_covered =
                    account.gaps.iter().any(|gap| gap.since <= at(*begun) && at(*begun) <= gap.until);
                prop_assert!(is_covered || at(*begun) >= account.alive_at, "{begun}: {account:?}");
            }
            prop_assert!(account.gaps.windows(2).all(|pair| pair[0].until < pair[1].since));
        }
    }
}
