//! Between the bytes of the log and the records of status-reconcile.

use sendplane_stage_api::{Codec, Encoded, RawRecord, Undecoded};
use sendplane_wire::codec::{Decoder, Encoder};
use sendplane_wire::record::{AdmittedMessage, Attempt, Decision, Outcome, Receipt};
use sendplane_wire::topic;

use super::{Record, StatusReconcile};
use crate::schemas::{Schemas, encoded, undecoded, unexpected_topic};

/// Decodes and encodes the records of [`StatusReconcile`].
pub struct StatusReconcileCodec {
    admitted_transactional: Decoder<AdmittedMessage>,
    admitted_bulk: Decoder<AdmittedMessage>,
    decisions: Decoder<Decision>,
    attempts: Decoder<Attempt>,
    receipts: Decoder<Receipt>,
    outcomes: Encoder<Outcome>,
}

impl StatusReconcileCodec {
    /// With the registry's schemas.
    pub fn new(schemas: &Schemas) -> Self {
        Self {
            admitted_transactional: schemas.decoder(topic::ADMITTED_TRANSACTIONAL),
            admitted_bulk: schemas.decoder(topic::ADMITTED_BULK),
            decisions: schemas.decoder(topic::DECISIONS),
            attempts: schemas.decoder(topic::ATTEMPTS),
            receipts: schemas.decoder(topic::RECEIPTS),
            outcomes: schemas.encoder(topic::OUTCOMES),
        }
    }
}

impl Codec<StatusReconcile> for StatusReconcileCodec {
    fn decode(&self, raw: &RawRecord<'_>) -> Result<Record, Undecoded> {
        match raw.topic {
            topic::ADMITTED_TRANSACTIONAL => self
                .admitted_transactional
                .decode(raw.value)
                .map(|record| Record::Admitted(Box::new(record))),
            topic::ADMITTED_BULK => self
                .admitted_bulk
                .decode(raw.value)
                .map(|record| Record::Admitted(Box::new(record))),
            topic::DECISIONS => {
                self.decisions.decode(raw.value).map(|record| Record::Decision(Box::new(record)))
            }
            topic::ATTEMPTS => {
                self.attempts.decode(raw.value).map(|record| Record::Attempt(Box::new(record)))
            }
            topic::RECEIPTS => {
                self.receipts.decode(raw.value).map(|record| Record::Receipt(Box::new(record)))
            }
            other => return Err(unexpected_topic(other)),
        }
        .map_err(undecoded)
    }

    fn decode_global(&self, raw: &RawRecord<'_>) -> Result<(), Undecoded> {
        Err(unexpected_topic(raw.topic))
    }

    fn encode(&self, outcome: &Outcome) -> Result<Encoded, String> {
        encoded(&self.outcomes, outcome.tenant.as_str(), outcome)
    }
}
