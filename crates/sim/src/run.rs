//! A run: one cluster, one workload, one schedule of faults, one verdict.

use sendplane_domain::id::MessageId;
use sendplane_provider_model::Injection;

use crate::counts::Counts;
use crate::env::{Env, Event};
use crate::fault::{Fault, schedule};
use crate::mutation::Mutation;
use crate::oracle::{self, Violation};
use crate::process::core::Rebalance;
use crate::process::{Process, hosted};
use crate::provider::{self, Provider, account, gateway, trouble};
use crate::repeat;
use crate::shape::{PER_STAGE, STAGES, Shape};
use crate::time::{Micros, ms, seconds};
use crate::trace::{Note, Trace};
use crate::workload::{self, Upstream, scarce};

/// Everything that decides a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cluster; its seed decides the workload.
    pub shape: Shape,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// The bug to plant.
    pub mutation: Option<Mutation>,
}

impl Plan {
    /// What `seed` decides.
    pub fn of(seed: u64) -> Self {
        let shape = Shape::of(seed, None);
        Self { faults: schedule(&shape), shape, mutation: None }
    }

    /// The same with `minutes` of traffic.
    pub fn long(seed: u64, minutes: u32) -> Self {
        let shape = Shape::of(seed, Some(minutes));
        Self { faults: schedule(&shape), shape, mutation: None }
    }

    /// The same with a bug in it.
    pub fn with(self, mutation: Mutation) -> Self {
        Self { mutation: Some(mutation), ..self }
    }
}

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// What happened.
    pub counts: Counts,
    /// Which promises were broken.
    pub violations: Vec<Violation>,
    /// Lines for people, if they were asked for.
    pub notes: Vec<Note>,
}

/// Runs `plan` and judges it.
pub fn run(plan: &Plan) -> Report {
    run_traced(plan, false)
}

/// The same, keeping lines for people.
pub fn run_traced(plan: &Plan, is_traced: bool) -> Report {
    let upstream = workload::upstream(&plan.shape);
    let mut world = World::new(plan, upstream, Trace::new(is_traced));
    world.run();
    world.judge()
}

struct World<'p> {
    env: Env,
    processes: Vec<Box<dyn Process>>,
    upstream: Vec<Upstream>,
    injections: Vec<(Micros, Injection)>,
    plan: &'p Plan,
}

impl<'p> World<'p> {
    fn new(plan: &'p Plan, upstream: Vec<Upstream>, trace: Trace) -> Self {
        let shape = plan.shape.clone();
        let config = workload::account::at_provider(&shape);
        let provider = Provider::new(config, shape.seed);
        let processes =
            (0..STAGES.len() * PER_STAGE).map(|index| hosted::process(&shape, index)).collect();
        let injections = scarce::injections(&shape);
        let env = Env::new(shape, plan.mutation, trace, provider, &plan.faults);
        Self { env, processes, upstream, injections, plan }
    }

    fn run(&mut self) {
        let env = &mut self.env;
        for (index, record) in self.upstream.iter().enumerate() {
            env.at(record.at, Event::Upstream(index));
        }
        for (index, (at, _)) in self.injections.iter().enumerate() {
            env.at(*at, Event::Injection(index));
        }
        for index in 0..self.processes.len() {
            if env.shape.is_initial(index) {
                env.at(ms(10), Event::Start(index));
                // Whoever was scaled away comes back, so that every message can come to its end.
                let traffic = env.shape.traffic;
                for late in [30, 120, 240] {
                    env.at(traffic + seconds(late), Event::Start(index));
                }
            }
        }
        for (index, fault) in self.plan.faults.iter().enumerate() {
            let at = match fault {
                Fault::Stop { at, .. } | Fault::Start { at, .. } | Fault::Forget { at, .. } => *at,
                Fault::Broker { from, .. }
                | Fault::Clock { from, .. }
                | Fault::Far { from, .. }
                | Fault::Storm { from, .. }
                | Fault::Gateway { from, .. }
                | Fault::Provider { from, .. } => *from,
                Fault::Crash { .. }
                | Fault::Freeze { .. }
                | Fault::EndTxn { .. }
                | Fault::Produce { .. } => continue,
            };
            env.at(at, Event::Fault(index));
        }
        account::start(env);
        env.at(ms(300), Event::Sweep);
        env.at(seconds(45), Event::Snapshot);
        env.at(env.shape.every(repeat::EVERY), Event::Repeat);
        let horizon = env.shape.horizon();
        while let Some(event) = self.env.next(horizon) {
            self.happen(event);
            self.wake_readers();
        }
        for process in &mut self.processes {
            process.show_disks(&mut self.env);
        }
    }

