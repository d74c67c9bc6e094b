//! What goes wrong, and when. A schedule is data: it is made from the seed before the run, and a
//! failing run is repeated with parts of it taken away.

use crate::rng::{Concern, Rng};
use crate::shape::{STAGES, Shape};
use crate::time::{Micros, ms, seconds};

/// A place between two steps of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Inputs applied, nothing produced.
    BeforeBegin,
    /// Some outputs produced.
    AmongOutputs,
    /// Outputs produced, the changelog half.
    AmongChangelog,
    /// Everything produced, offsets not sent.
    BeforeOffsets,
    /// Offsets sent, EndTxn not.
    BeforeEndTxn,
    /// EndTxn executed, its answer not read.
    BeforeEndTxnAnswer,
    /// Commit known, no store written.
    BeforeStore,
    /// Commit known, one of several stores written.
    AmongStores,
    /// Stores written, effects not started.
    BeforeEffects,
    /// Effects started, their results not applied.
    AfterEffects,
    /// Taking over: nothing looked at yet.
    BeforeTakeOver,
    /// Taking over: stable offsets known, the changelog's end not.
    BeforeWatermark,
    /// Taking over: some of the changelog folded into the store.
    AmongRestore,
    /// Taking over: restored, the task not opened.
    BeforeOpen,
    /// Drained, the partitions not released.
    BeforeRelease,
    /// A call has its connection, its deadline is not checked yet.
    CallBeforeCheck,
    /// A call's deadline is checked, its first byte not written.
    CallBeforeWrite,
    /// A call was answered, the answer not read.
    CallBeforeAnswer,
}

impl Point {
    /// Points every stage has.
    pub const COMMON: [Point; 15] = [
        Point::BeforeBegin,
        Point::AmongOutputs,
        Point::AmongChangelog,
        Point::BeforeOffsets,
        Point::BeforeEndTxn,
        Point::BeforeEndTxnAnswer,
        Point::BeforeStore,
        Point::AmongStores,
        Point::BeforeEffects,
        Point::AfterEffects,
        Point::BeforeTakeOver,
        Point::BeforeWatermark,
        Point::AmongRestore,
        Point::BeforeOpen,
        Point::BeforeRelease,
    ];
    /// Points of the stage that calls the provider.
    pub const CALLS: [Point; 3] =
        [Point::CallBeforeCheck, Point::CallBeforeWrite, Point::CallBeforeAnswer];

    /// The points of `stage`.
    pub fn of(stage: &str) -> Vec<Point> {
        let calls = if stage == "send" { &Point::CALLS[..] } else { &[] };
        Point::COMMON.iter().chain(calls).copied().collect()
    }
}

/// What becomes of one EndTxn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndFate {
    /// Held up in the network; the client's own retry commits, the first one arrives later.
    Late(Micros),
    /// The same, and the first one arrives when the next transaction is half produced.
    LateIntoNext,
    /// Executed; the client never hears of it.
    LostExecuted,
    /// Never arrives; the client never hears of it.
    LostUnexecuted,
    /// The client gives up; the request arrives this much later.
    AfterGivingUp(Micros),
    /// Executed after this time, then answered.
    Slow(Micros),
}

/// What becomes of one batch of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProduceFate {
    /// Appended, the acknowledgement never comes.
    AnswerLost,
    /// Acknowledged after this time.
    Slow(Micros),
}

/// What is wrong with the provider for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Refuses connections.
    Refuses,
    /// Answers 503.
    Unavailable,
    /// Accepts and loses answers.
    LosesAnswers,
    /// Resets connections after the write.
    Resets,
    /// Throttles with 130429.
    Throttles,
    /// Answers later than a client waits.
    Slow,
    /// Answers garbage.
    Garbage,
    /// Webhooks are repeated, overtaken, dropped.
    Webhooks,
    /// Answers are lost, and many webhooks come minutes late or never.
    Silent,
}

impl Trouble {
    /// Those drawn at random; [`Trouble::Silent`] has schedules of its own.
    pub const ALL: [Trouble; 8] = [
        Trouble::Refuses,
        Trouble::Unavailable,
        Trouble::LosesAnswers,
        Trouble::Resets,
        Trouble::Throttles,
        Trouble::Slow,
        Trouble::Garbage,
        Trouble::Webhooks,
    ];
}

/// Why the gateway takes no webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    /// It dies.
    Killed,
    /// It ends in good order.
    Stopped,
    /// It answers 503: there is no room.
    Overloaded,
}

impl Away {
    /// All kinds.
    pub const ALL: [Away; 3] = [Away::Killed, Away::Stopped, Away::Overloaded];
}

