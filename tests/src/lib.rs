//! What the tests on a real broker share: the local stack, a Kafka client, processes to kill, a
//! stage simple enough that its right output is known, and the whole plane with traffic whose right
//! outcome is known and a verifier of it.

pub mod coordinator;
pub mod counter;
pub mod follow;
pub mod http;
pub mod kafka;
pub mod load;
pub mod plane;
pub mod process;
pub mod proxy;
pub mod run;
pub mod stack;
pub mod traffic;
pub mod verify;
pub mod wait;
