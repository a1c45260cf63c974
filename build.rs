//! Compiles `proto/` without protoc: protox parses, tonic-prost-build generates. Reflection and the CLI read the descriptors.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    // The last is imported by none: what the details of a status are made of.
    let services = ["task", "circuit", "server"].map(|name| format!("switchyard/v1/{name}_service.proto"));
    let protos = services.into_iter().chain(["google/rpc/error_details.proto".to_owned()]);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(protos)?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    // Ordered maps encode in one way only, so that equal requests have equal fingerprints.
    let configure = || tonic_prost_build::configure().extern_path(".google.rpc", "::tonic_types::pb").btree_map(".");
    // Boxed is what is much larger than its alternatives.
    let messages = configure().build_server(false).boxed("switchyard.v1.Event.detail.swap");
    messages.boxed("switchyard.v1.BatchResult.result.task").compile_fds(compiler.file_descriptor_set())?;
    // A server sends the same messages, but for the frames of a watch: it encodes an event once for all who watch.
    let frames = |of| (format!(".switchyard.v1.Watch{of}Response"), "crate::pb::WatchFrame");
    let servers = configure().build_client(false).extern_path(".switchyard.v1", "crate::pb::v1");
    let servers = ["Tasks", "Circuits"].map(frames).into_iter().fold(servers, |to, (of, is)| to.extern_path(of, is));
    fs::create_dir_all(out.join("servers"))?;
    Ok(servers.out_dir(out.join("servers")).compile_fds(compiler.file_descriptor_set())?)
}
