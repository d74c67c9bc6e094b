//! `cancel`: asks, and waits for the answers.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use sendplane_domain::id::{IdempotencyKey, MessageId};
use sendplane_domain::shard::partition_of;
use sendplane_domain::time::Timestamp;
use sendplane_service::clock;
use sendplane_wire::codec::Decoder;
use sendplane_wire::record::{CancelAnswer, CancelRequest, CancelResult};
use sendplane_wire::topic;
use serde_json::{Value, json};

use crate::args::{CancelArgs, Format};
use crate::output::{self, moment};
use crate::session::{self, Fault, Session};

/// Exit code: a message has ended, or a call of it is under way.
const EXIT_TOO_LATE: u8 = 3;
/// Exit code: no such message.
const EXIT_NOT_FOUND: u8 = 4;
/// Exit code: not every answer came in time.
const EXIT_NO_ANSWER: u8 = 5;

/// Longest wait; answers that take longer have another reason than being on their way.
const WAIT_MAX: Duration = Duration::from_secs(3600);

pub fn run(session: &Session, args: &CancelArgs) -> Result<ExitCode, Fault> {
    let now = clock::now();
    let id = format!("c-{:x}-{:x}", now.as_millis(), std::process::id());
    let request = request(args, id, now)?;
    let wait = wait(&args.wait)?;
    let value = session.encoder(topic::CANCELS)?.encode(&request)?;
    let tools = session.tools()?;
    let key = request.tenant.as_str().as_bytes();
    let partition = partition_of(key, tools.partition_count(topic::CANCELS)?);
    let decoder =
        Decoder::<CancelAnswer>::new(topic::CANCEL_ANSWERS, None, Arc::new(session.registry()?));
    let mut answers = Answers::default();
    let produce = || tools.produce(topic::CANCELS, key, Some(&value), &Vec::new(), Some(partition));
    tools.follow(topic::CANCEL_ANSWERS, partition, wait, produce, &mut |record| match decoder
        .decode(record.value.as_deref())
    {
        Ok(answer) if answer.cancel_id == request.cancel_id => answers.add(answer),
        _ => ControlFlow::Continue(()),
    })?;
    show(session, &request.cancel_id, &answers)?;
    Ok(answers.exit_code().into())
}

/// The request that the arguments describe.
fn request(args: &CancelArgs, cancel_id: String, now: Timestamp) -> Result<CancelRequest, Fault> {
    let message_id: Option<MessageId> =
        args.message.as_deref().map(str::parse).transpose().map_err(|error| {
            Fault::input(format!("--message: {error}; or use --key or --order"))
        })?;
    for (flag, given) in [("--key", &args.key), ("--order", &args.order)] {
        if given.as_deref() == Some("") {
            return Err(Fault::input(format!("{flag}: is empty; give what the request had")));
        }
    }
    Ok(CancelRequest {
        cancel_id,
        tenant: session::tenant("--tenant", &args.tenant)?,
        message_id,
        idempotency_key: args.key.as_deref().map(IdempotencyKey::new),
        order_id: args.order.clone(),
        reason: session::reason(&args.reason, "the message is withdrawn")?,
        requested_by: session::by(args.by.as_deref()),
        requested_at: now,
    })
}

fn wait(text: &str) -> Result<Duration, Fault> {
    let span = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.filter(|span| *span <= WAIT_MAX).ok_or_else(|| {
        Fault::input(format!("--wait {text}: write a span such as 10s, at most 1h; 0s only asks"))
    })
}

/// What has been answered so far, by message.
#[derive(Debug, Default)]
struct Answers(BTreeMap<Option<MessageId>, CancelAnswer>);

