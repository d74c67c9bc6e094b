//! Tests of the whole plane: four binaries, metasim, a real broker and registry, and a Python
//! client that shares no code with any of them.

mod dead_letters;
mod journeys;
mod operators;
