//! The machine's tests.
