//! The RocksDB stores: one per task, one cache and one write-buffer budget per process.
//!
//! A single column family makes every batch atomic. The write-ahead log is on and not synced: it
//! survives the process, and Kafka is what survives the machine.

mod gaps;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rocksdb::perf::{PerfContext, PerfMetric};
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, IteratorMode, Options,
    ReadOptions, WriteBatch, WriteBufferManager,
};
use sendplane_stage_api::commit::{COMMIT_KEY, CommitRecord};
use sendplane_stage_api::overlay::{StateReader, Visit, Writes};
use sendplane_stage_api::table::{TableValue, decode_value, encode_value};
use serde::{Deserialize, Serialize};

use crate::config::RuntimeConfig;
use crate::error::Error;
use gaps::Gaps;

/// One memtable of one store.
const MEMTABLE_BYTES: usize = 8 << 20;

/// One part of an index or a filter.
const METADATA_BLOCK_BYTES: usize = 4 << 10;

/// A reader that had to pass so many tombstones to the next entry spares the next reader that.
const TOMBSTONES_WORTH_A_GAP: u64 = 16;

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
        Ok(Store { db, gaps: Mutex::default(), partition, dir: path.to_owned() })
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
    gaps: Mutex<Gaps>,
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
        Ok(Self { db, gaps: Mutex::default(), partition, dir: path.to_owned() })
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
        let mut gaps = self.gaps();
        for (key, value) in writes {
            match value {
                Some(value) => {
                    batch.put(key, value);
                    gaps.wrote(key);
                }
                None => batch.delete(key),
            }
        }
        batch.put(COMMIT_KEY, commit.encode());
        self.write(batch, Position { next_offset, complete: true })?;
        let deleted = writes.iter().filter(|(_, value)| value.is_none());
        deleted.for_each(|(key, _)| gaps.removed(key));
        Ok(())
    }

    /// Applies a batch that was folded from the changelog.
    pub fn apply_folded(&self, batch: &sendplane_stage_api::commit::Batch) -> Result<(), Error> {
        self.gaps().forget();
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

    fn gaps(&self) -> MutexGuard<'_, Gaps> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
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
        // The raw iterator, because the other one is an entry ahead, and with it maybe past the next
        // tombstones.
        let mut entries = self.db.raw_iterator_opt(options);
        let mut from = from.to_vec();
        let mut is_placed = false;
        loop {
            let gap_end = self.gaps().first_after(&from);
            if gap_end.as_deref().is_some_and(|end| end >= to) {
                return Ok(());
            }
            let passed = tombstones_passed();
            match &gap_end {
                Some(end) => entries.seek(end),
                None if is_placed => entries.next(),
                None => entries.seek(&from),
            }
            is_placed = true;
            // Not valid: the end of the range, or a failure.
            entries.status().map_err(|error| error.to_string())?;
            if gap_end.is_some() || tombstones_passed() - passed >= TOMBSTONES_WORTH_A_GAP {
                self.gaps().learn(&from, entries.key().unwrap_or(to));
            }
            let Some((key, value)) = entries.item() else { return Ok(()) };
            if visit(key, value).is_break() {
                return Ok(());
            }
            from = gaps::successor(key);
        }
    }
}

