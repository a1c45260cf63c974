//! The gRPC services.

mod error;
mod page;
mod peer;
mod wait;
mod watch;
