//! The wire form: generated code, and, with the feature `server`, its conversions to and from `model`.
//!
//! `parse` takes requests apart: every field is read or named as ignored, and all violations come back together.
//! `render` puts answers together: whatever it renders of a spec, `parse` reads back as the same spec.

#[cfg(feature = "server")]
mod frame;
#[cfg(feature = "server")]
mod names;
#[cfg(feature = "server")]
pub mod parse;
#[cfg(feature = "server")]
pub mod render;
#[cfg(feature = "server")]
mod token;
#[cfg(feature = "server")]
mod wire;

use tonic::Code;

#[cfg(feature = "server")]
pub use self::frame::WatchFrame;

/// The package `switchyard.v1`, generated from `proto/`.
pub mod v1 {
    tonic::include_proto!("switchyard.v1");
    // Apart, since what a server sends is not in all cases what a client gets: see `WatchFrame`.
    #[cfg(feature = "server")]
    include!(concat!(env!("OUT_DIR"), "/servers/switchyard.v1.rs"));
}

/// The encoded `FileDescriptorSet` of `proto/` and all that it imports.
#[cfg(feature = "server")]
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

/// The name of a status code, as gRPC writes it: `NOT_FOUND`.
pub const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
