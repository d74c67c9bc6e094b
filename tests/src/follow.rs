//! A consumer that reads along while a test breaks things, as analytics would.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use crate::plane::{LIMIT, Plane};
use crate::verify::Begin;
use crate::wait;

/// Rows of some topics as they become visible to `read_committed`, by the Python client.
pub struct Follower {
    rows: Arc<Mutex<Vec<Value>>>,
    reader: Option<JoinHandle<()>>,
    input: Option<ChildStdin>,
    client: Child,
}

impl Follower {
    /// Reads `topic` from `begin` on.
    pub fn start(plane: &Plane, topic: &str, begin: &Begin) -> Self {
        let mut client = plane
            .python("follow")
            .args(["--topic", topic, "--begin", &begin.to_json()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("python runs");
        let input = client.stdin.take();
        let output = client.stdout.take().expect("piped");
        let rows = Arc::new(Mutex::new(Vec::new()));
        let of_thread = rows.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let row = serde_json::from_str(&line).expect("a JSON line");
                of_thread.lock().unwrap_or_else(PoisonError::into_inner).push(row);
            }
        });
        Self { rows, reader: Some(reader), input, client }
    }

    /// Looks at what was read so far.
    pub fn look<T>(&self, look: impl FnOnce(&[Value]) -> T) -> T {
        look(&self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until this many rows were read, ends, and returns them.
    pub fn finish(mut self, rows: usize) -> Vec<Value> {
        wait::until("the follower has read everything", LIMIT, || {
            (self.look(<[Value]>::len) >= rows).then_some(())
        });
        // One more look for rows that nobody else sees.
        std::thread::sleep(Duration::from_millis(500));
        drop(self.input.take());
        wait::until("the follower ends", LIMIT, || {
            self.client.try_wait().expect("a child can be asked")
        });
        self.reader.take().expect("joined once").join().expect("the reader ends");
        std::mem::take(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}