impl Answers {
    /// Breaks once all are there.
    fn add(&mut self, answer: CancelAnswer) -> ControlFlow<()> {
        self.0.insert(answer.message_id, answer);
        if self.is_complete() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn is_complete(&self) -> bool {
        let expected = self.0.values().map(|one| usize::try_from(one.messages.max(1)).unwrap_or(1));
        expected.max().is_some_and(|expected| self.0.len() >= expected)
    }

    /// The answer that asks for most attention decides.
    fn exit_code(&self) -> u8 {
        let any = |wanted| self.0.values().any(|answer| answer.result == wanted);
        if !self.is_complete() {
            EXIT_NO_ANSWER
        } else if any(CancelResult::TooLate) {
            EXIT_TOO_LATE
        } else if any(CancelResult::NotFound) {
            EXIT_NOT_FOUND
        } else if any(CancelResult::Cancelled) {
            0
        } else {
            sendplane_service::run::EXIT_USAGE
        }
    }
}

fn show(session: &Session, cancel_id: &str, answers: &Answers) -> Result<(), Fault> {
    if !answers.is_complete() {
        eprintln!(
            "sendplane: {cancel_id} is asked, and not fully answered yet; it counts all the same: \
             look later with `sendplane tail cancel-answers --from-beginning --until-end`"
        );
    }
    let answers = answers.0.values();
    match session.output {
        Format::Table if answers.len() == 0 => {}
        Format::Table => {
            output::table(&["RESULT", "STATE", "MESSAGE", "DETAIL"], answers.map(row))?
        }
        Format::Json => {
            let rows: Value = answers.map(as_json).collect();
            output::json(&json!({ "cancel_id": cancel_id, "answers": rows }))?;
        }
    }
    Ok(())
}

fn word(result: CancelResult) -> &'static str {
    match result {
        CancelResult::Unknown => "unknown",
        CancelResult::Cancelled => "cancelled",
        CancelResult::TooLate => "too late",
        CancelResult::NotFound => "not found",
        CancelResult::Invalid => "invalid",
    }
}

fn row(answer: &CancelAnswer) -> Vec<String> {
    let text = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    vec![
        word(answer.result).to_owned(),
        text(&answer.state),
        answer.message_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        text(&answer.detail),
    ]
}

fn as_json(answer: &CancelAnswer) -> Value {
    json!({
        "result": word(answer.result).replace(' ', "_"),
        "state": answer.state,
        "message_id": answer.message_id.map(|id| id.to_string()),
        "detail": answer.detail,
        "answered_at": moment(answer.answered_at),
    })
}

#[cfg(test)]
mod tests {
    use sendplane_domain::id::TenantId;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn args() -> CancelArgs {
        CancelArgs {
            tenant: "acme".into(),
            message: None,
            key: Some("k".into()),
            order: None,
            reason: "withdrawn".into(),
            wait: "10s".into(),
            by: Some("ada".into()),
        }
    }

    fn answer(number: u8, result: CancelResult, messages: i32) -> CancelAnswer {
        CancelAnswer {
            cancel_id: "c".into(),
            tenant: TenantId::new("acme"),
            message_id: (messages > 0).then(|| MessageId::from_bytes([number; 16])),
            result,
            state: None,
            detail: None,
            answered_at: NOW,
            messages,
        }
    }

    #[test]
    fn a_request_says_who_asks_and_why() {
        let found = request(&args(), "c-1".into(), NOW).unwrap();
        assert_eq!((found.cancel_id.as_str(), found.reason.as_str()), ("c-1", "withdrawn"));
        assert!(found.requested_by.starts_with("ada"));
    }

    #[test]
    fn bad_input_names_the_argument_and_the_fix() {
        let cases = [
            (CancelArgs { message: Some("17".into()), ..args() }, "--message", "--key"),
            (CancelArgs { key: Some(String::new()), ..args() }, "--key", "empty"),
            (CancelArgs { reason: " ".into(), ..args() }, "--reason", "withdrawn"),
            (CancelArgs { tenant: String::new(), ..args() }, "--tenant", "name a tenant"),
        ];
        for (args, argument, fix) in cases {
            match request(&args, "c".into(), NOW) {
                Err(Fault::Input(text)) => {
                    assert!(text.starts_with(argument) && text.contains(fix), "{text}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(wait("0s").unwrap(), Duration::ZERO);
        assert!(wait("2h").is_err() && wait("-1s").is_err() && wait("soon").is_err());
    }

    #[test]
    fn the_exit_code_tells_the_answer_that_asks_for_most_attention() {
        use CancelResult::{Cancelled, Invalid, NotFound, TooLate};
        let code = |answers: &[CancelAnswer]| {
            let mut all = Answers::default();
            let last = answers.iter().map(|answer| all.add(answer.clone())).last();
            assert_eq!(last.is_some_and(|last| last.is_break()), all.is_complete());
            all.exit_code()
        };
        assert_eq!(code(&[]), EXIT_NO_ANSWER);
        assert_eq!(code(&[answer(1, Cancelled, 1)]), 0);
        assert_eq!(code(&[answer(1, NotFound, 0)]), EXIT_NOT_FOUND);
        assert_eq!(code(&[answer(1, Invalid, 0)]), 64);
        assert_eq!(code(&[answer(1, Cancelled, 2)]), EXIT_NO_ANSWER);
        assert_eq!(code(&[answer(1, Cancelled, 2), answer(1, Cancelled, 2)]), EXIT_NO_ANSWER);
        assert_eq!(code(&[answer(1, TooLate, 2), answer(2, Cancelled, 2)]), EXIT_TOO_LATE);
    }
}
