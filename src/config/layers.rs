//! Reading the layers: each is a list of keys and their texts, with the place of each.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::key::Type;
use super::{Config, Error, Key, Layer, Problem};

/// Where a configuration is read from, the lowest layer first.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// The environment's variables. Of those named `SWITCHYARD_…` only the keys count: container platforms inject names of
    /// their own making, so an unknown one is no error.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags, by key.
    pub flags: Vec<(Key, String)>,
}

impl Sources {
    /// Reads and checks; says all that is wrong at once.
    pub fn load(self) -> Result<Config, Error> {
        let mut merge = Merge::default();
        if let Some(path) = &self.file {
            merge.file(path, &read(path)?);
        }
        merge.environment(self.environment);
        for (key, text) in self.flags {
            merge.set(key, &text, format!("flag {}", key.flag()));
        }
        merge.finish()
    }
}

#[expect(clippy::disallowed_methods, reason = "read once, before any runtime is there to be blocked")]
fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::ReadFile { path: path.to_owned(), source })
}

/// The layers so far, merged, and where each value came from.
#[derive(Default)]
struct Merge {
    layer: Layer,
    places: BTreeMap<Key, String>,
    problems: Vec<Problem>,
}

impl Merge {
    fn set(&mut self, key: Key, text: &str, place: String) {
        match self.layer.set(key, text) {
            Ok(()) => drop(self.places.insert(key, place)),
            Err(description) => self.problems.push(Problem { place, description }),
        }
    }

    fn environment(&mut self, variables: Vec<(OsString, OsString)>) {
        for key in Key::ALL {
            let name = key.variable();
            let Some((_, value)) = variables.iter().find(|(variable, _)| *variable == *name) else { continue };
            match value.to_str() {
                Some(text) => self.set(key, text, format!("environment {name}")),
                None => self
                    .problems
                    .push(Problem { place: format!("environment {name}"), description: "is not UTF-8".to_owned() }),
            }
        }
    }

    fn file(&mut self, path: &Path, text: &str) {
        let place = |span: std::ops::Range<usize>| {
            let (line, column) = position(text, span.start);
            format!("{}:{line}:{column}", path.display())
        };
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let place = place(error.span().unwrap_or_default());
            self.problems.push(Problem { place, description: error.message().to_owned() });
        }
        for (name, value) in table.get_ref() {
            let Some(key) = Key::named(name.get_ref()) else {
                let known: Vec<_> = Key::ALL.into_iter().map(Key::name).collect();
                let description = format!("there is no key {:?}; there are {}", name.get_ref(), known.join(", "));
                self.problems.push(Problem { place: place(name.span()), description });
                continue;
            };
            let place = format!("{}: {}", place(value.span()), key.name());
            match text_of(key.takes(), value) {
                Ok(text) => self.set(key, &text, place),
                Err(description) => self.problems.push(Problem { place, description }),
            }
        }
    }

    fn finish(mut self) -> Result<Config, Error> {
        let places = self.places;
        let place = |key: Key| places.get(&key).cloned().unwrap_or_else(|| key.name().to_owned());
        let config = Config::check(self.layer, place, &mut self.problems);
        if self.problems.is_empty() { Ok(config) } else { Err(Error::Invalid(self.problems)) }
    }
}

/// The text of a value that has the key's type.
fn text_of(takes: Type, value: &Spanned<DeValue<'_>>) -> Result<String, String> {
    match (takes, value.get_ref()) {
        (Type::Text | Type::Size, DeValue::String(text)) => Ok(text.to_string()),
        (Type::Boolean, DeValue::Boolean(value)) => Ok(value.to_string()),
        (Type::Integer | Type::Size, DeValue::Integer(integer)) => {
            i64::from_str_radix(integer.as_str(), integer.radix())
                .map(|number| number.to_string())
                .map_err(|_| format!("{} is too large", integer.as_str()))
        }
        (Type::List, DeValue::Array(elements)) => {
            let elements: Result<Vec<_>, _> = elements.iter().map(element).collect();
            Ok(elements?.join(":"))
        }
        (_, value) => Err(format!("expected {}, not of type {}", takes.name(), value.type_str())),
    }
}

fn element<'a>(value: &'a Spanned<DeValue<'_>>) -> Result<&'a str, String> {
    match value.get_ref() {
        DeValue::String(text) if text.contains(':') => Err(format!("must not contain colons, as {text:?} does")),
        DeValue::String(text) => Ok(text),
        value => Err(format!("expected {}, not one with an element of type {}", Type::List.name(), value.type_str())),
    }
}

