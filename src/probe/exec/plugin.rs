//! What a command's output says, as monitoring plugins print it: a line of text, a `|`, and performance data; then more lines of
//! text, and after another `|` more data (Nagios plugin development guidelines, "Plugin Output" and "Performance data").

use crate::model::{cut, limits};
use crate::telemetry::PerfdataValue;

/// How much performance data of a check is looked at, in values.
const VALUES: usize = 32;
/// As long as any name is.
const LABEL_BYTES: usize = 63;
const UNIT_BYTES: usize = 16;

/// What was said.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    /// The first line, for people.
    pub(super) message: String,
    /// No two have label and unit in common.
    pub(super) perfdata: Vec<PerfdataValue>,
    /// Values that came after the last of those that there is room for.
    pub(super) dropped: usize,
}

/// Reads an output; `cut_off` where there was more of it.
pub(super) fn read(output: &[u8], cut_off: bool) -> Said {
    let text = String::from_utf8_lossy(output);
    let whole = if cut_off { up_to_last_edge(&text) } else { &text };
    let (first, rest) = whole.split_once('\n').unwrap_or((whole, ""));
    let (message, first_data) = first.split_once('|').unwrap_or((first, ""));
    let (_, more_data) = rest.split_once('|').unwrap_or_default();
    let mut said = Said { message: clean(message), ..Said::default() };
    for value in Values(first_data).chain(Values(more_data)) {
        let is_same = |other: &PerfdataValue| (&other.label, &other.unit) == (&value.label, &value.unit);
        if said.perfdata.iter().any(is_same) {
            continue;
        }
        if said.perfdata.len() < VALUES {
            said.perfdata.push(value);
        } else {
            said.dropped += 1;
        }
    }
    said
}

/// The text without what may be half of a value at its end.
fn up_to_last_edge(text: &str) -> &str {
    match text.trim_end_matches(|c: char| c != '|' && !c.is_whitespace()) {
        "" => text,
        whole => whole,
    }
}

/// One line without control characters, at most as long as a check's message may be.
fn clean(text: &str) -> String {
    let text: String = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    cut(text, limits::MESSAGE_BYTES)
}

/// The values of `'label'=value[unit];[warn];[crit];[min];[max]`, separated by blanks. What is none is passed over.
struct Values<'a>(&'a str);

impl Iterator for Values<'_> {
    type Item = PerfdataValue;

    fn next(&mut self) -> Option<PerfdataValue> {
        loop {
            self.0 = self.0.trim_start();
            if self.0.is_empty() {
                return None;
            }
            let (label, rest) = label(self.0);
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (item, rest) = rest.split_at(end);
            self.0 = rest;
            if let Some(value) = label.and_then(|label| value(label, item)) {
                return Some(value);
            }
        }
    }
}

/// The label, and what follows it. In quotes it may have blanks and `=`, and `''` stands for a quote.
fn label(text: &str) -> (Option<String>, &str) {
    let Some(quoted) = text.strip_prefix('\'') else {
        let end = text.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(text.len());
        return (Some(text[..end].to_owned()), &text[end..]);
    };
    let mut label = String::new();
    let mut rest = quoted;
    while let Some((part, after)) = rest.split_once('\'') {
        label += part;
        match after.strip_prefix('\'') {
            None => return (Some(label), after),
            Some(after) => {
                label.push('\'');
                rest = after;
            }
        }
    }
    // It is never closed.
    (None, "")
}

/// The value of `=12.5ms;20;30`; `None` where it is no number, or `U`: the plugin could not find it out.
fn value(label: String, item: &str) -> Option<PerfdataValue> {
    let item = item.strip_prefix('=')?;
    let measured = item.split_once(';').map_or(item, |(measured, _)| measured);
    let (number, unit) = measured.split_at(number_end(measured));
    let value = number.parse::<f64>().ok().filter(|value| value.is_finite())?;
    let is_label = (1..=LABEL_BYTES).contains(&label.len()) && !label.chars().any(char::is_control);
    let is_unit =
        unit.len() <= UNIT_BYTES && !unit.chars().any(|c| c.is_numeric() || c.is_control() || "'\"=,.".contains(c));
    (is_label && is_unit).then(|| PerfdataValue { label, unit: unit.to_owned(), value })
}

