//! The alerting rules in `deploy/`: what they name is there, and so is what names them. Whether they fire when they should is
//! promtool's to say, in `tests/real_clients`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use regex::Regex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use switchyard::config::Layer;
use switchyard::model::{ListFilter, WatchFilter};
use switchyard::monitor::testing::Rule as Pattern;

use crate::harness::Harness;

const PAGE_LINES: usize = 40;

#[derive(Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Rule {
    alert: String,
    expr: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct TestFile {
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Test {
    alert_rule_test: Vec<Expectation>,
}

#[derive(Deserialize)]
struct Expectation {
    alertname: String,
    exp_alerts: Vec<BTreeMap<String, BTreeMap<String, String>>>,
}

#[expect(clippy::disallowed_methods, reason = "a synchronous test blocks nobody")]
fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn yaml<T: DeserializeOwned>(path: &str) -> T {
    serde_saphyr::from_str(&text(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn rules() -> Vec<Rule> {
    yaml::<RuleFile>("deploy/alerts.yml").groups.into_iter().flat_map(|group| group.rules).collect()
}

fn names() -> BTreeSet<String> {
    rules().into_iter().map(|rule| rule.alert).collect()
}

/// The page that is about code, and not about one alert.
const PATTERNS: &str = "wrong-patterns";

/// The runbook's pages, without their index.
fn pages() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbook");
    let files = fs::read_dir(directory).expect("lists");
    let names = files.map(|file| file.expect("lists").file_name().into_string().expect("UTF-8"));
    let page = |name: String| Some(name.strip_suffix(".md")?.to_owned()).filter(|page| page != "README");
    names.filter_map(page).collect()
}

#[test]
fn every_alert_says_what_it_is_and_where_its_page_is() {
    for Rule { alert, labels, annotations, .. } in rules() {
        assert!(["critical", "warning"].contains(&labels["severity"].as_str()), "{alert}: {labels:?}");
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["description", "runbook_url", "summary"], "{alert}");
        assert_eq!(annotations["runbook_url"], format!("docs/runbook/{alert}.md"));
    }
}

#[test]
fn every_alert_has_a_page_and_the_index_has_every_page() {
    assert_eq!(pages(), &names() | &BTreeSet::from([PATTERNS.to_owned()]));
    let index = text("docs/runbook/README.md");
    for alert in names() {
        let page = text(&format!("docs/runbook/{alert}.md"));
        assert!(page.starts_with(&format!("# {alert}\n")), "{alert}");
        assert!(page.lines().count() <= PAGE_LINES, "{alert}: longer than somebody reads at night");
        assert!(index.contains(&format!("[{alert}]({alert}.md)")), "{alert}");
    }
    assert!(text("README.md").contains("(docs/runbook/README.md)"));
}

#[test]
fn every_alert_is_seen_to_fire_and_seen_not_to() {
    let (mut fires, mut rests) = (BTreeSet::new(), BTreeSet::new());
    for test in yaml::<TestFile>("deploy/alerts_test.yml").tests {
        for Expectation { alertname, exp_alerts } in test.alert_rule_test {
            let seen = if exp_alerts.is_empty() { &mut rests } else { &mut fires };
            seen.insert(alertname);
        }
    }
    assert_eq!((fires, rests), (names(), names()));
}

/// The series that an expression asks for: a family, and what each must have for labels.
fn series(expr: &str) -> Vec<(String, Vec<String>)> {
    let selector = Regex::new(r"\b(circuit_breaker_\w+)(?:\{([^}]*)\})?").expect("valid");
    let matcher = Regex::new(r#"(\w+)(=~|=|!=|!~)"([^"]*)""#).expect("valid");
    let mut series = Vec::new();
    for found in selector.captures_iter(expr) {
        let mut wanted = vec![Vec::new()];
        for label in matcher.captures_iter(found.get(2).map_or("", |labels| labels.as_str())) {
            let values: Vec<_> = match &label[2] {
                "=" => vec![&label[3]],
                "=~" => label[3].split('|').collect(),
                other => panic!("{expr}: this test does not know what {other} asks for"),
            };
            wanted = wanted
                .iter()
                .flat_map(|so_far: &Vec<String>| {
                    values.iter().map(|value| [so_far.as_slice(), &[format!("{}=\"{value}\"", &label[1])]].concat())
                })
                .collect();
        }
        series.extend(wanted.into_iter().map(|labels| (found[1].to_owned(), labels)));
    }
    series
}

#[test]
fn series_are_read_off_expressions() {
    let labels = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect::<Vec<_>>();
    let found = series(r#"increase(circuit_breaker_a{x="1",y=~"2|3"}[5m]) > 0 and circuit_breaker_b offset 1h"#);
    let of_a = |second| ("circuit_breaker_a".to_owned(), labels(&["x=\"1\"", second]));
    assert_eq!(found, [of_a("y=\"2\""), of_a("y=\"3\""), ("circuit_breaker_b".to_owned(), labels(&[]))]);
}

/// An increase is seen only of a series that was there before it.
#[tokio::test]
async fn every_series_that_a_rule_asks_for_is_there_from_the_start() {
    let metrics = Harness::start(Layer::default()).await.metrics().await;
    for rule in rules() {
        let asked = series(&rule.expr);
        assert!(!asked.is_empty() || rule.alert == "SwitchyardDown", "{}", rule.alert);
        for (family, labels) in asked {
            let there = metrics
                .lines()
                .filter_map(|line| line.strip_prefix(&family))
                .any(|rest| rest.starts_with(['{', ' ']) && labels.iter().all(|label| rest.contains(label.as_str())));
            assert!(there, "{}: {family}{labels:?}", rule.alert);
        }
    }
}

/// The titles of a page's sections, as links to them are written.
fn anchors(page: &str) -> BTreeSet<String> {
    let anchor = |title: &str| title.to_lowercase().replace(' ', "-").replace(['`', '/'], "");
    page.lines().filter_map(|line| line.strip_prefix("## ")).map(anchor).collect()
}

#[test]
fn the_page_about_wrong_patterns_is_found_and_finds_its_way() {
    let page = text(&format!("docs/runbook/{PATTERNS}.md"));
    assert!(text("docs/runbook/README.md").contains(&format!("({PATTERNS}.md)")));
    assert!(text("README.md").contains(&format!("(docs/runbook/{PATTERNS}.md)")));
    let link = Regex::new(r"\]\(([^)#]*)(?:#([^)]*))?\)").expect("valid");
    let (pages, anchors) = (pages(), anchors(&page));
    for found in link.captures_iter(&page) {
        let (to, section) = (&found[1], found.get(2).map(|section| section.as_str()));
        assert!(to.is_empty() || pages.contains(to.trim_end_matches(".md")), "{to}");
        assert!(section.is_none_or(|section| anchors.contains(section)), "{section:?} of {anchors:?}");
    }
    for rule in [Pattern::Select, Pattern::EveryIteration, Pattern::NoBlocking, Pattern::Chunks] {
        assert!(page.contains(&format!("\"{rule}\"")), "{rule}");
    }
}

/// The commands that a page gives, in lines of their own or within a sentence, without the program's name.
fn commands(page: &str) -> Vec<String> {
    let command = Regex::new(r"(?m)(?:^ *|^\$ |`)switchyard ([a-z][^`\n]*)").expect("valid");
    command.captures_iter(page).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_command_of_the_runbook_exists() {
    let flag = Regex::new(r"--[a-z][a-z-]*").expect("valid");
    let filter = Regex::new(r"--filter '([^']*)'").expect("valid");
    let mut helps: BTreeMap<String, Option<String>> = BTreeMap::new();
    for page in pages() {
        let commands = commands(&text(&format!("docs/runbook/{page}.md")));
        assert!(!commands.is_empty(), "{page}");
        for line in commands {
            let command = line.split(' ').next().unwrap_or_default();
            // Those of circuits have a command below them, which has the flags.
            let words = if command == "circuit" { 2 } else { 1 };
            let whole: Vec<_> = line.split(' ').take(words).collect();
            let help = helps.entry(whole.join(" ")).or_insert_with(|| help(&whole));
            assert!(help.is_some(), "{page}: {line}");
            for flag in flag.find_iter(&line) {
                assert!(help.as_ref().is_none_or(|help| help.contains(flag.as_str())), "{page}: {line}");
            }
            for filter in filter.captures_iter(&line) {
                let parsed = match command {
                    "watch" => WatchFilter::parse(&filter[1]).map(drop),
                    _ => ListFilter::parse(&filter[1]).map(drop),
                };
                assert_eq!(parsed, Ok(()), "{page}: {line}");
            }
        }
    }
}

/// What the command says of itself, if there is one of that name.
fn help(command: &[&str]) -> Option<String> {
    let mut program = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    let said = program.args(command).arg("--help").output().expect("runs");
    said.status.success().then(|| String::from_utf8(said.stdout).expect("UTF-8"))
}
