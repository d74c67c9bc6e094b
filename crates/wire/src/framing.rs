//! Confluent's framing of a value: a zero byte, the schema id as a big-endian `u32`, the datum.

/// First byte of every framed value.
pub const MAGIC: u8 = 0;

/// Bytes before the datum.
pub const HEADER_LEN: usize = 5;

/// Why a value is not framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingFault {
    /// Fewer bytes than the header has; holds how many there are.
    #[error("value of {0} bytes is too short for schema framing")]
    TooShort(usize),
    /// Another first byte than [`MAGIC`].
    #[error("first byte is {0:#04x}, not the magic byte 0x00")]
    BadMagic(u8),
}

/// The header that goes before a datum written with schema `id`.
pub fn header(id: u32) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = id.to_be_bytes();
    [MAGIC, a, b, c, d]
}

/// Splits a framed value into schema id and datum.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), FramingFault> {
    // The first byte says more about a foreign value than its length does.
    if let Some(&first) = value.first()
        && first != MAGIC
    {
        return Err(FramingFault::BadMagic(first));
    }
    let [_, a, b, c, d, datum @ ..] = value else {
        return Err(FramingFault::TooShort(value.len()));
    };
    Ok((u32::from_be_bytes([*a, *b, *c, *d]), datum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_what_header_starts() {
        let mut value = header(0x0102_0304).to_vec();
        value.extend_from_slice(b"datum");
        assert_eq!(value[..HEADER_LEN], [0, 1, 2, 3, 4]);
        assert_eq!(split(&value), Ok((0x0102_0304, b"datum".as_slice())));
    }

    #[test]
    fn names_each_fault() {
        assert_eq!(split(b""), Err(FramingFault::TooShort(0)));
        assert_eq!(split(&[0, 0, 0, 1]), Err(FramingFault::TooShort(4)));
        assert_eq!(split(&[0, 0, 0, 0, 1]), Ok((1, [].as_slice())));
        assert_eq!(split(b"{\"tenant\":1}"), Err(FramingFault::BadMagic(b'{')));
        assert_eq!(split(&[1]), Err(FramingFault::BadMagic(1)));
    }
}
