//! The Python side: stubs and scenarios.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::must;
use super::server::Server;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs `scenario` of `client.py`; panics with all that it said unless it holds.
pub(super) fn run(scenario: &str, server: &Server) {
    let client = Path::new(ROOT).join("tests/real_clients/client.py");
    let mut command = python();
    command.arg(client).args([scenario, server.grpc(), server.http()]).env("PYTHONPATH", stubs());
    must("the scenario does not hold", command);
}

/// The directory of the stubs, which are generated anew in each run: the protos are what is tested.
fn stubs() -> &'static Path {
    static STUBS: OnceLock<PathBuf> = OnceLock::new();
    STUBS.get_or_init(|| {
        let mut modules = python();
        modules.args(["-c", "import grpc, grpc_health, grpc_reflection, grpc_status, grpc_tools"]);
        must("the interpreter lacks what tests/real_clients/requirements.txt names (.ci/run installs it)", modules);

        let stubs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-stubs");
        // Stubs of a proto that is gone must not remain.
        if stubs.exists() {
            fs::remove_dir_all(&stubs).expect("removes the old stubs");
        }
        fs::create_dir_all(&stubs).expect("makes a directory");
        let (out, protos) = (stubs.display(), Path::new(ROOT).join("proto"));
        let mut generate = python();
        generate.args(["-m", "grpc_tools.protoc", &format!("--python_out={out}"), &format!("--grpc_python_out={out}")]);
        generate.arg("--proto_path").arg(&protos);
        for file in fs::read_dir(protos.join("switchyard/v1")).expect("lists") {
            generate.arg(file.expect("lists").path());
        }
        must("the stubs cannot be generated", generate);
        stubs
    })
}

fn python() -> Command {
    let mut python = Command::new(env::var_os("SWITCHYARD_TEST_PYTHON").unwrap_or_else(|| OsString::from("python3")));
    // The repository stays as it was.
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    python
}
