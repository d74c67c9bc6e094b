//! `request send`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use jiff::SignedDuration;
use sendplane_domain::e164::E164;
use sendplane_domain::id::{IdempotencyKey, PhoneNumberId, TemplateName};
use sendplane_domain::lane::Lane;
use sendplane_domain::limits::DEADLINE_MAX;
use sendplane_domain::time::Timestamp;
use sendplane_domain::trace::header;
use sendplane_service::clock;
use sendplane_stage_runtime::tools::RecordHeaders;
use sendplane_wire::record::SendRequest;
use sendplane_wire::topic;
use serde_json::json;

use crate::args::{Format, LaneName, Request, SendArgs};
use crate::output;
use crate::session::{self, Fault, Session};

pub fn run(session: &Session, command: &Request) -> Result<ExitCode, Fault> {
    let Request::Send(args) = command;
    let requests = requests(args, clock::now())?;
    let topic = topic::requests(lane(args));
    let encoder = session.encoder::<SendRequest>(topic)?;
    let values: Vec<Vec<u8>> = requests
        .iter()
        .map(|request| Ok(encoder.encode(request)?))
        .collect::<Result<_, Fault>>()?;
    let mut headers = RecordHeaders::new();
    if let Some(id) = &args.correlation_id {
        headers.push((header::CORRELATION_ID.to_owned(), id.clone().into_bytes()));
    }
    let key = args.tenant.as_bytes();
    let records = values.iter().map(|value| (key, Some(value.as_slice()), &headers));
    session.tools()?.produce_all(topic, None, records)?;
    match session.output {
        Format::Table => {
            for request in &requests {
                output::line(request.idempotency_key.as_str())?;
            }
        }
        Format::Json => {
            let rows = requests.iter().map(|request| {
                json!({
                    "tenant": request.tenant.as_str(), "key": request.idempotency_key.as_str(),
                    "recipient": request.recipient, "topic": topic,
                })
            });
            output::json(&rows.collect())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn lane(args: &SendArgs) -> Lane {
    match (args.lane, &args.campaign) {
        (Some(LaneName::Bulk), _) | (None, Some(_)) => Lane::Bulk,
        (Some(LaneName::Transactional), _) | (None, None) => Lane::Transactional,
    }
}

/// The requests that `args` describe.
fn requests(args: &SendArgs, now: Timestamp) -> Result<Vec<SendRequest>, Fault> {
    let tenant = session::tenant("--tenant", &args.tenant)?;
    let first = session::phone("--to", &args.to)?;
    let pairs = args.variables.iter().map(|pair| session::name_and_value("--var", pair));
    let variables: BTreeMap<String, String> = pairs
        .map(|pair| pair.map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect::<Result<_, _>>()?;
    let deadline = args.deadline.as_deref().map(|text| deadline(text, now)).transpose()?;
    let key = args
        .key
        .clone()
        .unwrap_or_else(|| format!("cli-{}-{}", now.as_millis(), std::process::id()));
    let numbered = |n: u32| {
        if args.count == 1 { key.clone() } else { format!("{key}-{}", n + 1) }
    };
    (0..args.count)
        .map(|n| {
            Ok(SendRequest {
                order_id: args.order_id.clone(),
                tenant: tenant.clone(),
                idempotency_key: IdempotencyKey::new(numbered(n)),
                created_at: now,
                recipient: recipient(&first, n)?,
                template_name: TemplateName::new(&args.template),
                template_language: args.language.clone(),
                variables: variables.clone(),
                campaign: args.campaign.clone(),
                deadline,
                phone_number_id: args.phone_number_id.as_deref().map(PhoneNumberId::new),
            })
        })
        .collect()
}

/// The `n`th number after `first`.
fn recipient(first: &E164, n: u32) -> Result<String, Fault> {
    let digits: u64 = first.as_str().trim_start_matches('+').parse()?;
    let text = format!("+{}", digits + u64::from(n));
    session::phone("--to with --count", &text).map(|number| number.as_str().to_owned())
}

fn deadline(text: &str, now: Timestamp) -> Result<Timestamp, Fault> {
    let wrong = |what: &str| Fault::input(format!("--deadline {text}: {what}"));
    let deadline = match output::parse_moment(text) {
        Some(moment) => moment,
        None => {
            let span: SignedDuration = text.parse().map_err(|_| {
                wrong("write RFC 3339, such as 2030-01-02T03:04:05Z, or a span such as 30m")
            })?;
            Timestamp::from_millis(now.as_millis().saturating_add(span.as_millis() as i64))
        }
    };
    if deadline <= now {
        return Err(wrong("is in the past; give a later time"));
    }
    if deadline.since(now) > DEADLINE_MAX {
        return Err(wrong("is more than 7 days away; give an earlier time"));
    }
    Ok(deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn args() -> SendArgs {
        SendArgs {
            tenant: "acme".into(),
            to: "+15550001111".into(),
            template: "hello".into(),
            language: "en".into(),
            variables: vec!["1=a=b".into()],
            lane: None,
            key: Some("k".into()),
            campaign: None,
            deadline: None,
            phone_number_id: None,
            order_id: None,
            correlation_id: None,
            count: 1,
        }
    }

    fn fault(args: &SendArgs) -> String {
        match requests(args, NOW) {
            Err(Fault::Input(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn one_request_has_the_key_as_given() {
        let found = requests(&args(), NOW).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].idempotency_key.as_str(), "k");
        assert_eq!(found[0].variables["1"], "a=b");
    }

    #[test]
    fn many_requests_count_keys_and_recipients() {
        let found = requests(&SendArgs { count: 3, ..args() }, NOW).unwrap();
        let pairs: Vec<_> = found
            .iter()
            .map(|request| (request.idempotency_key.as_str(), request.recipient.as_str()))
            .collect();
        let expected = [("k-1", "+15550001111"), ("k-2", "+15550001112"), ("k-3", "+15550001113")];
        assert_eq!(pairs, expected);
    }

    #[test]
    fn a_campaign_goes_to_bulk_unless_told_otherwise() {
        assert_eq!(lane(&args()), Lane::Transactional);
        let campaign = SendArgs { campaign: Some("c".into()), ..args() };
        assert_eq!(lane(&campaign), Lane::Bulk);
        let told = SendArgs { lane: Some(LaneName::Transactional), ..campaign };
        assert_eq!(lane(&told), Lane::Transactional);
    }

    #[test]
    fn bad_input_names_the_argument_and_the_fix() {
        let cases = [
            (SendArgs { to: "0155".into(), ..args() }, "--to 0155", "as +15551234567"),
            (SendArgs { variables: vec!["x".into()], ..args() }, "--var x", "--var NAME=VALUE"),
            (SendArgs { tenant: String::new(), ..args() }, "--tenant", "name a tenant"),
            (
                SendArgs { deadline: Some("soon".into()), ..args() },
                "--deadline soon",
                "such as 30m",
            ),
            (SendArgs { deadline: Some("8d".into()), ..args() }, "--deadline 8d", "30m"),
            (SendArgs { deadline: Some("200h".into()), ..args() }, "--deadline 200h", "earlier"),
            (
                SendArgs { deadline: Some("2001-01-01T00:00:00Z".into()), ..args() },
                "--deadline 2001",
                "later time",
            ),
        ];
        for (args, argument, fix) in cases {
            let text = fault(&args);
            assert!(text.starts_with(argument) && text.contains(fix), "{text}");
        }
    }

    #[test]
    fn a_span_counts_from_now() {
        let found = requests(&SendArgs { deadline: Some("2h".into()), ..args() }, NOW).unwrap();
        assert_eq!(found[0].deadline.map(Timestamp::as_millis), Some(1_700_007_200_000));
    }
}
