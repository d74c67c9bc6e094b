//! What the registry said, on disk: `<dir>/schemas/<id>.avsc` and `<dir>/ids/<subject>`.
//!
//! Registries never change the schema of an id, so that entries do not age. A file appears whole or
//! not at all, and one that cannot be read or written costs a question to the registry, no more.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The cache of one registry.
#[derive(Clone, Debug)]
pub(super) struct DiskCache {
    dir: PathBuf,
}

impl DiskCache {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned() }
    }

    pub fn schema(&self, id: u32) -> Option<String> {
        fs::read_to_string(self.schema_file(id)).ok()
    }

    pub fn put_schema(&self, id: u32, schema_json: &str) {
        self.put(&self.schema_file(id), schema_json);
    }

    pub fn id(&self, subject: &str) -> Option<u32> {
        fs::read_to_string(self.id_file(subject)).ok()?.trim().parse().ok()
    }

    pub fn put_id(&self, subject: &str, id: u32) {
        self.put(&self.id_file(subject), &format!("{id}\n"));
    }

    fn schema_file(&self, id: u32) -> PathBuf {
        self.dir.join("schemas").join(format!("{id}.avsc"))
    }

    fn id_file(&self, subject: &str) -> PathBuf {
        self.dir.join("ids").join(subject)
    }

    fn put(&self, file: &Path, text: &str) {
        if let Err(error) = write_whole(file, text) {
            tracing::warn!(%error, file = %file.display(), "registry cache cannot be written");
        }
    }
}

fn write_whole(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(dir) = file.parent() {
        fs::create_dir_all(dir)?;
    }
    // Processes and threads may share the folder: each unfinished file has a name of its own.
    static UNFINISHED: AtomicU64 = AtomicU64::new(0);
    let number = UNFINISHED.fetch_add(1, Ordering::Relaxed);
    let unfinished = file.with_extension(format!("tmp{}-{number}", std::process::id()));
    let mut handle = fs::File::create(&unfinished)?;
    handle.write_all(text.as_bytes())?;
    handle.sync_all()?;
    fs::rename(&unfinished, file)
}
