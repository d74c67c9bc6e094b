//! Between the bytes of the log and the records of policy.

use sendplane_domain::lane::Lane;
use sendplane_stage_api::{Codec, DeadLetter, Encoded, RawRecord, Undecoded};
use sendplane_wire::codec::{Decoder, Encoder};
use sendplane_wire::record::{
    AdmittedMessage, ConsentChange, Decision, Dispatch, Replan, Suppression,
};
use sendplane_wire::topic;

use super::consent::CONSENT_INVALID;
use super::{Output, Policy, Record};
use crate::directory::{Change, DirectoryCodec};
use crate::schemas::{Schemas, encoded, undecoded, unexpected_topic};

/// Decodes and encodes the records of [`Policy`].
pub struct PolicyCodec {
    admitted_transactional: Decoder<AdmittedMessage>,
    admitted_bulk: Decoder<AdmittedMessage>,
    consent: Decoder<ConsentChange>,
    replans: Decoder<Replan>,
    directory: DirectoryCodec,
    dispatch_transactional: Encoder<Dispatch>,
    dispatch_bulk: Encoder<Dispatch>,
    decisions: Encoder<Decision>,
    suppressions: Encoder<Suppression>,
}

impl PolicyCodec {
    /// With the registry's schemas.
    pub fn new(schemas: &Schemas) -> Self {
        Self {
            admitted_transactional: schemas.decoder(topic::ADMITTED_TRANSACTIONAL),
            admitted_bulk: schemas.decoder(topic::ADMITTED_BULK),
            consent: schemas.decoder(topic::CONSENT),
            replans: schemas.decoder(topic::POLICY_FEEDBACK),
            directory: DirectoryCodec::new(schemas),
            dispatch_transactional: schemas.encoder(topic::DISPATCH_TRANSACTIONAL),
            dispatch_bulk: schemas.encoder(topic::DISPATCH_BULK),
            decisions: schemas.encoder(topic::DECISIONS),
            suppressions: schemas.encoder(topic::SUPPRESSIONS),
        }
    }
}

impl Codec<Policy> for PolicyCodec {
    fn decode(&self, raw: &RawRecord<'_>) -> Result<Record, Undecoded> {
        match raw.topic {
            topic::ADMITTED_TRANSACTIONAL => {
                let message = self.admitted_transactional.decode(raw.value).map_err(undecoded)?;
                Ok(Record::Admitted(Box::new(message)))
            }
            topic::ADMITTED_BULK => {
                let message = self.admitted_bulk.decode(raw.value).map_err(undecoded)?;
                Ok(Record::Admitted(Box::new(message)))
            }
            topic::CONSENT => {
                let change = self.consent.decode(raw.value).map_err(undecoded)?;
                check_key(raw.key, &change)?;
                Ok(Record::Consent(Box::new(change)))
            }
            topic::POLICY_FEEDBACK => {
                let replan = self.replans.decode(raw.value).map_err(undecoded)?;
                Ok(Record::Replan(Box::new(replan)))
            }
            other => Err(unexpected_topic(other)),
        }
    }

    fn decode_global(&self, raw: &RawRecord<'_>) -> Result<Change, Undecoded> {
        self.directory.decode(raw)
    }

    fn encode(&self, output: &Output) -> Result<Encoded, String> {
        match output {
            Output::Dispatch(dispatch) => {
                let encoder = match dispatch.lane {
                    Lane::Transactional => &self.dispatch_transactional,
                    Lane::Bulk => &self.dispatch_bulk,
                };
                encoded(encoder, dispatch.tenant.as_str(), dispatch.as_ref())
            }
            Output::Decision(decision) => {
                encoded(&self.decisions, decision.tenant.as_str(), decision.as_ref())
            }
            Output::Suppression(row) => {
                encoded(&self.suppressions, row.tenant.as_str(), row.as_ref())
            }
        }
    }
}

/// Consent comes from outside: under another key it would lie in a partition where the tenant's
/// messages are not, and protect nobody.
fn check_key(key: Option<&[u8]>, change: &ConsentChange) -> Result<(), Undecoded> {
    if key == Some(change.tenant.as_str().as_bytes()) {
        return Ok(());
    }
    Err(Undecoded::Reject(DeadLetter {
        code: CONSENT_INVALID,
        detail: "key: is not the tenant of the value; produce the change with the tenant as key"
            .into(),
    }))
}
