//! The contract between a stage and its host, and the pure machinery that every host shares.
//!
//! Reading order: [`stage`] (what a stage is), [`context`] (what it may do), [`table`] (typed
//! state), [`overlay`] and [`cycle`] (one group commit), [`commit`] (what makes it durable),
//! [`slots`] (how tasks share the effects that may run), [`portion`] (what can wait, while urgent
//! records flow), [`replay`] (records that come back from the dead letters), [`driver`] (the
//! in-memory host for tests).
//!
//! **Architecture invariant:** no Kafka, no RocksDB, no async, no clock and no randomness. A stage
//! therefore runs unchanged in the driver, in the simulator and in the runtime.
//!
//! **Architecture invariant:** a handler cannot fail. Bad input is an outcome or a dead letter;
//! a fault of the state store is noted in the cycle and the host throws the cycle away.

pub mod codec;
pub mod commit;
pub mod context;
pub mod cycle;
pub mod driver;
pub mod overlay;
pub mod portion;
pub mod replay;
pub mod slots;
pub mod stage;
pub mod table;
pub mod timer;

pub use codec::{Codec, DeadLetter, Encoded, Header, RawRecord, Undecoded};
pub use commit::{CommitRecord, Fold};
pub use context::Context;
pub use cycle::{Cycle, Performed, Transition};
pub use overlay::{Overlay, StateFault, StateReader};
pub use replay::Replay;
pub use stage::{Globals, Input, InputClass, InputTopic, RecordMeta, Stage};
pub use table::{Table, TableKey, TableValue, decode_body};
pub use timer::TimerKey;
