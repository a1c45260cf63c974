//! A TOML document as a tree that knows where each of its nodes stands.

use std::ops::Range;

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::located::{Key, Node, Place, Value};

/// Reads a document; an error begins with its place.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let lines = Lines::new(text);
    match DeTable::parse(text) {
        Ok(table) => Ok(Node { at: lines.place(&table.span()), value: lines.table(table.get_ref())? }),
        Err(error) => Err(format!("{}: {}", lines.place(&error.span().unwrap_or_default()), error.message())),
    }
}

/// Where each line begins.
struct Lines<'a> {
    text: &'a str,
    begin: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let later = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, begin: std::iter::once(0).chain(later).collect() }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        let line = self.begin.partition_point(|begin| *begin <= span.start).max(1);
        let begin = self.begin.get(line - 1).copied().unwrap_or_default();
        let column = self.text.get(begin..span.start).map_or(0, |before| before.chars().count()) + 1;
        Place::new(line, column)
    }

    fn table(&self, table: &DeTable<'_>) -> Result<Value, String> {
        let entry = |(key, value): (&Spanned<std::borrow::Cow<'_, str>>, &Spanned<DeValue<'_>>)| {
            Ok((Key { at: self.place(&key.span()), name: key.get_ref().to_string() }, self.node(value)?))
        };
        Ok(Value::Map(table.iter().map(entry).collect::<Result<_, String>>()?))
    }

    fn node(&self, value: &Spanned<DeValue<'_>>) -> Result<Node, String> {
        let at = self.place(&value.span());
        let no_number = |text: &str| format!("{at}: {text} is no number here");
        let value = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(integer) => {
                let number = i64::from_str_radix(integer.as_str(), integer.radix());
                Value::Number(number.map_err(|_| no_number(integer.as_str()))?.into())
            }
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().and_then(Number::from_f64);
                Value::Number(number.ok_or_else(|| no_number(float.as_str()))?)
            }
            DeValue::Boolean(value) => Value::Bool(*value),
            // A timestamp of protobuf's JSON mapping is a text.
            DeValue::Datetime(time) => Value::Text(time.to_string()),
            DeValue::Array(items) => Value::List(items.iter().map(|item| self.node(item)).collect::<Result<_, _>>()?),
            DeValue::Table(table) => self.table(table)?,
        };
        Ok(Node { at, value })
    }
}
