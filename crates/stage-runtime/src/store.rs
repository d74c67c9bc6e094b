//! The RocksDB stores: one per task, one cache and one write-buffer budget per process.
//!
//! A single column family makes every batch atomic. The write-ahead log is on and not synced: it
//! survives the process, and Kafka is what survives the machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode,
    Options, ReadOptions, WriteBatch, WriteBufferManager,
};
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};
use sendplane_stage_api::overlay::{StateReader, Visit, Writes};
use sendplane_stage_api::table::{TableValue, decode_value, encode_value};
use serde::{Deserialize, Serialize};

use crate::config::RuntimeConfig;
use crate::error::Error;

/// One memtable of one store.
const MEMTABLE_BYTES: usize = 8 << 20;

/// One part of an index or a filter.
const METADATA_BLOCK_BYTES: usize = 4 << 10;

/// Local to this disk, never in the changelog.
const POSITION_KEY: [u8; 2] = [0xff, 0xff];

/// How far the store has followed its changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Next changelog offset to fold.
    pub next_offset: i64,
    /// False while a long restore has spilled records whose commit record is still to come.
    pub complete: bool,
}

impl TableValue for Position {}

/// What all stores of a process share.
#[derive(Clone)]
pub struct Stores {
    dir: PathBuf,
    cache: Cache,
    write_buffers: Arc<WriteBufferManager>,
}

impl Stores {
    /// Stores below `<state dir>/<stage>`.
    pub fn new(config: &RuntimeConfig, stage: &str) -> Self {
        // Memtables are charged to the cache, so that one bound holds for both. They come on top of
        // what blocks may have: with less, full memtables leave the cache no block at all.
        let cache = Cache::new_lru_cache(config.block_cache_bytes + config.write_buffer_bytes);
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(
            config.write_buffer_bytes,
            false,
            cache.clone(),
        );
        Self { dir: config.state_dir.join(stage), cache, write_buffers: Arc::new(write_buffers) }
    }

    /// Opens, or creates, the store of `partition`. An incomplete store is wiped: it is a cache of
    /// the changelog and a half-restored one cannot be told from a torn one.
    pub fn open(&self, partition: i32) -> Result<Store, Error> {
        let path = self.dir.join(partition.to_string());
        let store = self.open_at(&path, partition)?;
        if store.position()?.is_some_and(|position| !position.complete) {
            tracing::warn!(partition, "the store was left in the middle of a restore: wiped");
            drop(store);
            DB::destroy(&Options::default(), &path)
                .map_err(|error| Error::store(&path, partition, error.to_string()))?;
            return self.open_at(&path, partition);
        }
        Ok(store)
    }

    fn open_at(&self, path: &Path, partition: i32) -> Result<Store, Error> {
        std::fs::create_dir_all(path)
            .map_err(|error| Error::store(path, partition, error.to_string()))?;
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_write_buffer_manager(&self.write_buffers);
        options.set_write_buffer_size(MEMTABLE_BYTES);
        options.set_max_write_buffer_number(3);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_bottommost_compression_type(DBCompressionType::Zstd);
        options.set_keep_log_file_num(2);
        options.set_max_open_files(256);
        // Timers and queues delete at their head; this compacts files that are mostly tombstones.
        options.add_compact_on_deletion_collector_factory(4096, 2048, 0.5);
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&self.cache);
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_bloom_filter(10.0, false);
        // In parts of a few KiB: index and filter of a large file are some MiB, and a lookup that
        // misses the cache would read and verify all of that. Half of a send stage's time went there
        // with 200,000 messages waiting.
        blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        blocks.set_partition_filters(true);
        blocks.set_metadata_block_size(METADATA_BLOCK_BYTES);
        blocks.set_pin_top_level_index_and_filter(true);
        blocks.set_format_version(5);
        options.set_block_based_table_factory(&blocks);
        let db = DB::open(&options, path)
            .map_err(|error| Error::store(path, partition, error.to_string()))?;
        Ok(Store { db, partition, dir: path.to_owned() })
    }

    /// Proves that a memtable's worth can be written. Asked before the group gives this instance
    /// anything, so that one whose disk is still full does not take partitions from others.
    pub fn probe(&self) -> Result<(), Error> {
        let file = self.dir.join("space-probe");
        let written = std::fs::create_dir_all(&self.dir)
            .and_then(|()| std::fs::write(&file, vec![0xa5; MEMTABLE_BYTES]));
        // What could not be written has no file either.
        let removed = std::fs::remove_file(&file);
        written.and(removed).map_err(|error| {
            let dir = self.dir.display();
            Error::full(&self.dir, &error.to_string()).unwrap_or_else(|| {
                Error::Unsafe(format!(
                    "the state directory {dir} cannot be written: {error}. Give every instance \
                     a directory of its own that it may write to"
                ))
            })
        })
    }
}

/// The store of one task.
pub struct Store {
    db: DB,
    partition: i32,
    dir: PathBuf,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.partition)
    }
}

impl Store {
    /// Opens a stopped store for reading only.
    pub fn open_read_only(path: &Path, partition: i32) -> Result<Self, Error> {
        let db = DB::open_for_read_only(&Options::default(), path, false)
            .map_err(|error| Error::store(path, partition, error.to_string()))?;
        Ok(Self { db, partition, dir: path.to_owned() })
    }

