//! Memory for bodies: one budget for all of them.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The bytes of bodies that may be in work at once.
#[derive(Debug)]
pub(super) struct Room {
    bytes: Semaphore,
    bytes_max: usize,
}

/// The bytes of one body, given back when dropped.
#[derive(Debug)]
pub(super) struct Share<'r> {
    room: &'r Room,
    held: Option<SemaphorePermit<'r>>,
}

impl Room {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes: Semaphore::new(bytes_max), bytes_max }
    }

    /// A share of nothing yet. What a request announces takes no room: only bytes that have come
    /// do, so that room cannot be had for the price of a header.
    pub fn share(&self) -> Share<'_> {
        Share { room: self, held: None }
    }
}

impl Share<'_> {
    /// Takes room for `bytes` more; false when there is none. Never waits: whoever waited would
    /// keep what it has from the others.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let Ok(count) = u32::try_from(bytes) else { return false };
        let Ok(more) = self.room.bytes.try_acquire_many(count) else { return false };
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        self.room.show();
        true
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        if self.held.take().is_some() {
            self.room.show();
        }
    }
}

impl Room {
    fn show(&self) {
        let used = self.bytes_max - self.bytes.available_permits().min(self.bytes_max);
        metrics::gauge!("sendplane_webhook_buffered_bytes").set(used as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_grow_to_the_budget_and_come_back() {
        let room = Room::new(10);
        let (mut one, mut other) = (room.share(), room.share());
        assert!(one.grow(4) && other.grow(5) && one.grow(1));
        assert!(!other.grow(1), "full");
        assert!(other.grow(0));
        drop(one);
        assert!(other.grow(5));
        assert!(!other.grow(1));
        drop(other);
        assert!(room.share().grow(10));
    }
}
