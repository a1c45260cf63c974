//! Compiles `proto/` without protoc: protox parses, tonic-prost-build generates.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let protos = ["task_service.proto", "server_service.proto"].map(|file| format!("switchyard/v1/{file}"));
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_files(protos)?;

    // Reflection and the CLI's YAML and JSON read the descriptors at run time.
    let set = PathBuf::from(env::var("OUT_DIR")?).join("descriptors.bin");
    fs::write(set, compiler.encode_file_descriptor_set())?;
    // Ordered maps encode in one way only, so that equal requests have equal fingerprints.
    let generator = tonic_prost_build::configure().btree_map(".");
    // A swap holds a whole spec; most events are about something much smaller.
    generator.boxed("switchyard.v1.Event.detail.swap").compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