/// The line and the column, in characters, from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or(before);
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::StoreKind;

    fn merged(file: &str, environment: &[(&str, &str)], flags: &[(Key, &str)]) -> Result<Config, Vec<String>> {
        let mut merge = Merge::default();
        merge.file(Path::new("s.toml"), file);
        merge.environment(environment.iter().map(|(name, value)| (name.into(), value.into())).collect());
        for (key, text) in flags {
            merge.set(*key, text, format!("flag {}", key.flag()));
        }
        merge.finish().map_err(|error| match error {
            Error::Invalid(problems) => problems.iter().map(ToString::to_string).collect(),
            Error::ReadFile { .. } => panic!("no file is read here"),
        })
    }

    #[test]
    fn the_later_layer_wins() {
        let file = "max_tasks = 1\nmax_streams = 1_0\ncustom_shards = 1\nenable_drills = true\n";
        let environment =
            [("SWITCHYARD_MAX_TASKS", "2"), ("SWITCHYARD_MAX_STREAMS", "20"), ("SWITCHYARD_PORT", "tcp://x")];
        let config = merged(file, &environment, &[(Key::MaxTasks, "3"), (Key::EnableDrills, "false")]).expect("valid");
        assert_eq!((config.max_tasks(), config.max_streams(), config.custom_shards()), (3, 20, 1));
        assert!(!config.enable_drills());
    }

    #[test]
    fn every_problem_names_its_layer_and_key() {
        let file = "max_tasks = \"many\"\n  colour = 1\ncustom_shards = 999\nlisten = \"localhost\"\n";
        let environment = [("SWITCHYARD_LOG_FORMAT", "xml")];
        let problems = merged(file, &environment, &[(Key::EventRetention, "-1")]).expect_err("invalid");
        let all = problems.join("\n");
        for expected in [
            "s.toml:1:13: max_tasks: expected an integer, not of type string",
            "s.toml:2:3: there is no key \"colour\"; there are listen,",
            "s.toml:3:17: custom_shards: must be 1 to 256, not 999",
            "s.toml:4:10: listen: expected an IP address and a port, as 127.0.0.1:6710, not \"localhost\"",
            "environment SWITCHYARD_LOG_FORMAT: must be `text` or `json`, got \"xml\"",
            "flag --event-retention: expected an integer, not \"-1\"",
        ] {
            assert!(all.contains(expected), "{expected}\nis not in\n{all}");
        }
        assert_eq!(problems.len(), 6, "{all}");
    }

    #[test]
    fn a_list_is_an_array_in_the_file_and_joined_by_colons_elsewhere() {
        let file = "exec_commands = ['/bin/a', '/bin/b c']";
        let commands = |environment: &[(&str, &str)], flags: &[(Key, &str)]| {
            merged(file, environment, flags).expect("valid").exec_commands().to_vec()
        };
        assert_eq!(commands(&[], &[]), ["/bin/a", "/bin/b c"]);
        assert_eq!(commands(&[("SWITCHYARD_EXEC_COMMANDS", "/c:/d:")], &[]), ["/c", "/d"]);
        assert_eq!(commands(&[], &[(Key::ExecCommands, "")]), [""; 0]);
        for (file, problem) in [
            ("exec_commands = '/a'", "s.toml:1:17: exec_commands: expected an array of strings, not of type string"),
            (
                "exec_commands = [1]",
                "s.toml:1:17: exec_commands: expected an array of strings, not one with an element of type integer",
            ),
            ("exec_commands = ['/a:b']", "s.toml:1:17: exec_commands: must not contain colons, as \"/a:b\" does"),
            ("exec_commands = ['a']", "s.toml:1:17: exec_commands: must be absolute paths, and \"a\" is none"),
        ] {
            assert_eq!(merged(file, &[], &[]), Err(vec![problem.to_owned()]));
        }
    }

    #[test]
    fn the_store_is_configured_in_every_layer() {
        let file = "store = 'memory'\ndata_dir = '/a'\nevent_retention_age = '2d'\nevent_retention_bytes = 2_097_152\n";
        let config = merged(file, &[("SWITCHYARD_STORE", "embedded")], &[(Key::DataDir, "/b")]).expect("valid");
        assert_eq!((config.store(), config.data_dir()), (StoreKind::Embedded, Path::new("/b")));
        let kept = (config.event_retention_age(), config.event_retention_bytes());
        assert_eq!(kept, (Duration::from_secs(2 * 86_400), 2 << 20));
        let config = merged("event_retention_bytes = '64 MiB'", &[], &[]).expect("valid");
        assert_eq!(config.event_retention_bytes(), 64 << 20);
        for (file, problem) in [
            ("store = 'disk'", "s.toml:1:9: store: must be `embedded` or `memory`, got \"disk\""),
            (
                "event_retention_age = '7'",
                "s.toml:1:23: event_retention_age: must be a duration, as 30s, 500ms or 1m30s, not \"7\"",
            ),
            (
                "event_retention_bytes = '1 GiBi'",
                "s.toml:1:25: event_retention_bytes: expected a number of bytes, or one with a unit as 1GiB, not \"1 GiBi\"",
            ),
            ("event_retention_age = '1s'", "s.toml:1:23: event_retention_age: must be 1m to 3650d, not 1s"),
        ] {
            assert_eq!(merged(file, &[], &[]), Err(vec![problem.to_owned()]));
        }
    }

    #[test]
    fn a_bad_value_that_a_later_layer_replaces_is_still_told() {
        let problems = merged("max_tasks = true", &[], &[(Key::MaxTasks, "3")]).expect_err("invalid");
        assert_eq!(problems, ["s.toml:1:13: max_tasks: expected an integer, not of type boolean"]);
    }

    #[test]
    fn bad_syntax_is_told_with_line_and_column() {
        let problems = merged("max_tasks = 1\nmax_tasks = 2\n", &[], &[]).expect_err("a duplicate");
        assert!(problems[0].starts_with("s.toml:2:1: "), "{problems:?}");
        assert!(merged("listen == 1", &[], &[]).expect_err("bad syntax")[0].starts_with("s.toml:1:"));
    }
}
