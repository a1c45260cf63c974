//! A custom kind's configuration, as the kind reads it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use crate::model::{ConfigValue, Violations};

/// The configuration that a spec gives to a custom kind: an object of JSON's data model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config(ConfigValue);

impl Config {
    /// Wraps a value.
    pub const fn new(value: ConfigValue) -> Self {
        Self(value)
    }

    /// The value as it is.
    pub const fn value(&self) -> &ConfigValue {
        &self.0
    }

    /// The value as JSON, its fields in order.
    pub fn to_json(&self) -> Value {
        to_json(&self.0)
    }

    /// Whether it says nothing: an empty object, or null.
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            ConfigValue::Null => true,
            ConfigValue::Object(fields) => fields.is_empty(),
            _ => false,
        }
    }

    /// Reads it into a type of the kind's own; `#[serde(deny_unknown_fields)]` on that type keeps misspelt fields from being
    /// ignored. A violation carries the field's path within the configuration, as far as serde can tell: it stops at the first
    /// problem, and it places a missing field at the object that lacks it.
    ///
    /// ```
    /// use switchyard::monitor::Config;
    ///
    /// #[derive(serde::Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Queue {
    ///     name: String,
    ///     limit: u32,
    /// }
    ///
    /// let config = Config::from(serde_json::json!({"name": "orders", "limit": 1000}));
    /// assert_eq!(config.parse::<Queue>().unwrap().limit, 1000);
    ///
    /// let config = Config::from(serde_json::json!({"name": "orders", "limit": "many"}));
    /// assert_eq!(config.parse::<Queue>().err().unwrap().as_slice()[0].field, "limit");
    /// ```
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Violations> {
        serde_path_to_error::deserialize(to_json(&self.0)).map_err(|error| {
            let path = error.path().to_string();
            // How serde_path_to_error writes the root.
            let path = if path == "." { String::new() } else { path };
            Violations::one(path, error.into_inner().to_string())
        })
    }

    /// A violation for each field, where any is given: what a kind says that takes no configuration.
    pub fn refuse_any(&self) -> Result<(), Violations> {
        let mut violations = Violations::new();
        match &self.0 {
            ConfigValue::Null => {}
            ConfigValue::Object(fields) => {
                for field in fields.keys() {
                    violations.add(field, "this kind takes no configuration");
                }
            }
            _ => violations.add("", "this kind takes no configuration"),
        }
        violations.finish(Some(()))
    }
}

impl From<Value> for Config {
    fn from(value: Value) -> Self {
        Self(from_json(value))
    }
}

fn from_json(value: Value) -> ConfigValue {
    match value {
        Value::Null => ConfigValue::Null,
        Value::Bool(value) => ConfigValue::Bool(value),
        // Without serde_json's `arbitrary_precision` every number has a value as f64.
        Value::Number(number) => ConfigValue::Number(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => ConfigValue::String(text),
        Value::Array(values) => ConfigValue::List(values.into_iter().map(from_json).collect()),
        Value::Object(fields) => {
            ConfigValue::Object(fields.into_iter().map(|(key, value)| (key, from_json(value))).collect())
        }
    }
}

fn to_json(value: &ConfigValue) -> Value {
    match value {
        ConfigValue::Null => Value::Null,
        ConfigValue::Bool(value) => Value::Bool(*value),
        ConfigValue::Number(number) => number_to_json(*number),
        ConfigValue::String(text) => Value::String(text.clone()),
        ConfigValue::List(values) => Value::Array(values.iter().map(to_json).collect()),
        ConfigValue::Object(fields) => {
            Value::Object(fields.iter().map(|(key, value)| (key.clone(), to_json(value))).collect::<Map<_, _>>())
        }
    }
}

/// On the wire all numbers are floats; serde would refuse 5.0 for an integer, so whole numbers become integers again.
fn number_to_json(number: f64) -> Value {
    /// 2^53: up to here every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT {
        #[expect(clippy::cast_possible_truncation, reason = "whole, and within what an i64 holds")]
        let whole = number as i64;
        return Value::Number(whole.into());
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        count: u16,
        ratio: f64,
        #[serde(default)]
        inner: Vec<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        name: String,
    }

    fn problem(config: Value) -> (String, String) {
        let violations = Config::from(config).parse::<Sample>().expect_err("invalid");
        let first = &violations.as_slice()[0];
        (first.field.clone(), first.description.clone())
    }

    #[test]
    fn whole_numbers_fit_integers_and_floats() {
        let sample = Config::from(json!({"count": 5, "ratio": 1})).parse::<Sample>().expect("valid");
        assert_eq!(sample, Sample { count: 5, ratio: 1.0, inner: vec![] });
    }

    #[test]
    fn a_violation_has_the_path_of_its_field() {
        assert_eq!(problem(json!({"count": -1, "ratio": 1})).0, "count");
        assert_eq!(problem(json!({"count": 1.5, "ratio": 1})).0, "count");
        assert_eq!(problem(json!({"count": 1, "ratio": 1, "inner": [{"name": "a"}, {"name": 2}]})).0, "inner[1].name");
        assert_eq!(problem(json!({"count": 1, "ratio": 1, "other": 2})).0, "other");
        let (path, message) = problem(json!({"ratio": 1}));
        assert_eq!((path.as_str(), message.contains("count")), ("", true));
    }

    #[test]
    fn a_kind_without_configuration_refuses_every_field() {
        let violations = Config::from(json!({"a": 1, "b": 2})).refuse_any().expect_err("two fields");
        assert_eq!(violations.as_slice().len(), 2);
        assert!(Config::default().refuse_any().is_ok());
        assert!(Config::from(Value::Null).refuse_any().is_ok());
    }
}
