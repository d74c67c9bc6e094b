//! Placement: which partition owns a tenant.

use serde::{Deserialize, Serialize};

use crate::id::TenantId;

/// What decides the partition. `slot` spreads one huge tenant; today it is always 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardKey {
    /// The tenant.
    pub tenant: TenantId,
    /// Sub-shard of the tenant; 0 is the only slot in use.
    pub slot: u16,
}

impl ShardKey {
    /// The tenant's only slot.
    pub fn of(tenant: TenantId) -> Self {
        Self { tenant, slot: 0 }
    }

    /// The Kafka record key: plain UTF-8.
    pub fn record_key(&self) -> &str {
        self.tenant.as_str()
    }

    /// The owning partition among `partitions`.
    pub fn partition(&self, partitions: u32) -> i32 {
        partition_of(self.record_key().as_bytes(), partitions)
    }
}

/// The partition Kafka's Java client gives to `key` (`BuiltInPartitioner.partitionForKey`).
pub fn partition_of(key: &[u8], partitions: u32) -> i32 {
    assert!(partitions > 0, "a topic has at least one partition");
    ((murmur2(key) & 0x7fff_ffff) % partitions) as i32
}

/// MurmurHash2 with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h: u32 = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors from Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn agrees_with_the_java_client() {
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
    }

    #[test]
    fn a_partition_is_in_range() {
        for n in 0..100 {
            let key = ShardKey::of(TenantId::new(format!("tenant-{n}")));
            assert!((0..4).contains(&key.partition(4)));
        }
    }
}
