//! The exec kind's spec.

use std::collections::BTreeSet;
use std::fmt::Write;

use crate::model::{Target, Violations};

/// The longest path that Linux takes, less its end (PATH_MAX).
const COMMAND_BYTES: usize = 4_095;
const ARGS: usize = 64;
const VARIABLES: usize = 64;
/// An argument, or a variable with its name. Linux takes 128 KiB; a whole spec has half of that.
const TEXT_BYTES: usize = 8 * 1024;
/// By these any program loads code that is not its own: what the operator allowed would not be what runs (ld.so(8), iconv(3)).
const LOADING: [&str; 2] = ["LD_", "GCONV_PATH"];

/// An exec monitor as a client wrote it.
#[derive(Clone, Debug, Default)]
pub struct ExecDraft {
    /// The path of a program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Names and values of its environment.
    pub env: Vec<(String, String)>,
}

/// One run of a command for each check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecSpec {
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

impl ExecSpec {
    pub(super) fn try_new(draft: ExecDraft, violations: &mut Violations) -> Option<Self> {
        let before = violations.as_slice().len();
        let ExecDraft { command, args, env } = draft;
        check_command(&command, violations);
        if args.len() > ARGS {
            violations.add("args", format!("at most {ARGS}, got {}", args.len()));
        }
        for (n, arg) in args.iter().take(ARGS).enumerate() {
            check_text(&format!("args[{n}]"), arg, arg.len(), violations);
        }
        if env.len() > VARIABLES {
            violations.add("env", format!("at most {VARIABLES}, got {}", env.len()));
        }
        let mut names = BTreeSet::new();
        for (n, (name, value)) in env.iter().take(VARIABLES).enumerate() {
            violations.within(&format!("env[{n}]"), |v| {
                check_name(name, v);
                if !names.insert(name.as_str()) {
                    v.add("name", format!("{name:?} is given twice"));
                }
                check_text("value", value, name.len() + value.len(), v);
            });
        }
        (violations.as_slice().len() == before).then_some(Self { command, args, env })
    }

    /// What it watches: whatever command, arguments and environment are about.
    pub fn target(&self) -> Target {
        let count = self.args.len().to_string();
        let args = [&self.command, &count].into_iter().chain(&self.args);
        let texts = args.chain(self.env.iter().flat_map(|(name, value)| [name, value]));
        let key = texts.fold(String::new(), |mut key, text| {
            // With its length before it, none can pass for a part of another.
            let _ = write!(key, "{}:{text}", text.len());
            key
        });
        Target::of("exec", &key)
    }

    /// The path of the program.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Its arguments.
    pub fn args(&self) -> &[String] {
        &self.args
    }

    /// Names and values of its environment.
    pub fn env(&self) -> &[(String, String)] {
        &self.env
    }
}

fn check_command(command: &str, violations: &mut Violations) {
    if command.is_empty() {
        violations.add("command", "required: the path of a program, as /usr/lib/nagios/plugins/check_disk");
    } else if command.len() > COMMAND_BYTES {
        violations.add("command", format!("at most {COMMAND_BYTES} bytes, got {}", command.len()));
    } else if !command.starts_with('/') {
        violations.add("command", "must be an absolute path; there is no shell, and no PATH is searched");
    } else if command.contains('\0') {
        violations.add("command", "must not contain NUL");
    }
}

fn check_name(name: &str, violations: &mut Violations) {
    if name.is_empty() {
        violations.add("name", "required");
    } else if name.contains(['=', '\0']) {
        violations.add("name", "must not contain '=' or NUL");
    } else if LOADING.iter().any(|loading| name.starts_with(loading)) {
        violations.add("name", format!("must not be {name:?}, by which other code is loaded into the command"));
    }
}

fn check_text(field: &str, text: &str, bytes: usize, violations: &mut Violations) {
    if bytes > TEXT_BYTES {
        violations.add(field, format!("at most {TEXT_BYTES} bytes, got {bytes}"));
    }
    if text.contains('\0') {
        violations.add(field, "must not contain NUL");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft(command: &str, args: &[&str], env: &[(&str, &str)]) -> ExecDraft {
        ExecDraft {
            command: command.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            env: env.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        }
    }

    fn spec(draft: ExecDraft) -> Result<ExecSpec, Vec<String>> {
        let mut violations = Violations::new();
        let spec = ExecSpec::try_new(draft, &mut violations);
        let fields = |violations: Violations| violations.as_slice().iter().map(|v| v.field.clone()).collect();
        violations.finish(spec).map_err(fields)
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let long = "x".repeat(TEXT_BYTES);
        let bad =
            draft("ls", &["a\0", "", &(long.clone() + "x")], &[("A", "1"), ("", "\0"), ("A=", "2"), ("A", &long)]);
        let fields = ["command", "args[0]", "args[2]", "env[1].name", "env[1].value", "env[2].name"];
        assert_eq!(
            spec(bad),
            Err([&fields[..], &["env[3].name", "env[3].value"]].concat().iter().map(|&f| f.into()).collect())
        );
        for command in ["", "a/b", "/\0", &format!("/{long}")] {
            assert_eq!(spec(draft(command, &[], &[])), Err(vec!["command".to_owned()]), "{command:.20}");
        }
        assert_eq!(spec(draft("/a", &[""; ARGS + 1], &[])), Err(vec!["args".to_owned()]));
        for name in ["LD_PRELOAD", "GCONV_PATH"] {
            assert_eq!(spec(draft("/a", &[], &[("LD", ""), (name, "")])), Err(vec!["env[1].name".to_owned()]));
        }
        let names: Vec<_> = (0..=VARIABLES).map(|n| n.to_string()).collect();
        let env: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(spec(draft("/a", &[], &env)), Err(vec!["env".to_owned()]));
    }

    #[test]
    fn each_part_of_the_command_line_makes_another_target() {
        let target = |args: &[&str], env: &[(&str, &str)]| spec(draft("/a", args, env)).expect("valid").target();
        let targets = [
            target(&[], &[]),
            target(&["b"], &[]),
            target(&["b", ""], &[]),
            target(&["b", "c"], &[]),
            target(&["b1:c"], &[]),
            target(&["bc"], &[]),
            target(&[], &[("b", "c")]),
            target(&[], &[("c", "b")]),
        ];
        for (n, target) in targets.iter().enumerate() {
            assert_eq!(targets.iter().position(|other| other == target), Some(n));
        }
        assert_eq!(target(&["b"], &[("c", "d")]), target(&["b"], &[("c", "d")]));
    }
}
