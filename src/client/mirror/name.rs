//! Names of tasks, as callers give them.

use std::borrow::Cow;

/// What a part of a name may have.
const PART_BYTES: usize = 63;

/// The full name of a task that was given by its full name or, in the namespace `default`, its last part.
pub(super) fn full(name: &str) -> Cow<'_, str> {
    if name.contains('/') { name.into() } else { format!("namespaces/default/tasks/{name}").into() }
}

/// Whether a task could have that name: `namespaces/{namespace}/tasks/{task}`.
pub(super) fn is_possible(full: &str) -> bool {
    let parts = full.strip_prefix("namespaces/").and_then(|rest| rest.split_once("/tasks/"));
    parts.is_some_and(|(namespace, task)| is_part(namespace) && is_part(task))
}

/// `[a-z]([a-z0-9-]{0,61}[a-z0-9])?`
fn is_part(part: &str) -> bool {
    let is_inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    part.len() <= PART_BYTES
        && part.starts_with(|first: char| first.is_ascii_lowercase())
        && part.bytes().all(is_inner)
        && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_one_of_the_default_namespace() {
        assert_eq!(full("api"), "namespaces/default/tasks/api");
        assert_eq!(full("namespaces/a/tasks/b"), "namespaces/a/tasks/b");
    }

    #[test]
    fn a_name_that_no_task_can_have_is_known() {
        let longest = format!("namespaces/a/tasks/{}", "b".repeat(63));
        for name in ["namespaces/default/tasks/api", "namespaces/a/tasks/b", "namespaces/a-1/tasks/b2", &longest] {
            assert!(is_possible(name), "{name}");
        }
        let too_long = longest.clone() + "b";
        for name in [
            "",
            "api",
            "tasks/api",
            "namespaces/a/tasks/",
            "namespaces//tasks/b",
            "namespaces/-/tasks/b",
            "namespaces/a/tasks/B",
            "namespaces/a/tasks/1b",
            "namespaces/a/tasks/b-",
            "namespaces/a/tasks/b/c",
            "namespaces/a/tasks/b c",
            "/namespaces/a/tasks/b",
            &too_long,
        ] {
            assert!(!is_possible(name), "{name}");
        }
    }
}