/// One fault. `after`: at the first occasion from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A process dies at a point, and perhaps its successor at another one.
    Crash {
        /// Which.
        process: usize,
        /// From when on.
        after: Micros,
        /// Where.
        point: Point,
        /// Its disk is lost.
        wipe: bool,
        /// When its successor starts.
        restart_after: Micros,
        /// Where the successor dies.
        again: Option<Point>,
    },
    /// A process stops for a while and wakes up.
    Freeze {
        /// Which.
        process: usize,
        /// From when on.
        after: Micros,
        /// Where.
        point: Point,
        /// For how long.
        length: Micros,
    },
    /// A commit request has another fate than usual.
    EndTxn {
        /// Whose.
        process: usize,
        /// From when on.
        after: Micros,
        /// Its fate.
        fate: EndFate,
    },
    /// A batch of records has another fate than usual.
    Produce {
        /// Whose.
        process: usize,
        /// From when on.
        after: Micros,
        /// Its fate.
        fate: ProduceFate,
    },
    /// A process is stopped gracefully, and started again unless it is scaled away.
    Stop {
        /// Which.
        process: usize,
        /// When.
        at: Micros,
        /// When it starts again.
        restart_after: Option<Micros>,
    },
    /// A process more.
    Start {
        /// Which.
        process: usize,
        /// When.
        at: Micros,
    },
    /// The brokers cannot be reached.
    Broker {
        /// From.
        from: Micros,
        /// Until.
        to: Micros,
    },
    /// A process's clock is off for a while.
    Clock {
        /// Which.
        process: usize,
        /// From.
        from: Micros,
        /// Until.
        to: Micros,
        /// By how much, in milliseconds.
        offset_ms: i64,
    },
    /// The group's coordinator forgets a member whose calls go on: the network parts it from the
    /// brokers, not from the provider.
    Forget {
        /// Which.
        process: usize,
        /// When.
        at: Micros,
    },
    /// A process's connections take long: its calls start late, all of them alike.
    Far {
        /// Which.
        process: usize,
        /// From.
        from: Micros,
        /// Until.
        to: Micros,
        /// How long a connection takes.
        connect: Micros,
    },
    /// Somebody joins and leaves a group again and again.
    Storm {
        /// Index of the stage.
        stage: usize,
        /// From.
        from: Micros,
        /// How often.
        times: u32,
        /// How far apart.
        gap: Micros,
    },
    /// The gateway takes no webhook.
    Gateway {
        /// From.
        from: Micros,
        /// Until.
        to: Micros,
        /// Why.
        away: Away,
    },
    /// The provider is in trouble.
    Provider {
        /// From.
        from: Micros,
        /// Until.
        to: Micros,
        /// Which trouble.
        trouble: Trouble,
    },
}

/// The schedule that `shape`'s seed decides.
pub fn schedule(shape: &Shape) -> Vec<Fault> {
    let mut rng = Rng::new(shape.seed, Concern::Faults);
    let mut faults = Vec::new();
    let count = rng.between(6, 22) * (shape.traffic / seconds(240)).max(1);
    for _ in 0..count {
        let at = rng.between(ms(200), shape.traffic);
        faults.push(draw(&mut rng, shape, at));
    }
    match shape.seed % 6 {
        0 => relay(&mut rng, shape, &mut faults),
        1 => frozen_calls(&mut rng, shape, &mut faults),
        2 => late_ends(&mut rng, shape, &mut faults),
        3 => doubtful_drains(&mut rng, shape, &mut faults),
        4 => frozen_commits(&mut rng, shape, &mut faults),
        _ => {}
    }
    silence(shape, &mut faults);
    if shape.contended {
        faults.retain(|fault| !matches!(fault, Fault::Provider { .. }));
    }
    faults
}

/// Now and then the gateway is away. In every fourth run answers are lost all the time, and many
/// webhooks come too late for the doubt, or never.
fn silence(shape: &Shape, faults: &mut Vec<Fault>) {
    let mut rng = Rng::new(shape.seed, Concern::Silence);
    // With and without gaps, so that silence is proven in some runs and in others not.
    let most = if shape.seed % 8 == 4 { 6 } else { 1 };
    for _ in 0..rng.between(0, most) {
        let from = rng.between(seconds(5), shape.traffic + seconds(60));
        let to = from + rng.between(ms(500), seconds(40));
        faults.push(Fault::Gateway { from, to, away: *rng.pick(&Away::ALL) });
    }
    if shape.is_silent() {
        let to = shape.traffic + seconds(120);
        faults.push(Fault::Provider { from: seconds(3), to, trouble: Trouble::Silent });
    }
}

