//! Bytes of the log to [`Record`], [`Output`] to bytes.

use sendplane_domain::id::SourcePosition;
use sendplane_domain::lane::Lane;
use sendplane_stage_api::{Codec, DeadLetter, Encoded, Header, RawRecord, Undecoded};
use sendplane_wire::codec::{Decoder, Encoder};
use sendplane_wire::record::{
    AdmittedMessage, CancelAnswer, CancelRequest, Cancellation, Decision, Feedback, Notice,
    Receipt, ReroutedRecord, SendRequest, WebhookBody,
};
use sendplane_wire::topic;

use super::{Incoming, Ingest, Output, Record, Webhook};
use crate::directory::{Change, DirectoryCodec};
use crate::schemas::{Schemas, encoded, undecoded, unexpected_topic};

/// The stage's codec.
pub struct IngestCodec {
    directory: DirectoryCodec,
    requests_transactional: Decoder<SendRequest>,
    requests_bulk: Decoder<SendRequest>,
    webhooks: Decoder<WebhookBody>,
    rerouted: Decoder<ReroutedRecord>,
    cancels: Decoder<CancelRequest>,
    admitted_transactional: Encoder<AdmittedMessage>,
    admitted_bulk: Encoder<AdmittedMessage>,
    decisions: Encoder<Decision>,
    receipts: Encoder<Receipt>,
    feedback: Encoder<Feedback>,
    rerouted_out: Encoder<ReroutedRecord>,
    notices: Encoder<Notice>,
    cancellations: Encoder<Cancellation>,
    cancel_answers: Encoder<CancelAnswer>,
}

impl IngestCodec {
    /// With the registry's schemas.
    pub fn new(schemas: &Schemas) -> Self {
        Self {
            directory: DirectoryCodec::new(schemas),
            requests_transactional: schemas.decoder(topic::REQUESTS_TRANSACTIONAL),
            requests_bulk: schemas.decoder(topic::REQUESTS_BULK),
            webhooks: schemas.decoder(topic::WEBHOOKS),
            rerouted: schemas.decoder(topic::REROUTED),
            cancels: schemas.decoder(topic::CANCELS),
            admitted_transactional: schemas.encoder(topic::ADMITTED_TRANSACTIONAL),
            admitted_bulk: schemas.encoder(topic::ADMITTED_BULK),
            decisions: schemas.encoder(topic::DECISIONS),
            receipts: schemas.encoder(topic::RECEIPTS),
            feedback: schemas.encoder(topic::FEEDBACK),
            rerouted_out: schemas.encoder(topic::REROUTED),
            notices: schemas.encoder(topic::NOTICES),
            cancellations: schemas.encoder(topic::CANCELLATIONS),
            cancel_answers: schemas.encoder(topic::CANCEL_ANSWERS),
        }
    }

    /// A request of one of the request topics, `None` for any other topic.
    fn request(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header],
    ) -> Option<Result<Incoming, Undecoded>> {
        let (lane, decoder) = match topic {
            topic::REQUESTS_TRANSACTIONAL => (Lane::Transactional, &self.requests_transactional),
            topic::REQUESTS_BULK => (Lane::Bulk, &self.requests_bulk),
            _ => return None,
        };
        let incoming = decoder.decode(value).map_err(undecoded).map(|request| Incoming {
            lane,
            key: key.map(<[u8]>::to_vec),
            value: value.unwrap_or_default().to_vec(),
            headers: headers.to_vec(),
            request,
        });
        Some(incoming)
    }

    fn forwarded(&self, value: Option<&[u8]>) -> Result<Record, Undecoded> {
        let outer = self.rerouted.decode(value).map_err(undecoded)?;
        let headers: Vec<Header> =
            outer.headers.into_iter().map(|header| (header.name, header.value)).collect();
        let incoming = self
            .request(&outer.source_topic, outer.key.as_deref(), Some(&outer.value), &headers)
            .unwrap_or_else(|| {
                Err(Undecoded::Reject(DeadLetter {
                    code: "unexpected_topic",
                    detail: format!(
                        "records of {:?} are not re-routed, only requests are",
                        outer.source_topic
                    ),
                }))
            })?;
        let source = SourcePosition {
            topic: outer.source_topic,
            partition: outer.source_partition,
            offset: outer.source_offset,
        };
        Ok(Record::Rerouted { source, timestamp: outer.source_timestamp, incoming })
    }
}

impl Codec<Ingest> for IngestCodec {
    fn decode(&self, raw: &RawRecord<'_>) -> Result<Record, Undecoded> {
        match raw.topic {
            topic::WEBHOOKS => {
                let key = raw.key.and_then(|key| std::str::from_utf8(key).ok()).map(str::to_owned);
                match self.webhooks.decode(raw.value).map_err(undecoded) {
                    Ok(body) => Ok(Record::Webhook(Webhook::new(body, key))),
                    // The stage has to know that a webhook was lost.
                    Err(Undecoded::Reject(fault)) => Ok(Record::LostWebhook(fault)),
                    Err(later) => Err(later),
                }
            }
            topic::REROUTED => self.forwarded(raw.value),
            topic::CANCELS => {
                let request = self.cancels.decode(raw.value).map_err(undecoded)?;
                let key = raw.key.map(<[u8]>::to_vec);
                Ok(Record::Cancel { key, request: Box::new(request) })
            }
            other => self
                .request(other, raw.key, raw.value, raw.headers)
                .unwrap_or_else(|| Err(unexpected_topic(other)))
                .map(Record::Request),
        }
    }

    fn decode_global(&self, raw: &RawRecord<'_>) -> Result<Change, Undecoded> {
        self.directory.decode(raw)
    }

    fn encode(&self, output: &Output) -> Result<Encoded, String> {
        match output {
            Output::Admitted(record) => {
                let encoder = match record.lane {
                    Lane::Transactional => &self.admitted_transactional,
                    Lane::Bulk => &self.admitted_bulk,
                };
                encoded(encoder, record.tenant.as_str(), record)
            }
            Output::Decision(record) => encoded(&self.decisions, record.tenant.as_str(), record),
            Output::Receipt(record) => encoded(&self.receipts, record.tenant.as_str(), record),
            Output::Feedback(record) => encoded(&self.feedback, record.tenant.as_str(), record),
            Output::Notice(record) => {
                encoded(&self.notices, record.tenant.as_str(), record.as_ref())
            }
            Output::Cancellation(record) => {
                encoded(&self.cancellations, record.tenant.as_str(), record)
            }
            Output::CancelAnswer(record) => {
                encoded(&self.cancel_answers, record.tenant.as_str(), record)
            }
            Output::Rerouted(record) => encoded(&self.rerouted_out, record.tenant.as_str(), record),
        }
    }
}
