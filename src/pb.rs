//! The wire form: generated code, and its conversions to and from `model`.
//!
//! [`parse`] takes requests apart: every field is read or named as ignored, and all violations come back together.
//! [`render`] puts answers together: whatever it renders of a spec, `parse` reads back as the same spec.

mod names;
pub mod parse;
pub mod render;

/// The package `switchyard.v1`, generated from `proto/`.
pub mod v1 {
    tonic::include_proto!("switchyard.v1");
}

/// The encoded `FileDescriptorSet` of `proto/` and all that it imports.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