fn draw(rng: &mut Rng, shape: &Shape, after: Micros) -> Fault {
    let process = shape.any_initial(rng);
    let stage = STAGES[shape.stage_of(process)];
    let points = Point::of(stage);
    let point = *rng.pick(&points);
    match rng.below(100) {
        0..=27 => Fault::Crash {
            process,
            after,
            point,
            wipe: rng.chance(300),
            restart_after: rng.between(ms(300), seconds(8)),
            again: rng.chance(400).then(|| *rng.pick(&points)),
        },
        28..=42 => {
            Fault::Freeze { process, after, point, length: rng.between(ms(100), seconds(25)) }
        }
        43..=56 => Fault::EndTxn { process, after, fate: end_fate(rng) },
        57..=61 => {
            let slow = ProduceFate::Slow(rng.between(ms(50), seconds(3)));
            let fate = if rng.chance(600) { ProduceFate::AnswerLost } else { slow };
            Fault::Produce { process, after, fate }
        }
        62..=68 => {
            let again = rng.chance(700).then(|| rng.between(ms(200), seconds(20)));
            Fault::Stop { process, at: after, restart_after: again }
        }
        69..=76 => Fault::Start { process: shape.any_spare(rng), at: after },
        77..=79 => Fault::Broker { from: after, to: after + rng.between(ms(200), seconds(20)) },
        80..=85 => {
            let within = rng.between(-4_500, 4_500);
            let beyond = *rng.pick(&[-40_000, -9_000, 8_000, 30_000]);
            let offset_ms = if rng.chance(650) { within } else { beyond };
            let to = after + rng.between(seconds(5), seconds(120));
            Fault::Clock { process, from: after, to, offset_ms }
        }
        86..=88 => Fault::Storm {
            stage: shape.stage_of(process),
            from: after,
            times: rng.between(2, 6) as u32,
            gap: rng.between(ms(100), seconds(4)),
        },
        _ => Fault::Provider {
            from: after,
            to: after + rng.between(seconds(1), seconds(40)),
            trouble: *rng.pick(&Trouble::ALL),
        },
    }
}

fn end_fate(rng: &mut Rng) -> EndFate {
    match rng.below(6) {
        5 => EndFate::LateIntoNext,
        0 => EndFate::Late(rng.between(ms(5), seconds(3))),
        1 => EndFate::LostExecuted,
        2 => EndFate::LostUnexecuted,
        3 => EndFate::AfterGivingUp(rng.between(0, seconds(2))),
        _ => EndFate::Slow(rng.between(ms(40), seconds(2))),
    }
}

/// An owner freezes inside a transaction, its successor is soon succeeded in turn: only the high
/// watermark tells the third one what the second has committed.
fn relay(rng: &mut Rng, shape: &Shape, faults: &mut Vec<Fault>) {
    for stage in 0..STAGES.len() {
        let after = rng.between(seconds(2), shape.traffic * 2 / 3);
        let process = shape.first_of(stage);
        let point = *rng.pick(&[Point::AmongChangelog, Point::BeforeOffsets]);
        faults.push(Fault::Freeze { process, after, point, length: seconds(14) });
        let spare = shape.spare_of(stage);
        faults.push(Fault::Start { process: spare, at: after + ms(100) });
        faults.push(Fault::Storm { stage, from: after + seconds(2), times: 12, gap: ms(700) });
    }
}

/// Send freezes around its calls, and its partitions move meanwhile.
fn frozen_calls(rng: &mut Rng, shape: &Shape, faults: &mut Vec<Fault>) {
    let process = shape.first_of(shape.send());
    for _ in 0..5 {
        let after = rng.between(seconds(2), shape.traffic);
        let point = *rng.pick(&[Point::CallBeforeCheck, Point::CallBeforeWrite]);
        let length = rng.between(seconds(1), seconds(25));
        faults.push(Fault::Freeze { process, after, point, length });
    }
}

/// Send freezes where it knows, or could know, that calls are granted, for longer than they may
/// take to start.
fn frozen_commits(rng: &mut Rng, shape: &Shape, faults: &mut Vec<Fault>) {
    let process = shape.first_of(shape.send());
    for _ in 0..8 {
        let after = rng.between(seconds(2), shape.traffic);
        let point = *rng.pick(&[Point::BeforeEndTxnAnswer, Point::BeforeStore]);
        let length = rng.between(seconds(2), seconds(8));
        faults.push(Fault::Freeze { process, after, point, length });
    }
}

/// Commit requests are held up again and again.
fn late_ends(rng: &mut Rng, shape: &Shape, faults: &mut Vec<Fault>) {
    for _ in 0..25 {
        let process = shape.any_initial(rng);
        let after = rng.between(seconds(1), shape.traffic);
        let fate = if rng.chance(700) {
            EndFate::Late(rng.between(ms(1), ms(400)))
        } else {
            EndFate::AfterGivingUp(rng.between(0, ms(400)))
        };
        faults.push(Fault::EndTxn { process, after, fate });
    }
}

/// Send does not know what its transaction came to, and has to give its partitions up.
fn doubtful_drains(rng: &mut Rng, shape: &Shape, faults: &mut Vec<Fault>) {
    let stage = shape.send();
    for _ in 0..10 {
        let after = rng.between(seconds(2), shape.traffic);
        for number in 0..shape.processes[stage] {
            let process = shape.first_of(stage) + number;
            faults.push(Fault::EndTxn { process, after, fate: EndFate::LostExecuted });
        }
        faults.push(Fault::Storm { stage, from: after + ms(300), times: 6, gap: ms(900) });
    }
}