    fn judge(self) -> Report {
        let Self { mut env, upstream, .. } = self;
        let violations = oracle::judge(&mut env, &upstream);
        let Env { counts, trace, .. } = env;
        Report { counts, violations, notes: trace.into_notes() }
    }

    /// A frozen process does nothing: its events wait until it wakes up.
    fn is_asleep(&mut self, process: usize, event: &Event) -> bool {
        let core = self.processes[process].core();
        let until = core.frozen_until;
        let is_asleep = core.is_up && until > self.env.now;
        if is_asleep {
            self.env.at(until, event.clone());
        }
        is_asleep
    }

    fn happen(&mut self, event: Event) {
        match &event {
            Event::Step { process, .. }
            | Event::Heartbeat { process, .. }
            | Event::Stop { process, .. }
                if self.is_asleep(*process, &event) => {}
            Event::Assigned { assignment, .. } if self.is_asleep(assignment.process, &event) => {}
            Event::Call { call, step } if *step != crate::env::CallStep::Arrive => {
                let process = self.env.provider.flight(*call).process();
                if !self.is_asleep(process, &event) {
                    let process = &mut *self.processes[process];
                    provider::go_on(&mut self.env, process, *call, *step);
                }
            }
            _ => self.happen_now(event),
        }
    }

    fn happen_now(&mut self, event: Event) {
        let env = &mut self.env;
        match event {
            Event::Step { process, token } => {
                if self.processes[process].core().token == token {
                    self.processes[process].step(env);
                }
            }
            Event::Heartbeat { process, incarnation } => {
                let core = self.processes[process].core();
                if core.is_up && core.incarnation == incarnation {
                    self.processes[process].heartbeat(env);
                }
            }
            Event::Assigned { assignment, incarnation } => {
                let core = self.processes[assignment.process].core();
                let member = core.member.map(|(member, _)| member);
                if core.incarnation == incarnation && member == Some(assignment.member) {
                    core.member = Some((assignment.member, assignment.generation));
                    let (generation, partitions) = (assignment.generation, assignment.partitions);
                    core.rebalances.push_back(Rebalance::Assigned { generation, partitions });
                    self.processes[assignment.process].wake(env);
                }
            }
            Event::Start(process) => self.processes[process].start(env),
            Event::Stop { process, restart_after } => {
                self.processes[process].stop(env, restart_after);
            }
            Event::LateEnd(session) => self.late_end(&session),
            Event::Call { call, step } => {
                let process = env.provider.flight(call).process();
                provider::go_on(env, &mut *self.processes[process], call, step);
            }
            Event::WebhooksDue => gateway::post_due(env),
            Event::Post(number) => gateway::receive(env, number),
            Event::GatewayReports(token) => account::report(env, token),
            Event::Upstream(index) => self.produce(index),
            Event::Injection(index) => provider::inject(env, &self.injections[index].1),
            Event::Fault(index) => self.fault(self.plan.faults[index]),
            Event::BrokerBack => env.log.forgive(env.now),
            Event::Sweep => self.sweep(),
            Event::Snapshot => {
                for process in &mut self.processes {
                    process.show_disks(env);
                }
                let wait = env.shape.every(seconds(240));
                env.after(wait, Event::Snapshot);
            }
            Event::Repeat => repeat::one(env),
            Event::Disturb { stage, leaving, left, gap } => self.disturb(stage, leaving, left, gap),
        }
    }

    fn late_end(&mut self, session: &crate::log::Session) {
        let env = &mut self.env;
        match env.log.end(session, env.now) {
            Err(_) => env.counts.one("EndTxn late, fenced"),
            Ok(()) => env.counts.one("EndTxn late, in time"),
        }
    }

    fn produce(&mut self, index: usize) {
        let record = &self.upstream[index];
        let env = &mut self.env;
        if !env.has_broker() {
            let back = env.broker_down_until + ms(1);
            return env.at(back, Event::Upstream(index));
        }
        let (topic, partition) = (record.topic, record.partition);
        let offset = env.log.append(topic, partition, record.entry(), env.now);
        let seen = crate::evidence::Produced { topic, partition, offset };
        env.seen.produced.push(seen);
    }

