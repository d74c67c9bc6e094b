//! One connection: a thread per direction.

use std::collections::HashMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::fault::{Action, Rule, Rules};
use super::frame::{Request, correlation_of, read_frame};

/// What both directions share.
#[derive(Default)]
struct Shared {
    /// Requests whose answers matter, by correlation id.
    watched: Mutex<HashMap<i32, Arc<Rule>>>,
    /// The client gets no answers any more.
    muted: AtomicBool,
}

impl Shared {
    fn watch(&self, correlation: i32, rule: &Arc<Rule>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.insert(correlation, rule.clone());
    }

    fn watched(&self, answer: &[u8]) -> Option<Arc<Rule>> {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.remove(&correlation_of(answer)?)
    }
}

/// Connects `client` to `broker`. A broker that cannot be reached looks like one to the client.
pub(super) fn serve(client: TcpStream, broker: &str, rules: &Arc<Rules>) {
    let Ok(upstream) = TcpStream::connect(broker) else {
        return;
    };
    for stream in [&client, &upstream] {
        let _ = stream.set_nodelay(true);
    }
    let (Ok(answered), Ok(asked)) = (client.try_clone(), upstream.try_clone()) else {
        return;
    };
    let shared = Arc::new(Shared::default());
    let (rules, questions) = (rules.clone(), shared.clone());
    std::thread::spawn(move || {
        let mut ends = Ends { client, upstream: asked };
        if forward_requests(&mut ends, &rules, &questions).is_none() {
            ends.close();
        }
    });
    std::thread::spawn(move || {
        let mut ends = Ends { client: answered, upstream };
        forward_answers(&mut ends, &shared);
        ends.close();
    });
}

struct Ends {
    client: TcpStream,
    upstream: TcpStream,
}

impl Ends {
    fn close(&self) {
        let _ = self.client.shutdown(Shutdown::Both);
        let _ = self.upstream.shutdown(Shutdown::Both);
    }

    /// A client that was not answered finds its connection closed once the fault is over.
    fn close_at_the_end_of(&self, rule: &Arc<Rule>) -> Option<()> {
        let ends = Ends {
            client: self.client.try_clone().ok()?,
            upstream: self.upstream.try_clone().ok()?,
        };
        let rule = rule.clone();
        std::thread::spawn(move || {
            rule.await_release(None);
            ends.close();
        });
        Some(())
    }
}

/// Forwards until an end closes (`None`), or until a stray request has gone its way.
fn forward_requests(ends: &mut Ends, rules: &Rules, shared: &Shared) -> Option<()> {
    loop {
        let frame = read_frame(&mut ends.client).ok()??;
        let request = Request::parse(&frame)?;
        if let Some(rule) = rules.for_request(&request) {
            shared.watch(request.correlation, &rule);
            match rule.action {
                Action::Watch | Action::CutAfter => {}
                Action::Delay(span) => {
                    rule.await_release(Some(span));
                }
                Action::Hold => {
                    rule.await_release(None);
                }
                Action::Mute => {
                    shared.muted.store(true, Ordering::SeqCst);
                    ends.close_at_the_end_of(&rule)?;
                }
                Action::CutBefore => return None,
                Action::Stray => {
                    let _ = ends.client.shutdown(Shutdown::Both);
                    if !rule.await_release(None) {
                        return None;
                    }
                    // The other direction closes once it has seen the answer.
                    return ends.upstream.write_all(&frame).ok();
                }
            }
        }
        ends.upstream.write_all(&frame).ok()?;
    }
}

fn forward_answers(ends: &mut Ends, shared: &Shared) {
    while let Ok(Some(frame)) = read_frame(&mut ends.upstream) {
        if let Some(rule) = shared.watched(&frame) {
            rule.note_answer(&frame);
            if matches!(rule.action, Action::CutAfter | Action::Stray) {
                return;
            }
        }
        let muted = shared.muted.load(Ordering::SeqCst);
        // A client that has gone may have left a stray request behind, whose answer matters.
        if !muted && ends.client.write_all(&frame).is_err() && !shared.has_stray() {
            return;
        }
    }
}

impl Shared {
    fn has_stray(&self) -> bool {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.values().any(|rule| rule.action == Action::Stray)
    }
}
