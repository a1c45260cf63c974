//! Directories for what tests write.

use std::fs;
use std::path::{Path, PathBuf};

/// An empty directory that is gone when its test has ended.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// `name` tells it from those of other tests.
    pub(crate) fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        if path.exists() {
            fs::remove_dir_all(&path).expect("an earlier run's");
        }
        fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// What a file holds.
#[expect(clippy::disallowed_methods, reason = "a test may block")]
pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).expect("there")
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A test that fails is told by what it fails with.
        let _ = fs::remove_dir_all(&self.0);
    }
}
