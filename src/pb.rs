//! The wire form: generated code, and its conversions to and from `model`.

/// The package `switchyard.v1`, generated from `proto/`.
#[expect(missing_docs, reason = "generated; the documentation is in proto/")]
pub mod v1 {
    tonic::include_proto!("switchyard.v1");
}

/// The encoded `FileDescriptorSet` of `proto/` and all that it imports.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
