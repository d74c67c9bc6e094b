//! What it costs to pause and resume a campaign of which 10,000 messages wait: bounded in every
//! cycle, whatever waits, and password resets go on meanwhile.

use sendplane_stage_api::driver::State;
use sendplane_wire::record::Switch;

use super::*;

const WAITING: u64 = 10_000;

/// Rows a cycle may write: 2,000 messages leave the queue, each with its own row, its place there
/// and its place among the parked; and what the cycle writes besides.
const WRITES_MAX: usize = 2_000 * 3 + 100;

/// A task without the driver's checks, which compare all state after every cycle.
struct Task {
    stage: SendStage,
    directory: Directory,
    state: State,
    now: Timestamp,
    timer_floor: Timestamp,
    next_timer: Option<Timestamp>,
    /// Rows written by each cycle that wrote any message's.
    writes: Vec<usize>,
}

impl Task {
    fn new() -> Self {
        let mut task = Self {
            stage: SendStage::new(SendSettings::new(hash_key())),
            directory: Directory::default(),
            state: State::new(),
            now: START,
            timer_floor: Timestamp::default(),
            next_timer: None,
            writes: Vec::new(),
        };
        let template = template("utility");
        task.control(sample::set_template(template));
        task
    }

    fn control(&mut self, change: Change) {
        self.directory.apply(&change);
        self.cycle(vec![Input::Control(change)]);
    }

    fn take(&mut self, dispatches: impl Iterator<Item = Dispatch>) -> Vec<MessageId> {
        let input = |dispatch: Dispatch| {
            let topic = topic::dispatch(dispatch.lane);
            record_input(Record::Dispatch(Box::new(dispatch)), topic)
        };
        self.cycle(dispatches.map(input).collect())
    }

    /// One cycle as the runtime has it: timers that are due, and inputs. Returns who is called.
    fn cycle(&mut self, inputs: Vec<Input<SendStage>>) -> Vec<MessageId> {
        let time = CycleTime {
            now: self.now,
            partition: 0,
            partitions: 1,
            timer_floor: self.timer_floor,
            allowance: Allowance::UNLIMITED,
            portion: Portion::Full,
        };
        let mut cycle = Cycle::open(&self.stage, &self.state, &self.directory, time);
        cycle.fire_timers();
        for input in inputs {
            cycle.apply(input, TraceContext::default());
        }
        let done = cycle.finish().unwrap();
        self.writes.push(done.writes.len());
        for (key, value) in done.writes {
            match value {
                Some(value) => self.state.insert(key, value),
                None => self.state.remove(&key),
            };
        }
        (self.timer_floor, self.next_timer) = (done.timer_floor, done.next_timer);
        done.effects.into_iter().map(|one| one.effect.message_id).collect()
    }

    /// Cycles of 10 ms with a password reset in each until nothing more is parked or released than
    /// `is_over` says; the most that one of them wrote. Each reset is called in its own cycle.
    fn settle(&mut self, resets: &mut u64, is_over: impl Fn(&State) -> bool) -> (usize, usize) {
        self.writes.clear();
        while !is_over(&self.state) {
            *resets += 1;
            let reset = dispatch(*resets, Lane::Transactional, self.now);
            let called = self.take(std::iter::once(reset));
            assert!(called.contains(&message_id(*resets)), "a reset waits for nothing");
            self.now = self.now + Duration::from_millis(20);
            assert!(self.writes.len() < 1_000, "it comes to an end");
        }
        (self.writes.len(), self.writes.iter().copied().max().unwrap_or(0))
    }

    /// Rows of a table.
    fn rows(state: &State, tag: [u8; 2]) -> usize {
        state.keys().filter(|key| key.starts_with(&tag)).count()
    }
}

const QUEUE_TAG: [u8; 2] = [0x01, 0x01];
const PARKED_TAG: [u8; 2] = [0x01, 0x05];

fn of_campaign(n: u64) -> Dispatch {
    Dispatch { campaign: Some("autumn".into()), ..dispatch(n, Lane::Bulk, START) }
}

#[test]
fn a_pause_and_a_resume_of_a_campaign_make_no_cycle_long() {
    let scopes: [fn(&mut Switch); 3] = [
        |switch| switch.campaign = Some("autumn".into()),
        |switch| switch.template_name = Some(TemplateName::new("order_update")),
        |switch| switch.category = Some("utility".into()),
    ];
    for (scope, holds_resets) in scopes.into_iter().zip([false, true, true]) {
        let mut task = Task::new();
        // Nobody is called while the messages come in.
        task.control(sample::set_tenant(tenant(0)));
        for first in (0..WAITING).step_by(500) {
            task.take((first..first + 500).map(of_campaign));
        }
        assert_eq!(Task::rows(&task.state, QUEUE_TAG), WAITING as usize);
        let mut switch = sample::switch("s", START + HOUR);
        scope(&mut switch);
        // The password resets have a template of their own; here they share it with the campaign.
        switch.lane = holds_resets.then(|| "bulk".into());
        task.control(sample::set_tenant(tenant(80)));
        task.now = task.now + secs(1);
        task.writes.clear();
        task.control(sample::set_switch(switch));
        task.now = task.now + secs(1);
        let paused_at_once = task.writes[0];
        assert!(paused_at_once <= WRITES_MAX, "{paused_at_once} rows");

        let mut resets = WAITING;
        let is_parked = |state: &State| Task::rows(state, PARKED_TAG) >= WAITING as usize - 1_000;
        let (cycles, most) = task.settle(&mut resets, is_parked);
        println!("pause: {cycles} cycles, at most {most} rows in one");
        assert!(cycles >= 3 && most <= WRITES_MAX, "{cycles} cycles, {most} rows");

        task.writes.clear();
        task.now = task.now + secs(1);
        task.control(Change::Switch("s".into(), None));
        task.now = task.now + secs(1);
        let resumed_at_once = task.writes[0];
        let (cycles, most) = task.settle(&mut resets, |state| Task::rows(state, PARKED_TAG) == 0);
        println!("resume: {cycles} cycles, at most {} rows in one", most.max(resumed_at_once));
        assert!(cycles >= 15 && most.max(resumed_at_once) <= WRITES_MAX, "{cycles}, {most}");
    }
}
