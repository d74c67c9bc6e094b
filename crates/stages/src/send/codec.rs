//! Bytes to the stage's records and back.

use sendplane_stage_api::{Codec, Encoded, RawRecord, Undecoded};
use sendplane_wire::codec::{Decoder, Encoder};
use sendplane_wire::record::{Attempt, Dispatch, Feedback};
use sendplane_wire::topic;

use super::SendStage;
use crate::directory::{Change, DirectoryCodec};
use crate::schemas::{Schemas, encoded, undecoded, unexpected_topic};

/// A decoded input record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A message to send.
    Dispatch(Box<Dispatch>),
    /// A webhook spoke about an attempt.
    Feedback(Feedback),
}

/// The codec of [`SendStage`].
pub struct SendCodec {
    transactional: Decoder<Dispatch>,
    bulk: Decoder<Dispatch>,
    feedback: Decoder<Feedback>,
    attempts: Encoder<Attempt>,
    directory: DirectoryCodec,
}

impl SendCodec {
    /// With the registry's schemas.
    pub fn new(schemas: &Schemas) -> Self {
        Self {
            transactional: schemas.decoder(topic::DISPATCH_TRANSACTIONAL),
            bulk: schemas.decoder(topic::DISPATCH_BULK),
            feedback: schemas.decoder(topic::FEEDBACK),
            attempts: schemas.encoder(topic::ATTEMPTS),
            directory: DirectoryCodec::new(schemas),
        }
    }
}

impl Codec<SendStage> for SendCodec {
    fn decode(&self, raw: &RawRecord<'_>) -> Result<Record, Undecoded> {
        let dispatch = |decoder: &Decoder<Dispatch>| {
            decoder
                .decode(raw.value)
                .map(|record| Record::Dispatch(Box::new(record)))
        };
        match raw.topic {
            topic::DISPATCH_TRANSACTIONAL => dispatch(&self.transactional),
            topic::DISPATCH_BULK => dispatch(&self.bulk),
            topic::FEEDBACK => self.feedback.decode(raw.value).map(Record::Feedback),
            other => return Err(unexpected_topic(other)),
        }
        .map_err(undecoded)
    }

    fn decode_global(&self, raw: &RawRecord<'_>) -> Result<Change, Undecoded> {
        self.directory.decode(raw)
    }

    fn encode(&self, output: &Attempt) -> Result<Encoded, String> {
        encoded(&self.attempts, output.tenant.as_str(), output)
    }
}