/// How many tombstones the iterators of this thread have passed so far.
fn tombstones_passed() -> u64 {
    thread_local! {
        static CONTEXT: PerfContext = PerfContext::default();
    }
    CONTEXT.with(|context| context.metric(PerfMetric::InternalDeleteSkippedCount))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    use proptest::prelude::*;
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
    fn what_was_deleted_at_the_head_is_passed_once() {
        let dir = tempfile::tempdir().expect("temp dir");
        let store = stores(dir.path()).open(0).expect("opens");
        let key = |n: u16| [&[1, 0][..], &n.to_be_bytes()].concat();
        let all = (0..1_000).map(|n| (key(n), Some(vec![7]))).collect();
        store.apply(&all, &commit(1), 1).expect("writes");
        let head = || {
            let before = tombstones_passed();
            let mut first = None;
            let result = store.scan(&[1, 0], &[1, 1], &mut |key, _| {
                first = Some(key.to_vec());
                ControlFlow::Break(())
            });
            assert_eq!(result, Ok(()));
            (first, tombstones_passed() - before)
        };
        let deleted = |range: std::ops::Range<u16>| range.map(|n| (key(n), None)).collect();
        store.apply(&deleted(0..900), &commit(2), 2).expect("writes");
        assert_eq!(head(), (Some(key(900)), 900));
        assert_eq!(head(), (Some(key(900)), 0), "the second reader jumps");
        store.apply(&deleted(900..910), &commit(3), 3).expect("writes");
        assert_eq!(head(), (Some(key(910)), 9), "only what was deleted since");
        assert_eq!(head(), (Some(key(910)), 0));
        let urgent = Writes::from([(key(5), Some(vec![8]))]);
        store.apply(&urgent, &commit(4), 4).expect("writes");
        assert_eq!(head(), (Some(key(5)), 0), "what comes later is found");
        store.apply(&deleted(5..6), &commit(5), 5).expect("writes");
        assert_eq!(head(), (Some(key(910)), 0));
        store.apply(&deleted(911..990), &commit(6), 6).expect("writes");
        let second = || {
            let before = tombstones_passed();
            let mut keys = Vec::new();
            let result = store.scan(&[1, 0], &[1, 1], &mut |key, _| {
                keys.push(key.to_vec());
                if keys.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            assert_eq!((result, keys), (Ok(()), vec![key(910), key(990)]));
            tombstones_passed() - before
        };
        assert_eq!((second(), second()), (79, 0), "behind the head as well");
        store.apply(&deleted(910..911), &commit(7), 7).expect("writes");
        store.apply(&deleted(990..1_000), &commit(8), 8).expect("writes");
        assert_eq!(head(), (None, 9));
        assert_eq!(head(), (None, 0));
    }

    /// What happens to a store: keys `at..at + count` are put, or deleted, or looked for.
    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8),
        Delete(u8, u8),
        Scan(u8, u8, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (any::<u8>(), 1_u8..80).prop_map(|(at, count)| Step::Put(at, count)),
            (any::<u8>(), 1_u8..80).prop_map(|(at, count)| Step::Delete(at, count)),
            (any::<u8>(), any::<u8>(), 1_usize..90)
                .prop_map(|(from, to, limit)| Step::Scan(from, to, limit)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever was deleted before: a scan finds what a plain map holds.
        #[test]
        fn a_scan_equals_a_plain_map(steps in prop::collection::vec(step(), 1..40)) {
            let dir = tempfile::tempdir().expect("temp dir");
            let store = stores(dir.path()).open(0).expect("opens");
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            for (n, step) in steps.into_iter().enumerate() {
                let change = |at: u8, count: u8, value: Option<Vec<u8>>| -> Writes {
                    (at..at.saturating_add(count)).map(|k| (vec![1, k], value.clone())).collect()
                };
                let writes = match step {
                    Step::Put(at, count) => change(at, count, Some(vec![n as u8])),
                    Step::Delete(at, count) => change(at, count, None),
                    Step::Scan(from, to, limit) => {
                        let read = |state: &dyn StateReader| {
                            let mut found = Vec::new();
                            let visited = state.scan(&[1, from], &[1, to], &mut |key, value| {
                                found.push((key.to_vec(), value.to_vec()));
                                if found.len() < limit {
                                    ControlFlow::Continue(())
                                } else {
                                    ControlFlow::Break(())
                                }
                            });
                            visited.map(|()| found)
                        };
                        prop_assert_eq!(read(&store), read(&model));
                        continue;
                    }
                };
                for (key, value) in &writes {
                    match value {
                        Some(value) => model.insert(key.clone(), value.clone()),
                        None => model.remove(key),
                    };
                }
                store.apply(&writes, &commit(n as u64), n as i64).expect("writes");
            }
        }
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
