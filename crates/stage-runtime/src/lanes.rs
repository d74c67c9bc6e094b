//! Reading the input topics, one consumer per class of urgency.
//!
//! The classes are read by consumers of their own so that bulk can wait while transactional flows:
//! a consumer that is not polled simply stops fetching when its small queue is full.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use sendplane_domain::time::Timestamp;
use sendplane_stage_api::{InputClass, InputTopic};

use crate::client;
use crate::config::RuntimeConfig;
use crate::error::Error;

/// A record taken from Kafka, owned.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    /// Index into the stage's inputs.
    pub input: usize,
    pub partition: i32,
    pub offset: i64,
    pub timestamp: Timestamp,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// The global tables were caught up after this record had been fetched.
    pub globals_current: bool,
}

/// Where to read next: (input index, partition, offset).
pub(crate) type ReadFrom = (usize, i32, i64);

pub(crate) struct Lanes {
    inputs: &'static [InputTopic],
    readers: Vec<(InputClass, BaseConsumer)>,
}

impl Lanes {
    pub fn new(config: &RuntimeConfig, inputs: &'static [InputTopic]) -> Result<Self, Error> {
        let mut readers = Vec::new();
        for class in InputClass::ALL {
            if inputs.iter().any(|input| input.class == class) {
                let reader =
                    client::lane(config, class).create().map_err(Error::kafka("create reader"))?;
                readers.push((class, reader));
            }
        }
        Ok(Self { inputs, readers })
    }

    /// Reads exactly these partitions from now on; what was prefetched is forgotten.
    pub fn assign(&self, positions: &[ReadFrom]) -> Result<(), Error> {
        for (class, reader) in &self.readers {
            let mut list = TopicPartitionList::new();
            for (input, partition, offset) in positions {
                let input = &self.inputs[*input];
                if input.class == *class {
                    list.add_partition_offset(input.topic, *partition, Offset::Offset(*offset))
                        .map_err(Error::kafka("set a start offset"))?;
                }
            }
            reader.assign(&list).map_err(Error::kafka("assign inputs"))?;
            // A pause outlives its assignment in librdkafka.
            reader.resume(&list).map_err(Error::kafka("resume inputs"))?;
        }
        Ok(())
    }

    /// Fetches no more of this input until it is resumed; what was prefetched is read again then.
    pub fn pause(&self, input: usize, partition: i32) -> Result<(), Error> {
        let (reader, list) = self.at(input, partition)?;
        reader.pause(&list).map_err(Error::kafka("pause an input"))
    }

    /// Goes on where the pause began.
    pub fn resume(&self, input: usize, partition: i32) -> Result<(), Error> {
        let (reader, list) = self.at(input, partition)?;
        reader.resume(&list).map_err(Error::kafka("resume an input"))
    }

    fn at(
        &self,
        input: usize,
        partition: i32,
    ) -> Result<(&BaseConsumer, TopicPartitionList), Error> {
        let input = &self.inputs[input];
        let reader = self.readers.iter().find(|(class, _)| *class == input.class);
        let (_, reader) =
            reader.ok_or_else(|| Error::Unsafe(format!("no reader for {}", input.topic)))?;
        let mut list = TopicPartitionList::new();
        list.add_partition(input.topic, partition);
        Ok((reader, list))
    }

    /// Fetches into `sink`, most urgent class first, at most `limit` records and per class as many
    /// as `room` allows. A class is read only when every earlier one has nothing more right now.
    pub fn fetch(
        &self,
        mut limit: usize,
        room: &dyn Fn(InputClass) -> usize,
        sink: &mut dyn FnMut(InputClass, Fetched),
    ) -> Result<(), Error> {
        for (class, reader) in &self.readers {
            let mut room = room(*class);
            while limit > 0 && room > 0 {
                let Some(record) = self.poll(reader, Duration::ZERO)? else {
                    break;
                };
                sink(*class, record);
                limit -= 1;
                room -= 1;
            }
        }
        Ok(())
    }

    /// Waits up to `timeout` for a record of the class that should be answered fastest.
    pub fn wait(
        &self,
        timeout: Duration,
        sink: &mut dyn FnMut(InputClass, Fetched),
    ) -> Result<(), Error> {
        let preferred = self
            .readers
            .iter()
            .find(|(class, _)| *class == InputClass::Transactional)
            .or_else(|| self.readers.first());
        if let Some((class, reader)) = preferred
            && let Some(record) = self.poll(reader, timeout)?
        {
            sink(*class, record);
        }
        Ok(())
    }

    /// The next offset `input` will be read from in `partition`, past control records too. `None`
    /// until something was read.
    pub fn position(&self, input: usize, partition: i32) -> Option<i64> {
        let input = &self.inputs[input];
        let (_, reader) = self.readers.iter().find(|(class, _)| *class == input.class)?;
        let positions = reader.position().ok()?;
        let raw = positions.find_partition(input.topic, partition)?.offset().to_raw()?;
        // Offsets below zero are librdkafka's words for "not known".
        (raw >= 0).then_some(raw)
    }

    fn poll(&self, reader: &BaseConsumer, timeout: Duration) -> Result<Option<Fetched>, Error> {
        match reader.poll(timeout) {
            None => Ok(None),
            Some(Ok(message)) => Ok(self.owned(&message)),
            Some(Err(error)) => match error {
                KafkaError::MessageConsumption(
                    RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
                ) => Err(Error::Unsafe(format!(
                    "records this stage has not read are gone from its input ({error}): retention \
                     is shorter than the lag. Nothing is skipped; reset the group's offsets \
                     deliberately"
                ))),
                KafkaError::MessageConsumption(
                    RDKafkaErrorCode::TopicAuthorizationFailed
                    | RDKafkaErrorCode::GroupAuthorizationFailed,
                ) => Err(Error::Kafka { doing: "read inputs", source: error }),
                // Brokers come and go; librdkafka reconnects by itself.
                _ => {
                    tracing::debug!(%error, "input reader");
                    Ok(None)
                }
            },
        }
    }

    fn owned(&self, message: &BorrowedMessage<'_>) -> Option<Fetched> {
        let input = self.inputs.iter().position(|input| input.topic == message.topic())?;
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            headers
                .iter()
                .map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec)))
                .collect()
        });
        Some(Fetched {
            input,
            partition: message.partition(),
            offset: message.offset(),
            timestamp: Timestamp::from_millis(message.timestamp().to_millis().unwrap_or(0)),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
            globals_current: false,
        })
    }
}
