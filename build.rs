//! Compiles `proto/` without protoc: protox parses, tonic-prost-build generates.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let protos = ["task_service.proto", "server_service.proto"].map(|file| format!("switchyard/v1/{file}"));
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(protos)?;
    // Reflection and the CLI's YAML and JSON read the descriptors at run time.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;

    // Ordered maps encode in one way only, so that equal requests have equal fingerprints.
    let messages = tonic_prost_build::configure().build_server(false).btree_map(".");
    // A swap holds a whole spec; most events are about something much smaller.
    messages.boxed("switchyard.v1.Event.detail.swap").compile_fds(compiler.file_descriptor_set())?;
    // A server sends the same messages, but for the frames of a watch: it encodes an event once for all who watch.
    let servers = tonic_prost_build::configure().build_client(false).extern_path(".switchyard.v1", "crate::pb::v1");
    let servers = servers.extern_path(".switchyard.v1.WatchTasksResponse", "crate::pb::WatchFrame");
    fs::create_dir_all(out.join("servers"))?;
    servers.out_dir(out.join("servers")).compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
