//! State directories that are full, gone, or of another release.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use sendplane_stage_runtime::Runtime;
use sendplane_tests::counter::{CountV1, CountV2, Echo};
use sendplane_tests::kafka;
use sendplane_tests::wait;
use tempfile::TempDir;

use crate::case::{Case, LIMIT};
use crate::worker::{config, start_as, start_here, try_start};

fn temp_dir() -> TempDir {
    tempfile::tempdir().expect("temp dir")
}

fn await_stop(runtime: Runtime) -> String {
    wait::until("the stage stops", LIMIT, || (!runtime.is_running()).then_some(()));
    runtime.stop().expect_err("it stopped with an error").to_string()
}

/// A small file system in memory.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn mount(size: &str) -> Option<Self> {
        let disk = Self { dir: temp_dir() };
        let options = format!("size={size}");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "sendplane-test"])
            .arg(disk.path())
            .output();
        mounted.is_ok_and(|output| output.status.success()).then_some(disk)
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes the space that is left, but for less than one page.
    fn fill(&self, name: &str) -> PathBuf {
        let file = self.path().join(name);
        let mut size = 64 << 20;
        let mut content: Vec<u8> = Vec::new();
        while size >= 4096 {
            content.resize(content.len() + size, 1);
            if std::fs::write(&file, &content).is_err() {
                content.truncate(content.len() - size);
                size /= 2;
            }
        }
        std::fs::write(&file, &content).expect("the largest size that fits fits again");
        file
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).output();
    }
}

/// Goal: a stage whose disk fills up stops, names the directory and the fix, does not come back
/// before there is space, and then loses nothing and repeats nothing.
#[test]
fn a_full_disk_stops_the_stage_and_loses_nothing() {
    let Some(disk) = SmallDisk::mount("80m") else {
        println!("SKIPPED: a_full_disk_stops_the_stage_and_loses_nothing needs to mount a tmpfs");
        return;
    };
    let case = Case::new("full");
    let (runtime, health) = start_here(case.name, config("a", disk.path(), &case.bootstrap));
    let mut expected = case.warm_up();
    let hog = disk.fill("somebody-elses");
    // RocksDB has reserved the first part of its write-ahead logs: this is more.
    let producer = kafka::producer(&case.bootstrap);
    for count in 0..120 {
        let key = format!("{count}-{}", "k".repeat(100_000));
        kafka::send(&producer, case.topics.input, 0, &key, b"x");
        expected.insert(key, 1);
    }
    kafka::flush(&producer);
    let error = await_stop(runtime);
    let dir = disk.path().display().to_string();
    assert!(error.contains(&dir) && error.contains("Free space"), "{error}");
    assert!(!health.is_ready() && health.obstacles().values().any(|reason| *reason == error));

    // What RocksDB had reserved came free when it closed.
    let more = disk.fill("somebody-elses-too");
    let refused = try_start(case.name, config("a", disk.path(), &case.bootstrap));
    let error = refused.err().expect("there is still no space").to_string();
    assert!(error.contains(&dir) && error.contains("Free space"), "{error}");

    for file in [hog, more] {
        std::fs::remove_file(file).expect("removed");
    }
    let (runtime, _) = start_here(case.name, config("a", disk.path(), &case.bootstrap));
    case.await_exactly(&expected);
    runtime.stop().expect("stops");
    case.audit(&[disk.path()]);
}

/// Goal: state of an older release is read and written on by a newer one; the older one refuses what
/// the newer one has written, from its store as well as from the changelog.
#[test]
fn state_of_an_older_release_is_upgraded_and_of_a_newer_one_refused() {
    let case = Case::new("formats");
    let state = temp_dir();
    let config = |dir: &TempDir| config("a", dir.path(), &case.bootstrap);
    let old = |dir| start_as::<CountV1>(case.name, config(dir), Arc::new(Echo)).0;
    let new = |dir| start_as::<CountV2>(case.name, config(dir), Arc::new(Echo)).0;
    let key = case.key(0, 0);
    let await_count = |count: usize| {
        let found = case.await_outputs(count);
        crate::case::assert_exact(&found, &[(key.clone(), count)].into());
    };

    let runtime = old(&state);
    case.send(0, &key, "x");
    await_count(1);
    runtime.stop().expect("stops");
    // By changelog: an empty disk. Then by the store it has left.
    let restored = temp_dir();
    for (count, dir) in [(2, &restored), (3, &state)] {
        let runtime = new(dir);
        case.send(0, &key, "x");
        await_count(count);
        runtime.stop().expect("stops");
    }
    for dir in [&state, &temp_dir()] {
        let runtime = old(dir);
        case.send(0, &key, "x");
        let error = await_stop(runtime);
        for part in ["table counts", "version 2", "up to 1", "upgrade this instance"] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
    }
    assert_eq!(case.outputs()[&key].len(), 3, "the older release has counted nothing");
    let runtime = new(&state);
    await_count(5);
    runtime.stop().expect("stops");
    case.audit(&[state.path()]);
}

/// Goal: a changelog whose commit records are of a newer release is refused, before anything is
/// taken from it.
#[test]
fn a_newer_commit_record_is_refused() {
    let case = Case::new("newer");
    let state = temp_dir();
    let producer = kafka::producer(&case.bootstrap);
    let record = rdkafka::producer::BaseRecord::<[u8], [u8], ()>::to(&case.topics.changelog)
        .partition(1)
        .key(&sendplane_stage_api::commit::COMMIT_KEY[..])
        .payload(&[0, 9, 1, 2, 3][..]);
    producer.send(record).map_err(|(error, _)| error).expect("sends");
    kafka::flush(&producer);
    let (runtime, _) = start_here(case.name, config("a", state.path(), &case.bootstrap));
    let error = await_stop(runtime);
    for part in ["partition 1", "version 9", "up to 1", "upgrade this instance"] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
}