    /// Where the store stands; `None` for an empty one.
    pub fn position(&self) -> Result<Option<Position>, Error> {
        let Some(bytes) = self.db.get(POSITION_KEY).map_err(|error| self.failed(&error))? else {
            return Ok(None);
        };
        decode_value(&bytes).map(Some).map_err(|fault| self.failed(&format!("position: {fault:?}")))
    }

    /// The commit record the state ends at; `None` for an empty store.
    pub fn last_commit(&self) -> Result<Option<CommitRecord>, Error> {
        let bytes = self.db.get(COMMIT_KEY).map_err(|error| self.failed(&error))?;
        bytes
            .map(|bytes| CommitRecord::decode(&bytes))
            .transpose()
            .map_err(|fault| Error::Fold { partition: self.partition, fault })
    }

    /// Applies a committed transaction at once: data, commit record, changelog position.
    pub fn apply(
        &self,
        writes: &Writes,
        commit: &CommitRecord,
        next_offset: i64,
    ) -> Result<(), Error> {
        let mut batch = WriteBatch::default();
        for (key, value) in writes {
            match value {
                Some(value) => batch.put(key, value),
                None => batch.delete(key),
            }
        }
        batch.put(COMMIT_KEY, commit.encode());
        self.write(batch, Position { next_offset, complete: true })
    }

    /// Applies a batch that was folded from the changelog.
    pub fn apply_folded(&self, batch: &sendplane_stage_api::commit::Batch) -> Result<(), Error> {
        let mut writes = WriteBatch::default();
        for (key, value) in &batch.writes {
            match value {
                Some(value) => writes.put(key, value),
                None => writes.delete(key),
            }
        }
        let complete = batch.commit.is_some();
        self.write(writes, Position { next_offset: batch.next_offset, complete })
    }

    /// Visits every entry that the changelog knows, in key order.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], &[u8])) -> Result<(), Error> {
        for entry in self.db.iterator(IteratorMode::Start) {
            let (key, value) = entry.map_err(|error| self.failed(&error))?;
            if key[..] != POSITION_KEY {
                visit(&key, &value);
            }
        }
        Ok(())
    }

    fn failed(&self, error: &impl ToString) -> Error {
        Error::store(&self.dir, self.partition, error.to_string())
    }

    fn write(&self, mut batch: WriteBatch, position: Position) -> Result<(), Error> {
        batch.put(POSITION_KEY, encode_value(&position));
        self.db.write(batch).map_err(|error| self.failed(&error))
    }
}

impl StateReader for Store {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, String> {
        self.db.get(key).map_err(|error| error.to_string())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), String> {
        if from >= to {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        // Bounds keep a seek from wading through tombstones beyond the range.
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let mode = IteratorMode::From(from, Direction::Forward);
        for entry in self.db.iterator_opt(mode, options) {
            let (key, value) = entry.map_err(|error| error.to_string())?;
            if visit(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    use sendplane_domain::time::Timestamp;
    use sendplane_stage_api::commit::Batch;

    use super::*;

    fn stores(dir: &Path) -> Stores {
        let config = RuntimeConfig { state_dir: dir.to_owned(), ..RuntimeConfig::default() };
        Stores::new(&config, "copy")
    }

    fn commit(txn_seq: u64) -> CommitRecord {
        let inputs = BTreeMap::new();
        let now = Timestamp::from_millis(5);
        CommitRecord { txn_seq, inputs, records: 1, now, partitions: 4 }
    }

    #[test]
    fn data_commit_and_position_survive_reopening() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = stores(dir.path()).open(3).expect("opens");
        assert_eq!(store.position().expect("reads"), None);
        let writes = Writes::from([(vec![1, 0, 1], Some(vec![7])), (vec![1, 0, 2], Some(vec![8]))]);
        store.apply(&writes, &commit(9), 44).expect("writes");
        drop(store);

        let store = stores(dir.path()).open(3).expect("opens");
        let position = Position { next_offset: 44, complete: true };
        assert_eq!(store.position().expect("reads"), Some(position));
        assert_eq!(store.last_commit().expect("reads"), Some(commit(9)));
        assert_eq!(store.get(&[1, 0, 1]), Ok(Some(vec![7])));
        let mut seen = Vec::new();
        let result = store.scan(&[1, 0], &[1, 0, 2], &mut |key, _| {
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        });
        assert_eq!((result, seen), (Ok(()), vec![vec![1, 0, 1]]));
        let mut entries = 0;
        store.for_each(|_, _| entries += 1).expect("reads");
        assert_eq!(entries, 3, "two rows and the commit record, not the local position");
    }

    #[test]
    fn a_half_restored_store_is_wiped() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = stores(dir.path()).open(0).expect("opens");
        let spilled =
            Batch { writes: vec![(vec![1, 0, 1], Some(vec![7]))], commit: None, next_offset: 10 };
        store.apply_folded(&spilled).expect("writes");
        drop(store);
        let store = stores(dir.path()).open(0).expect("opens");
        assert_eq!(store.position().expect("reads"), None);
        assert_eq!(store.get(&[1, 0, 1]), Ok(None));
    }
}