/// Where a decimal number ends that the text begins with. An `e` belongs to it only with an exponent.
fn number_end(text: &str) -> usize {
    let digits = |from: usize| from + text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let sign = |at: usize| at + usize::from(text[at..].starts_with(['-', '+']));
    let mut end = digits(sign(0));
    if text[end..].starts_with('.') {
        end = digits(end + 1);
    }
    if text[end..].starts_with(['e', 'E']) {
        let exponent = sign(end + 1);
        if digits(exponent) > exponent {
            end = digits(exponent);
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Label, value and unit of each.
    fn perfdata(text: &str) -> Vec<(String, f64, String)> {
        let said = read(format!("OK|{text}").as_bytes(), false);
        said.perfdata.into_iter().map(|PerfdataValue { label, unit, value }| (label, value, unit)).collect()
    }

    #[test]
    fn a_value_has_a_label_a_number_and_a_unit() {
        let cases = [
            ("time=0.5", "time", 0.5, ""),
            ("time=12ms;20;30;0;100", "time", 12.0, "ms"),
            ("'in use'=81%;80:90;~:95", "in use", 81.0, "%"),
            ("'it''s = 1'=-1.5c;;;;", "it's = 1", -1.5, "c"),
            ("/=2643MB;5948;5958;0;5968", "/", 2643.0, "MB"),
            ("rate=1e3eps", "rate", 1000.0, "eps"),
            ("energy=7eV", "energy", 7.0, "eV"),
            ("temp=+.5\u{b0}C", "temp", 0.5, "\u{b0}C"),
            ("whole=5.", "whole", 5.0, ""),
        ];
        for (text, label, value, unit) in cases {
            assert_eq!(perfdata(text), [(label.to_owned(), value, unit.to_owned())], "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_passed_over() {
        let long = format!("{}=1", "l".repeat(64));
        let unit = format!("a=1{}", "u".repeat(17));
        for text in [
            "",
            "a",
            "a=",
            "=1",
            "a=U",
            "a=x",
            "a=1,5",
            "a=1.2.3",
            "a=0x10",
            "a=1e999",
            "a=-",
            "a=.",
            "a=inf",
            "a=NaN",
            "''=1",
            "'a'",
            "'a",
            "'a=1",
            "'a' =1",
            "'a\tb'=1",
            "a=1\u{7}",
            long.as_str(),
            unit.as_str(),
        ] {
            assert_eq!(perfdata(text), [], "{text:?}");
            if !text.starts_with("'a=") && text != "'a" {
                assert_eq!(perfdata(&format!("{text} b=2"))[..], [("b".to_owned(), 2.0, String::new())], "{text:?}");
            }
        }
    }

    #[test]
    fn the_first_line_is_the_message_and_data_may_go_on_below() {
        let said = read(b" DISK\x1b[31m OK \r| a=1;2 b=2\nmore text\nand more | c=3\nd=4 | e=5\n", false);
        assert_eq!(said.message, "DISK [31m OK");
        let labels: Vec<_> = said.perfdata.iter().map(|value| value.label.as_str()).collect();
        assert_eq!(labels, ["a", "b", "c", "d", "e"]);
        let said = read(b"no data\nx=1", false);
        assert_eq!((said.message.as_str(), said.perfdata.len()), ("no data", 0));
        let said = read(b"bad \xff\xfe utf-8|a=1", false);
        assert_eq!((said.message.as_str(), said.perfdata.len()), ("bad \u{fffd}\u{fffd} utf-8", 1));
        assert_eq!(read(b"", false), Said::default());
        assert_eq!(read("ä".repeat(1_000).as_bytes(), false).message.len(), limits::MESSAGE_BYTES);
    }

    #[test]
    fn half_a_value_at_the_end_of_what_was_kept_is_none() {
        for (text, values) in
            [("x|a=1 b=2", 1), ("x|a=1 b=2 ", 2), ("x|a=1", 0), ("x|a=1 'b c", 1), ("x|a=1 'b c=2", 1)]
        {
            assert_eq!(read(text.as_bytes(), true).perfdata.len(), values, "{text:?}");
        }
    }

    #[test]
    fn so_many_values_and_none_twice() {
        let many: String = (0..40).map(|n| format!("l{n}=1 ")).collect();
        let said = read(format!("OK|{many}").as_bytes(), false);
        assert_eq!((said.perfdata.len(), said.dropped), (VALUES, 40 - VALUES));
        assert_eq!(perfdata("a=1 a=2 a=3s 'a'=4").len(), 2);
    }

    proptest! {
        #[test]
        fn any_output_is_read_within_bounds(output in proptest::collection::vec(any::<u8>(), 0..2_000), cut_off: bool) {
            within_bounds(&read(&output, cut_off))?;
        }

        #[test]
        fn what_looks_like_data_is_read_within_bounds(text in "[ |'=;ab0-9.eE+\\-Us%\n\u{e4}]{0,400}", cut_off: bool) {
            within_bounds(&read(text.as_bytes(), cut_off))?;
        }

        #[test]
        fn what_is_written_is_read(label in "[a-z' =]{1,20}", value in -1e9_f64..1e9, unit in "[a-zA-Z%]{0,4}") {
            prop_assume!(!unit.starts_with(['e', 'E']));
            let text = format!("OK | '{}'={value}{unit};1;2", label.replace('\'', "''"));
            let said = read(text.as_bytes(), false);
            prop_assert_eq!(said.perfdata, vec![PerfdataValue { label, unit, value }]);
        }
    }

    fn within_bounds(said: &Said) -> Result<(), TestCaseError> {
        prop_assert!(said.message.len() <= limits::MESSAGE_BYTES && !said.message.chars().any(char::is_control));
        prop_assert!(said.perfdata.len() <= VALUES);
        for (n, value) in said.perfdata.iter().enumerate() {
            prop_assert!((1..=LABEL_BYTES).contains(&value.label.len()) && value.unit.len() <= UNIT_BYTES);
            prop_assert!(value.value.is_finite());
            let twice = |other: &PerfdataValue| (&other.label, &other.unit) == (&value.label, &value.unit);
            prop_assert!(!said.perfdata[..n].iter().any(twice));
        }
        Ok(())
    }
}
