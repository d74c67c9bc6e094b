//! Asking and waiting for what comes of it.

use std::ops::ControlFlow;
use std::time::Duration;

use super::{POLL, TailQuery, TailRecord, Tools, assign, tail_record};
use crate::clock::Deadline;
use crate::error::Error;

impl Tools {
    /// Reads what is committed to one partition after `begin` was called, until `visit` breaks or
    /// `longest` has passed. True if it broke.
    ///
    /// The place to read from is known before `begin`, so that no answer to it is missed.
    pub fn follow(
        &self,
        topic: &str,
        partition: i32,
        longest: Duration,
        begin: impl FnOnce() -> Result<(), Error>,
        visit: &mut dyn FnMut(TailRecord) -> ControlFlow<()>,
    ) -> Result<bool, Error> {
        let reader = self.reader()?;
        let query = TailQuery {
            topics: &[topic],
            partition: Some(partition),
            from_beginning: false,
            until_end: false,
        };
        assign(&reader, &query)?;
        begin()?;
        let deadline = Deadline::after(longest);
        while !deadline.passed() {
            match reader.poll(POLL.min(deadline.remaining())) {
                Some(Ok(message)) if visit(tail_record(&message)).is_break() => return Ok(true),
                Some(Ok(_)) | None => {}
                Some(Err(error)) => tracing::warn!(%error, "follow"),
            }
        }
        Ok(false)
    }
}
