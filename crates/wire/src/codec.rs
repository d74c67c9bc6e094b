//! Bytes to record and back: Confluent framing around an Avro datum.
//!
//! Decoding takes one of two paths. A value written with our own schema is read straight into the
//! struct. Any other writer's value is first resolved against our schema as a generic value, which
//! drops fields we do not know, fills in defaults and turns new enum symbols into the default one;
//! apache-avro's direct path can do none of that (measured with 0.22: it panics when given a reader
//! schema and fails on unknown record or enum fields).

mod error;
mod source;
mod writer_check;

use std::collections::HashMap;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::writer::datum::GenericDatumWriter;

use crate::framing::{self, FramingFault};
pub use crate::record::AvroRecord;
pub use error::{DecodeError, EncodeError};
pub use source::{SchemaFault, SchemaSource, StaticSchemas};

/// Upper bound for one allocation while decoding, in bytes: twice the largest record of any topic.
pub const ALLOCATION_MAX: usize = 8 * 1024 * 1024;

/// Writes records of one type for one topic.
pub struct Encoder<R> {
    topic: &'static str,
    id: u32,
    writer: GenericDatumWriter<'static>,
    record: PhantomData<fn(&R)>,
}

impl<R: AvroRecord> Encoder<R> {
    /// `id` is the id under which the registry knows our schema for `topic`.
    pub fn new(topic: &'static str, id: u32) -> Self {
        let writer = GenericDatumWriter::builder(R::schema())
            .build()
            .expect("a compiled-in schema resolves, a test proves it for each of them");
        Self { topic, id, writer, record: PhantomData }
    }

    /// The topic these values are for.
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// The framed value.
    pub fn encode(&self, record: &R) -> Result<Vec<u8>, EncodeError> {
        let mut value = Vec::with_capacity(256);
        value.extend_from_slice(&framing::header(self.id));
        self.writer
            .write_ser(&mut value, record)
            .map_err(|error| EncodeError::new(R::NAME, &error))?;
        Ok(value)
    }
}

/// Reads records of one type from one topic, whoever wrote them.
pub struct Decoder<R> {
    topic: &'static str,
    own_id: Option<u32>,
    own: GenericDatumReader<'static>,
    source: Arc<dyn SchemaSource>,
    foreign: RwLock<HashMap<u32, Foreign>>,
    record: PhantomData<fn() -> R>,
}

/// A schema of another writer, and whether its records can be read at all.
type Foreign = Result<Arc<Schema>, DecodeError>;

impl<R: AvroRecord> Decoder<R> {
    /// `own_id` is the id under which the registry knows our schema for `topic`; without it every
    /// value takes the slower path.
    pub fn new(topic: &'static str, own_id: Option<u32>, source: Arc<dyn SchemaSource>) -> Self {
        // The setting is per process and the first call wins; nothing else in a process decodes
        // Avro before its first decoder exists.
        apache_avro::util::max_allocation_bytes(ALLOCATION_MAX);
        let own = GenericDatumReader::builder(R::schema())
            .build()
            .expect("a compiled-in schema resolves, a test proves it for each of them");
        let foreign = RwLock::default();
        Self { topic, own_id, own, source, foreign, record: PhantomData }
    }

    /// The topic these values come from.
    pub fn topic(&self) -> &'static str {
        self.topic
    }

    /// Reads a record's value; `None` is a Kafka tombstone.
    pub fn decode(&self, value: Option<&[u8]>) -> Result<R, DecodeError> {
        let value = value.ok_or(DecodeError::Tombstone)?;
        let (id, datum) = framing::split(value).map_err(|fault| match fault {
            FramingFault::TooShort(_) => DecodeError::TooShort,
            FramingFault::BadMagic(byte) => DecodeError::BadMagic(byte),
        })?;
        let mut datum = Datum(datum);
        let record = if Some(id) == self.own_id {
            self.own.read_deser(&mut datum).map_err(DecodeError::undecodable)?
        } else {
            let writer = self.writer_schema(id)?;
            decode_foreign(&writer, &mut datum)?
        };
        match datum.0.len() {
            0 => Ok(record),
            rest => Err(DecodeError::TrailingBytes(rest)),
        }
    }

    /// The schema of `id`, if records written with it can become an `R`. The judgement is kept;
    /// faults of the registry are not, so that they can pass.
    fn writer_schema(&self, id: u32) -> Foreign {
        let known = self.foreign.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(known) = known {
            return known;
        }
        let schema = self.source.writer_schema(id).map_err(|fault| match fault {
            SchemaFault::UnknownId(id) => DecodeError::UnknownSchemaId(id),
            SchemaFault::Unavailable(why) => DecodeError::RegistryUnavailable(why),
        })?;
        let judged = writer_check::check::<R>(&schema).map(|()| schema);
        let mut foreign = self.foreign.write().unwrap_or_else(PoisonError::into_inner);
        foreign.insert(id, judged.clone());
        judged
    }
}

fn decode_foreign<R: AvroRecord>(writer: &Schema, datum: &mut Datum) -> Result<R, DecodeError> {
    let value = GenericDatumReader::builder(writer)
        .reader_schema(R::schema())
        .build()
        .and_then(|reader| reader.read_value(datum))
        .map_err(DecodeError::undecodable)?;
    apache_avro::from_value(&value).map_err(DecodeError::undecodable)
}

/// The bytes of a datum. Running out of them is not reported as `UnexpectedEof`: apache-avro 0.22
/// reads that, in the middle of a string, boolean or union, as a null, and a cut-off record would
/// pass as one with its last optional fields unset.
struct Datum<'a>(&'a [u8]);

impl Read for Datum<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() && !buffer.is_empty() {
            return Err(cut_off());
        }
        self.0.read(buffer)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        match self.0.split_at_checked(buffer.len()) {
            Some((head, rest)) => {
                buffer.copy_from_slice(head);
                self.0 = rest;
                Ok(())
            }
            None => Err(cut_off()),
        }
    }
}

fn cut_off() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the value ends inside a field")
}

#[cfg(test)]
mod tests;
