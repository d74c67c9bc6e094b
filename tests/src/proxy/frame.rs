//! Frames of the Kafka protocol, read as far as a fault needs: who asks for what, and the number by
//! which the answer is known.
//!
//! Source of the encodings: <https://kafka.apache.org/protocol>. Every message is a 4-byte length and
//! a body. A request's body begins with api key, version, correlation id and client id (a nullable
//! string with a 2-byte length, in flexible versions too); an answer's with the correlation id.

use std::io::{self, Read};

/// Longer frames are no Kafka: the brokers of the local stack take at most 8 MiB.
const FRAME_BYTES_MAX: usize = 64 << 20;

/// A kind of request, by its api key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Api(pub i16);

#[expect(missing_docs, reason = "the protocol's own names")]
impl Api {
    pub const PRODUCE: Self = Self(0);
    pub const FETCH: Self = Self(1);
    pub const LIST_OFFSETS: Self = Self(2);
    pub const METADATA: Self = Self(3);
    pub const OFFSET_FETCH: Self = Self(9);
    pub const FIND_COORDINATOR: Self = Self(10);
    pub const JOIN_GROUP: Self = Self(11);
    pub const HEARTBEAT: Self = Self(12);
    pub const LEAVE_GROUP: Self = Self(13);
    pub const SYNC_GROUP: Self = Self(14);
    pub const INIT_PRODUCER_ID: Self = Self(22);
    pub const ADD_PARTITIONS_TO_TXN: Self = Self(24);
    pub const ADD_OFFSETS_TO_TXN: Self = Self(25);
    pub const END_TXN: Self = Self(26);
    pub const TXN_OFFSET_COMMIT: Self = Self(28);

    /// The first flexible version, for requests whose body begins with a subject.
    fn flexible_from(self) -> Option<i16> {
        match self {
            Self::PRODUCE => Some(9),
            Self::JOIN_GROUP => Some(6),
            Self::HEARTBEAT | Self::LEAVE_GROUP | Self::SYNC_GROUP => Some(4),
            Self::INIT_PRODUCER_ID => Some(2),
            Self::ADD_PARTITIONS_TO_TXN
            | Self::ADD_OFFSETS_TO_TXN
            | Self::END_TXN
            | Self::TXN_OFFSET_COMMIT => Some(3),
            _ => None,
        }
    }
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub api: Api,
    /// In which version.
    pub version: i16,
    /// The answer carries the same.
    pub correlation: i32,
    /// `client.id` of the sender, empty if it has none.
    pub client: String,
    /// The transactional id or the group the request is about, where its body begins with one.
    pub subject: Option<String>,
}

impl Request {
    /// Reads a frame's head. `None` when it is no request.
    pub fn parse(frame: &[u8]) -> Option<Self> {
        let mut rest = frame.get(4..)?;
        let api = Api(take_i16(&mut rest)?);
        let version = take_i16(&mut rest)?;
        let correlation = i32::from_be_bytes(take(&mut rest)?);
        let client = take_string(&mut rest)?.unwrap_or_default();
        let subject = api.flexible_from().and_then(|flexible| {
            if version < flexible {
                return take_string(&mut rest)?;
            }
            // Tagged fields of the header: no client sends any.
            if take_varint(&mut rest)? != 0 {
                return None;
            }
            let length = (take_varint(&mut rest)? as usize).checked_sub(1)?;
            String::from_utf8(rest.get(..length)?.to_vec()).ok()
        });
        Some(Self { api, version, correlation, client, subject })
    }
}

/// The correlation id of an answer's frame.
pub fn correlation_of(answer: &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(take(&mut answer.get(4..)?)?))
}