    /// The coordinators' timeouts, and rebalances that everybody has joined.
    fn sweep(&mut self) {
        let env = &mut self.env;
        let now = env.now;
        if env.has_broker() {
            let expired = env.log.expire_transactions(now);
            env.counts.add("transactions timed out", expired as u64);
            let (timeout, partitions) = (env.shape.session_timeout, env.shape.partitions);
            let mut assignments = Vec::new();
            for (_, group) in env.log.groups() {
                group.expire(timeout, now);
                assignments.extend(group.complete(partitions, now));
            }
            for assignment in assignments {
                let incarnation = self.processes[assignment.process].core().incarnation;
                let wait = env.latency(1, 20);
                env.after(wait, Event::Assigned { assignment, incarnation });
            }
        }
        let is_busy = env.log.groups().any(|(_, group)| group.is_preparing());
        // The timeouts are seconds; in a run of days most looks are in vain.
        let idle = env.shape.every(ms(400)).min(seconds(2));
        env.after(if is_busy { ms(50) } else { idle }, Event::Sweep);
    }

    fn fault(&mut self, fault: Fault) {
        let env = &mut self.env;
        match fault {
            Fault::Stop { process, restart_after, .. } => {
                if restart_after.is_none() {
                    env.counts.one("scale-downs");
                }
                env.after(0, Event::Stop { process, restart_after });
            }
            Fault::Start { process, .. } => {
                env.counts.one("scale-ups");
                env.after(0, Event::Start(process));
            }
            Fault::Broker { to, .. } => {
                env.counts.one("broker outages");
                env.broker_down_until = env.broker_down_until.max(to);
                env.at(env.broker_down_until, Event::BrokerBack);
            }
            Fault::Clock { process, to, offset_ms, .. } => {
                let core = self.processes[process].core();
                if env.now < to {
                    env.counts.one("clock offsets");
                    env.tell(core, None, || format!("clock is off by {offset_ms} ms"));
                    core.clock_offset_ms = offset_ms;
                    self.once_more(fault, to);
                } else {
                    core.clock_offset_ms = 0;
                }
            }
            Fault::Forget { process, .. } => {
                let core = self.processes[process].core();
                if let Some((member, _)) = core.member {
                    env.counts.one("members forgotten");
                    let now = env.now;
                    env.log.group(&core.group).leave(member, now);
                }
            }
            Fault::Far { process, to, connect, .. } => {
                let is_far = env.now < to;
                self.processes[process].core().connect_takes = if is_far { connect } else { 0 };
                if is_far {
                    env.counts.one("far providers");
                    self.once_more(fault, to);
                }
            }
            Fault::Storm { stage, times, gap, .. } => {
                env.counts.one("storms");
                self.disturb(stage, None, times, gap);
            }
            Fault::Gateway { to, away, .. } if env.now < to => {
                account::leave(env, away);
                self.once_more(fault, to);
            }
            Fault::Gateway { .. } => account::come_back(env),
            Fault::Provider { to, trouble, .. } if env.now < to => {
                trouble::begin(env, trouble);
                self.once_more(fault, to);
            }
            Fault::Provider { trouble, .. } => trouble::end(env, trouble),
            Fault::Crash { .. }
            | Fault::Freeze { .. }
            | Fault::EndTxn { .. }
            | Fault::Produce { .. } => {}
        }
    }

    /// The same fault again, at its end.
    fn once_more(&mut self, fault: Fault, at: Micros) {
        if let Some(index) = self.plan.faults.iter().position(|one| *one == fault) {
            self.env.at(at, Event::Fault(index));
        }
    }

    /// A stranger joins the group, and leaves it the next time.
    fn disturb(&mut self, stage: usize, leaving: Option<u64>, left: u32, gap: Micros) {
        let env = &mut self.env;
        let now = env.now;
        let group = env.log.group(&format!("sendplane.{}", STAGES[stage]));
        let joined = match leaving {
            Some(member) => {
                group.leave(member, now);
                None
            }
            None if left > 0 => Some(group.join(None, now)),
            None => return,
        };
        let left = left.saturating_sub(1);
        env.after(gap, Event::Disturb { stage, leaving: joined, left, gap });
    }

    /// Whoever waits for records looks again.
    fn wake_readers(&mut self) {
        let moved = self.env.log.take_moved();
        if moved.is_empty() {
            return;
        }
        for process in &mut self.processes {
            let core = process.core();
            if core.is_up && core.is_idle {
                let owned = core.owned.clone();
                if moved.iter().any(|(_, partition)| owned.contains(partition)) {
                    process.wake(&mut self.env);
                }
            }
        }
    }
}

/// The messages that `violations` are about.
pub fn messages_of(violations: &[Violation]) -> Vec<MessageId> {
    violations.iter().filter_map(|violation| violation.message).collect()
}
