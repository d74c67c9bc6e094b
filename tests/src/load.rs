//! A stream of requests that flows while a test breaks things.

use std::io::Write;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::plane::{LIMIT, Plane};
use crate::traffic::{Fates, Mix};
use crate::wait;

/// How often the stream is topped up.
const STEP: Duration = Duration::from_millis(20);

/// Loads of this test binary: each has recipients of its own, so that what one left behind cannot
/// spoil the fixed results of the next.
static RUNS: AtomicUsize = AtomicUsize::new(0);
/// Requests of one load, at most.
const REQUESTS_MAX: usize = 20_000;

/// Produces requests at a steady rate with the Python client until it is stopped. Stopping brokers
/// only delays it.
pub struct Load {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<ChildStdin>>,
    client: Child,
}

struct Shared {
    per_second: AtomicU32,
    stop: AtomicBool,
    written: AtomicUsize,
    fates: Mutex<Fates>,
}

impl Load {
    /// Starts the stream; keys are `<prefix>-<n>`.
    pub fn start(plane: &Plane, prefix: &str, mix: Mix, per_second: u32) -> Self {
        Self::start_with(plane, prefix, mix, per_second, &[])
    }

    /// As [`Self::start`], with more arguments for the client's `produce`.
    pub fn start_with(
        plane: &Plane,
        prefix: &str,
        mix: Mix,
        per_second: u32,
        arguments: &[&str],
    ) -> Self {
        let mut client = plane
            .python("produce")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("python runs");
        let input = client.stdin.take().expect("piped");
        let shared = Arc::new(Shared {
            per_second: AtomicU32::new(per_second),
            stop: AtomicBool::new(false),
            written: AtomicUsize::new(0),
            fates: Mutex::default(),
        });
        let (prefix, of_thread) = (prefix.to_owned(), shared.clone());
        let writer = std::thread::spawn(move || of_thread.write(input, &prefix, mix));
        Self { shared, writer: Some(writer), client }
    }

    /// Requests written so far; the broker may not have them yet.
    pub fn written(&self) -> usize {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Changes the rate.
    pub fn set_rate(&self, per_second: u32) {
        self.shared.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Waits until `count` more are written.
    pub fn flow(&self, count: usize) {
        let target = self.written() + count;
        wait::until("the load flows", LIMIT, || (self.written() >= target).then_some(()));
    }

    /// What was written so far.
    pub fn fates(&self) -> Fates {
        self.shared.fates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the stream once every record is acknowledged, and says what must become of each.
    pub fn stop(mut self) -> Fates {
        self.shared.stop.store(true, Ordering::Relaxed);
        let input = self.writer.take().expect("joined once").join().expect("the writer ends");
        drop(input);
        let status = wait::until("the client has flushed", LIMIT, || {
            self.client.try_wait().expect("a child can be asked")
        });
        assert!(status.success(), "the Python client could not produce everything");
        self.fates()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

impl Shared {
    fn write(&self, mut input: ChildStdin, prefix: &str, mix: Mix) -> ChildStdin {
        let base = RUNS.fetch_add(1, Ordering::Relaxed) * REQUESTS_MAX;
        let mut n = 0;
        let mut due = 0.0;
        let mut last = wait::now();
        while !self.stop.load(Ordering::Relaxed) {
            std::thread::sleep(STEP);
            let rate = f64::from(self.per_second.load(Ordering::Relaxed));
            // A machine that stands still owes no more than half a second.
            due = (due + last.elapsed().as_secs_f64() * rate).min(rate / 2.0);
            last = wait::now();
            while due >= 1.0 {
                due -= 1.0;
                let (lines, key, fate) = mix.case(prefix, base + n);
                self.fates.lock().unwrap_or_else(PoisonError::into_inner).insert(key, fate);
                for line in lines {
                    if writeln!(input, "{line}").is_err() {
                        // The client has ended; whoever stops the load finds out why.
                        return input;
                    }
                }
                n += 1;
                self.written.store(n, Ordering::Relaxed);
            }
        }
        input
    }
}