/// One whole frame, its length included. `None` at the end of the stream.
pub fn read_frame(stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut head = [0; 4];
    let mut read = 0;
    while read < head.len() {
        match stream.read(&mut head[read..])? {
            0 if read == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => read += count,
        }
    }
    let length = i32::from_be_bytes(head);
    if !(0..=FRAME_BYTES_MAX as i32).contains(&length) {
        return Err(io::Error::other(format!("a frame of {length} bytes is no Kafka")));
    }
    let mut frame = head.to_vec();
    frame.resize(4 + length as usize, 0);
    stream.read_exact(&mut frame[4..])?;
    Ok(Some(frame))
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn take_i16(rest: &mut &[u8]) -> Option<i16> {
    take(rest).map(i16::from_be_bytes)
}

/// A nullable string; the outer `None` is a frame that ends too early.
fn take_string(rest: &mut &[u8]) -> Option<Option<String>> {
    let length = take_i16(rest)?;
    let Ok(length) = usize::try_from(length) else {
        return Some(None);
    };
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(Some(String::from_utf8_lossy(text).into_owned()))
}

fn take_varint(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let [byte] = take(rest)?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte per call, as a slow network may.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = 1.min(buffer.len()).min(self.0.len());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn framed(body: &[u8]) -> Vec<u8> {
        [&(body.len() as i32).to_be_bytes()[..], body].concat()
    }

    fn request(api: i16, version: i16, client: Option<&str>, rest: &[u8]) -> Vec<u8> {
        let mut body =
            [&api.to_be_bytes()[..], &version.to_be_bytes(), &7_i32.to_be_bytes()].concat();
        match client {
            Some(client) => {
                body.extend((client.len() as i16).to_be_bytes());
                body.extend(client.as_bytes());
            }
            None => body.extend((-1_i16).to_be_bytes()),
        }
        body.extend(rest);
        framed(&body)
    }

    #[test]
    fn frames_are_cut_at_their_lengths_however_they_arrive() {
        let stream = [framed(b"one"), framed(b""), framed(b"three")].concat();
        let mut trickle = Trickle(&stream);
        let mut found = Vec::new();
        while let Some(frame) = read_frame(&mut trickle).expect("reads") {
            found.push(frame);
        }
        assert_eq!(found, [framed(b"one"), framed(b""), framed(b"three")]);
    }

    #[test]
    fn half_a_frame_and_an_absurd_length_are_errors() {
        for cut in 1..framed(b"one").len() {
            assert!(read_frame(&mut &framed(b"one")[..cut]).is_err(), "cut at {cut}");
        }
        for length in [-1, i32::MAX] {
            assert!(read_frame(&mut &length.to_be_bytes()[..]).is_err(), "{length}");
        }
    }

    #[test]
    fn the_subject_is_found_in_plain_and_in_flexible_versions() {
        let plain = request(26, 1, Some("c"), b"\0\x04t-id\0\0\0\0");
        let expected = Request {
            api: Api::END_TXN,
            version: 1,
            correlation: 7,
            client: "c".into(),
            subject: Some("t-id".into()),
        };
        assert_eq!(Request::parse(&plain), Some(expected.clone()));
        let flexible = request(26, 3, Some("c"), b"\0\x05t-id\0\0\0\0");
        assert_eq!(Request::parse(&flexible), Some(Request { version: 3, ..expected }));
    }

    #[test]
    fn what_has_no_subject_or_no_client_is_still_a_request() {
        let metadata = Request::parse(&request(3, 9, None, b"\0\x02")).expect("a request");
        assert_eq!((metadata.client.as_str(), metadata.subject), ("", None));
        // A producer without transactions.
        let plain =
            Request::parse(&request(0, 7, Some("p"), b"\xff\xff\0\x01")).expect("a request");
        assert_eq!(plain.subject, None);
        let flexible = Request::parse(&request(0, 9, Some("p"), b"\0\0\0\x01")).expect("a request");
        assert_eq!(flexible.subject, None);
    }

    #[test]
    fn a_frame_that_ends_too_early_is_no_request() {
        let whole = request(26, 1, Some("client"), b"");
        for cut in 0..whole.len() {
            assert_eq!(Request::parse(&whole[..cut]), None, "cut at {cut}");
        }
        // The head is whole, the body is not: a request without a subject.
        let cut = Request::parse(&request(26, 1, Some("c"), b"\0\x09t-id")).expect("a request");
        assert_eq!(cut.subject, None);
    }

    #[test]
    fn an_answer_is_known_by_its_correlation() {
        assert_eq!(correlation_of(&framed(&[0, 0, 1, 2, 9, 9])), Some(258));
        assert_eq!(correlation_of(&framed(&[0, 0, 1])), None);
    }
}
