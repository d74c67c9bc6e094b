//! Tests of the runtime on a real broker. One stack serves them all; each has its own topics.

mod runtime;
mod worker;
