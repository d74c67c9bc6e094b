//! Tests of the runtime on a real broker. One stack serves them all; each has its own topics.

mod case;
mod clocks;
mod cluster;
mod doubt;
mod effects;
mod requests;
mod runtime;
mod shutdown;
mod stores;
mod worker;
