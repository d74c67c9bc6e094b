use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    count: u32,
    label: String,
}

impl TableValue for Row {
    const VERSION: u16 = 2;

    /// Version 1 had no label.
    fn upgrade(version: u16, bytes: &[u8]) -> Result<Self, String> {
        assert_eq!(version, 1);
        let count = postcard::from_bytes(bytes).map_err(|e| e.to_string())?;
        Ok(Row { count, label: String::new() })
    }
}

const ROWS: Table<(String, u64), Row> = Table::new(0x0100, "rows");

fn encoded<K: TableKey>(key: &K) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode(&mut out);
    out
}

#[test]
fn values_of_older_versions_are_upgraded_and_newer_ones_refused() {
    let row = Row { count: 7, label: "x".into() };
    let bytes = encode_value(&row);
    assert_eq!(decode_value::<Row>(&bytes), Ok(row));

    let old = [&[0, 1][..], &postcard::to_stdvec(&7u32).expect("encodes")].concat();
    assert_eq!(decode_value::<Row>(&old), Ok(Row { count: 7, label: String::new() }));

    let mut newer = bytes.clone();
    newer[1] = 3;
    assert_eq!(decode_value::<Row>(&newer), Err(ValueFault::VersionAhead { found: 3, known: 2 }));

    assert!(matches!(decode_value::<Row>(&bytes[..3]), Err(ValueFault::Corrupt(_))));
    assert!(matches!(decode_value::<Row>(&[1]), Err(ValueFault::Corrupt(_))));
}

#[test]
fn a_key_of_another_table_is_not_read() {
    let other: Table<(String, u64), Row> = Table::new(0x0101, "other");
    let key = other.store_key(&("a".to_owned(), 1));
    assert_eq!(ROWS.key_of(&key), None);
    assert_eq!(other.key_of(&key), Some(("a".to_owned(), 1)));
}

proptest! {
    #[test]
    fn keys_round_trip(text in ".*", number: u64, time: i64) {
        let key = (text, number, Timestamp::from_millis(time));
        let bytes = encoded(&key);
        let mut rest = &bytes[..];
        prop_assert_eq!(<(String, u64, Timestamp)>::decode(&mut rest), Some(key));
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn encoding_preserves_order(
        a in ("[\\x00\\x01ab]{0,4}", any::<u64>(), any::<i64>()),
        b in ("[\\x00\\x01ab]{0,4}", any::<u64>(), any::<i64>()),
    ) {
        let key = |(text, number, time): (String, u64, i64)| {
            (text, number, Timestamp::from_millis(time))
        };
        let (a, b) = (key(a), key(b));
        prop_assert_eq!(a.cmp(&b), encoded(&a).cmp(&encoded(&b)));
    }

    #[test]
    fn hostile_bytes_never_panic(bytes: Vec<u8>) {
        let _ = decode_value::<Row>(&bytes);
        let _ = <(String, MessageId)>::decode(&mut &bytes[..]);
    }
}
