//! The process's own limits.

use rustix::process::{Resource, getrlimit, setrlimit};

/// Raises the limit of descriptors as far as the system lets us: each check needs one.
pub(super) fn raise_descriptors() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of descriptors could not be raised");
    }
}
