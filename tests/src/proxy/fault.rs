//! Which requests meet a fault, which one, and what is known of it afterwards.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::frame::{Api, Request};
use crate::wait;

const LIMIT: Duration = Duration::from_secs(90);

/// Requests to meet a fault. All given conditions must hold.
#[derive(Clone, Debug, Default)]
pub struct Match {
    api: Option<Api>,
    client: Option<String>,
    subject: Option<String>,
    skip: usize,
    times: Option<usize>,
}

impl Match {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests of one kind.
    pub fn api(api: Api) -> Self {
        Self { api: Some(api), ..Self::default() }
    }

    /// Of the client with this `client.id` only.
    pub fn client(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    /// About this transactional id or group only.
    pub fn subject(mut self, subject: &str) -> Self {
        self.subject = Some(subject.to_owned());
        self
    }

    /// Lets the first `count` pass.
    pub fn skip(mut self, count: usize) -> Self {
        self.skip = count;
        self
    }

    /// At most `count` of them; without it, all until the fault is dropped.
    pub fn times(mut self, count: usize) -> Self {
        self.times = Some(count);
        self
    }

    fn holds(&self, request: &Request) -> bool {
        self.api.is_none_or(|api| api == request.api)
            && self.client.as_ref().is_none_or(|client| *client == request.client)
            && self.subject.as_ref().is_none_or(|subject| Some(subject) == request.subject.as_ref())
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: it is counted, and its answer kept.
    Watch,
    /// It waits this long; what follows on its connection waits behind it.
    Delay(Duration),
    /// The connection is closed instead: not executed.
    CutBefore,
    /// It is executed, its answer is thrown away and the connection closed.
    CutAfter,
    /// It waits until [`Fault::release`]; what follows on its connection waits behind it.
    Hold,
    /// The client's connection is closed at once, the request itself stays on its way and reaches
    /// the broker at [`Fault::release`].
    Stray,
    /// It is executed; this and every later answer of its connection is withheld, and the
    /// connection closed at [`Fault::release`] or when the fault is dropped.
    Mute,
}

#[derive(Debug, Default)]
struct Progress {
    seen: usize,
    hits: usize,
    released: bool,
    removed: bool,
    answers: Vec<Answer>,
}

/// A fault as the connections see it.
#[derive(Debug)]
pub(super) struct Rule {
    matching: Match,
    pub action: Action,
    progress: Mutex<Progress>,
    changed: Condvar,
}

impl Rule {
    pub fn new(matching: Match, action: Action) -> Self {
        Self { matching, action, progress: Mutex::default(), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True when `request` is one of those meant; it is counted.
    fn meets(&self, request: &Request) -> bool {
        if !self.matching.holds(request) {
            return false;
        }
        let mut progress = self.lock();
        progress.seen += 1;
        let spent = self.matching.times.is_some_and(|times| progress.hits >= times);
        if progress.seen <= self.matching.skip || spent || progress.removed {
            return false;
        }
        progress.hits += 1;
        true
    }

    pub fn note_answer(&self, frame: &[u8]) {
        self.lock().answers.push(Answer { body: frame.get(8..).unwrap_or_default().to_vec() });
    }

    /// Waits for the release; at most `limit`, if given. False when the fault was removed instead.
    pub fn await_release(&self, limit: Option<Duration>) -> bool {
        let waiting = |progress: &mut Progress| !progress.released && !progress.removed;
        let progress = self.lock();
        let progress = match limit {
            None => {
                self.changed.wait_while(progress, waiting).unwrap_or_else(PoisonError::into_inner)
            }
            Some(limit) => {
                let waited = self.changed.wait_timeout_while(progress, limit, waiting);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
        !progress.removed
    }
}

/// The faults of one proxy, oldest first.
#[derive(Debug, Default)]
pub(super) struct Rules(Mutex<Vec<Arc<Rule>>>);

impl Rules {
    pub fn add(self: &Arc<Self>, matching: Match, action: Action) -> Fault {
        let rule = Arc::new(Rule::new(matching, action));
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(rule.clone());
        Fault { rule, rules: self.clone() }
    }

    /// The first fault that `request` meets.
    pub fn for_request(&self, request: &Request) -> Option<Arc<Rule>> {
        let rules = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.iter().find(|rule| rule.meets(request)).cloned()
    }
}

/// A fault in place. Dropping it ends it: what it holds goes on its way, what strays is lost.
#[derive(Debug)]
pub struct Fault {
    rule: Arc<Rule>,
    rules: Arc<Rules>,
}

/// What the broker answered to a request that met a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The frame after its correlation id.
    pub body: Vec<u8>,
}

impl Answer {
    /// The error code of answers that begin with a throttle time: EndTxn, AddOffsetsToTxn,
    /// Heartbeat (from version 1), all in versions that are not flexible.
    pub fn error(&self) -> i16 {
        let code = self.body.get(4..6).and_then(|bytes| bytes.try_into().ok());
        i16::from_be_bytes(code.expect("the answer has a throttle time and an error code"))
    }
}

impl Fault {
    /// Requests that have met it.
    pub fn hits(&self) -> usize {
        self.rule.lock().hits
    }

    /// Waits until `count` requests have met it.
    pub fn await_hits(&self, count: usize) {
        let what = format!("{count} requests meet {:?}", self.rule.matching);
        wait::until(&what, LIMIT, || (self.hits() >= count).then_some(()));
    }

    /// Lets go what is held, now and from now on.
    pub fn release(&self) {
        self.rule.lock().released = true;
        self.rule.changed.notify_all();
    }

    /// The broker's answers so far.
    pub fn answers(&self) -> Vec<Answer> {
        self.rule.lock().answers.clone()
    }

    /// Waits for an answer that satisfies `wanted`.
    pub fn await_answer(&self, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let what = format!("an answer to {:?}", self.rule.matching);
        wait::until(&what, LIMIT, || self.answers().into_iter().find(&wanted))
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let mut rules = self.rules.0.lock().unwrap_or_else(PoisonError::into_inner);
        rules.retain(|rule| !Arc::ptr_eq(rule, &self.rule));
        self.rule.lock().removed = true;
        self.rule.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(api: Api, client: &str, subject: Option<&str>) -> Request {
        let subject = subject.map(str::to_owned);
        Request { api, version: 1, correlation: 1, client: client.to_owned(), subject }
    }

    #[test]
    fn all_conditions_must_hold() {
        let rules = Arc::new(Rules::default());
        let matching = Match::api(Api::END_TXN).client("a").subject("t");
        let fault = rules.add(matching, Action::Watch);
        for (api, client, subject, meets) in [
            (Api::END_TXN, "a", Some("t"), true),
            (Api::HEARTBEAT, "a", Some("t"), false),
            (Api::END_TXN, "b", Some("t"), false),
            (Api::END_TXN, "a", Some("u"), false),
            (Api::END_TXN, "a", None, false),
        ] {
            let found = rules.for_request(&request(api, client, subject)).is_some();
            assert_eq!(found, meets, "{api:?} {client} {subject:?}");
        }
        assert_eq!(fault.hits(), 1);
    }

    #[test]
    fn skipped_and_further_ones_pass_and_so_does_everything_once_it_is_dropped() {
        let rules = Arc::new(Rules::default());
        let fault = rules.add(Match::api(Api::PRODUCE).skip(2).times(2), Action::Watch);
        let ask = || rules.for_request(&request(Api::PRODUCE, "a", None)).is_some();
        assert_eq!([ask(), ask(), ask(), ask(), ask()], [false, false, true, true, false]);
        drop(fault);
        let all = rules.add(Match::any(), Action::Watch);
        assert!(ask() && ask());
        drop(all);
        assert!(!ask());
    }

    #[test]
    fn a_held_request_waits_for_the_release_or_the_end_of_the_fault() {
        let rules = Arc::new(Rules::default());
        let wait_in_thread = |fault: &Fault| {
            let rule = fault.rule.clone();
            std::thread::spawn(move || rule.await_release(None))
        };
        let fault = rules.add(Match::any(), Action::Hold);
        let held = wait_in_thread(&fault);
        assert!(!held.is_finished());
        fault.release();
        assert!(held.join().expect("ends"), "released");
        let fault = rules.add(Match::any(), Action::Stray);
        let held = wait_in_thread(&fault);
        drop(fault);
        assert!(!held.join().expect("ends"), "removed");
    }
}
