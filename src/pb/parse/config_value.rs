//! A custom kind's configuration.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use crate::model::{ConfigValue, Violations};

/// Reads a configuration; an unset one is an empty object.
///
/// Whether the numbers are finite and the depth is allowed, the model judges. Nothing is read below the first level that it
/// refuses, so the recursion is bounded whatever arrives. Violations name the configuration as a whole: its keys are the
/// client's own and may be as long as a spec.
pub(super) fn config(v: &mut Violations, wire: Option<Struct>) -> ConfigValue {
    let Some(wire) = wire else { return ConfigValue::default() };
    object(wire, 1).unwrap_or_else(|Unset| {
        v.add("config", "each value must be set: null, a boolean, a number, text, a list or an object");
        ConfigValue::default()
    })
}

/// A value of no kind, which JSON has no form for.
struct Unset;

fn object(wire: Struct, depth: usize) -> Result<ConfigValue, Unset> {
    let Struct { fields } = wire;
    let fields = fields.into_iter().map(|(key, field)| Ok((key, value(field, depth + 1)?)));
    fields.collect::<Result<_, _>>().map(ConfigValue::Object)
}

fn value(wire: Value, depth: usize) -> Result<ConfigValue, Unset> {
    if depth > ConfigValue::MAX_DEPTH {
        return Ok(ConfigValue::Null);
    }
    let Value { kind } = wire;
    match kind.ok_or(Unset)? {
        Kind::NullValue(_) => Ok(ConfigValue::Null),
        Kind::BoolValue(value) => Ok(ConfigValue::Bool(value)),
        Kind::NumberValue(value) => Ok(ConfigValue::Number(value)),
        Kind::StringValue(value) => Ok(ConfigValue::String(value)),
        Kind::ListValue(ListValue { values }) => {
            let values = values.into_iter().map(|field| value(field, depth + 1));
            values.collect::<Result<_, _>>().map(ConfigValue::List)
        }
        Kind::StructValue(fields) => object(fields, depth),
    }
}
