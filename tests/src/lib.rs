//! What the tests on a real broker share: the local stack, a Kafka client, processes to kill, and
//! a stage simple enough that its right output is known.

pub mod counter;
pub mod http;
pub mod kafka;
pub mod plane;
pub mod process;
pub mod stack;
pub mod wait;
