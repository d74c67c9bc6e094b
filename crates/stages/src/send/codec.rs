//! Bytes to the stage's records and back.

use sendplane_domain::lane::Lane;
use sendplane_stage_api::replay::header;
use sendplane_stage_api::{Codec, Encoded, RawRecord, Undecoded};
use sendplane_wire::codec::{Decoder, Encoder};
use sendplane_wire::record::{
    Attempt, CancelAnswer, Cancellation, ConsentChange, Dispatch, Feedback, Notice, Replan,
    Suppression,
};
use sendplane_wire::topic;

use super::{Output, SendStage};
use crate::directory::{Change, DirectoryCodec};
use crate::schemas::{Schemas, encoded, undecoded, unexpected_topic};

/// A decoded input record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A message to send.
    Dispatch(Box<Dispatch>),
    /// A webhook spoke about an attempt.
    Feedback(Feedback),
    /// A contact's consent changed.
    Suppression(Suppression),
    /// A webhook spoke about an account, a number or a template.
    Notice(Box<Notice>),
    /// Somebody withdraws a message.
    Cancellation(Box<Cancellation>),
}

/// The codec of [`SendStage`].
pub struct SendCodec {
    transactional: Decoder<Dispatch>,
    bulk: Decoder<Dispatch>,
    feedback: Decoder<Feedback>,
    suppressions: Decoder<Suppression>,
    notices: Decoder<Notice>,
    cancellations: Decoder<Cancellation>,
    attempts: Encoder<Attempt>,
    replans: Encoder<Replan>,
    consent: Encoder<ConsentChange>,
    cancel_answers: Encoder<CancelAnswer>,
    dead_transactional: Encoder<Dispatch>,
    dead_bulk: Encoder<Dispatch>,
    directory: DirectoryCodec,
}

impl SendCodec {
    /// With the registry's schemas.
    pub fn new(schemas: &Schemas) -> Self {
        Self {
            transactional: schemas.decoder(topic::DISPATCH_TRANSACTIONAL),
            bulk: schemas.decoder(topic::DISPATCH_BULK),
            feedback: schemas.decoder(topic::FEEDBACK),
            suppressions: schemas.decoder(topic::SUPPRESSIONS),
            notices: schemas.decoder(topic::NOTICES),
            cancellations: schemas.decoder(topic::CANCELLATIONS),
            attempts: schemas.encoder(topic::ATTEMPTS),
            replans: schemas.encoder(topic::POLICY_FEEDBACK),
            consent: schemas.encoder(topic::CONSENT),
            cancel_answers: schemas.encoder(topic::CANCEL_ANSWERS),
            dead_transactional: schemas.encoder(topic::DISPATCH_TRANSACTIONAL),
            dead_bulk: schemas.encoder(topic::DISPATCH_BULK),
            directory: DirectoryCodec::new(schemas),
        }
    }
}

impl Codec<SendStage> for SendCodec {
    fn decode(&self, raw: &RawRecord<'_>) -> Result<Record, Undecoded> {
        let dispatch = |decoder: &Decoder<Dispatch>| {
            decoder.decode(raw.value).map(|record| Record::Dispatch(Box::new(record)))
        };
        match raw.topic {
            topic::DISPATCH_TRANSACTIONAL => dispatch(&self.transactional),
            topic::DISPATCH_BULK => dispatch(&self.bulk),
            topic::FEEDBACK => self.feedback.decode(raw.value).map(Record::Feedback),
            topic::SUPPRESSIONS => self.suppressions.decode(raw.value).map(Record::Suppression),
            topic::NOTICES => {
                self.notices.decode(raw.value).map(|record| Record::Notice(Box::new(record)))
            }
            topic::CANCELLATIONS => self
                .cancellations
                .decode(raw.value)
                .map(|record| Record::Cancellation(Box::new(record))),
            other => return Err(unexpected_topic(other)),
        }
        .map_err(undecoded)
    }

    fn decode_global(&self, raw: &RawRecord<'_>) -> Result<Change, Undecoded> {
        self.directory.decode(raw)
    }

    fn encode(&self, output: &Output) -> Result<Encoded, String> {
        match output {
            Output::Attempt(attempt) => {
                encoded(&self.attempts, attempt.tenant.as_str(), &**attempt)
            }
            Output::Replan(replan) => encoded(&self.replans, replan.tenant.as_str(), &**replan),
            Output::OptOut(change) => encoded(&self.consent, change.tenant.as_str(), &**change),
            Output::CancelAnswer(answer) => {
                encoded(&self.cancel_answers, answer.tenant.as_str(), &**answer)
            }
            Output::DeadLetter { dispatch, attempts, why } => {
                self.dead_letter(dispatch, *attempts, why)
            }
        }
    }
}

impl SendCodec {
    /// The dispatch under its own schema, with the headers every dead letter has. Its place in the
    /// dispatch topic is long forgotten; the message id in the value identifies it.
    fn dead_letter(
        &self,
        dispatch: &Dispatch,
        attempts: u32,
        why: &str,
    ) -> Result<Encoded, String> {
        let encoder = match dispatch.lane {
            Lane::Transactional => &self.dead_transactional,
            Lane::Bulk => &self.dead_bulk,
        };
        let tenant = dispatch.tenant.as_str();
        let mut record = encoded(encoder, tenant, dispatch)?;
        let add = |name: &str, value: String| (name.to_owned(), value);
        record.headers = vec![
            add(header::TOPIC, encoder.topic().to_owned()),
            add(header::DELIVERY_COUNT, attempts.to_string()),
            add(header::MESSAGE, format!("given up after {attempts} calls: {why}")),
            add(header::CODE, "attempts_exhausted".to_owned()),
            add(header::STAGE, "send".to_owned()),
            add(header::TENANT, tenant.to_owned()),
        ];
        record.topic = topic::DEAD_LETTERS_SEND;
        Ok(record)
    }
}
