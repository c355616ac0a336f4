//! Typed reads of the fields of a JSON object. A value of another type is an error that names the field.
//!
//! An absent field, `null` and an empty text read as `None`.

use std::str::FromStr;

use serde_json::Value;

use crate::clock::Timestamp;

/// Why an event is malformed, for the quarantine.
pub(super) type Malformed = &'static str;

/// Defines a macro that reads a field with the function of the same name, and names the field in the error. `$dollar`
/// is `$`.
macro_rules! reader {
    ($dollar:tt $name:ident, $what:literal) => {
        macro_rules! $name {
                                                    ($dollar object:expr, $dollar key:literal) => {
                                                        $crate::billing::stripe::fields::$name(
                                                            $dollar object,
                                                            $dollar key,
                                                            concat!("`", $dollar key, "` is not ", $what),
                                                        )
                                                    };
                                                }
    };
}

reader!($ text, "a text");
reader!($ flag, "true or false");
reader!($ integer, "an integer");
reader!($ unsigned, "an integer of zero or more");
reader!($ time, "a time in whole seconds");
reader!($ id, "an id");
reader!($ nested, "an object");
reader!($ list, "a list of objects");

pub(super) fn text<'a>(
    object: &'a Value,
    key: &str,
    malformed: Malformed,
) -> Result<Option<&'a str>, Malformed> {
    let Some(value) = present(object, key) else { return Ok(None) };
    value.as_str().map(|text| Some(text).filter(|text| !text.is_empty())).ok_or(malformed)
}

pub(super) fn flag(object: &Value, key: &str, malformed: Malformed) -> Result<Option<bool>, Malformed> {
    present(object, key).map(|value| value.as_bool().ok_or(malformed)).transpose()
}

pub(super) fn integer(object: &Value, key: &str, malformed: Malformed) -> Result<Option<i64>, Malformed> {
    present(object, key).map(|value| whole(value).ok_or(malformed)).transpose()
}

/// An integer, written as a number or as a text.
pub(super) fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| exact(value))
}

pub(super) fn unsigned(object: &Value, key: &str, malformed: Malformed) -> Result<Option<u64>, Malformed> {
    present(object, key).map(|value| value.as_u64().or_else(|| exact(value)).ok_or(malformed)).transpose()
}

pub(super) fn time(object: &Value, key: &str, malformed: Malformed) -> Result<Option<Timestamp>, Malformed> {
    Ok(integer(object, key, malformed)?.map(Timestamp::from_seconds))
}

/// An id, or the `id` of an expanded object in its place.
pub(super) fn id(object: &Value, key: &str, malformed: Malformed) -> Result<Option<String>, Malformed> {
    let Some(value) = present(object, key) else { return Ok(None) };
    match value {
        Value::String(id) => Ok(Some(id.clone()).filter(|id| !id.is_empty())),
        Value::Object(expanded) => match expanded.get("id").and_then(Value::as_str) {
            Some(id) if !id.is_empty() => Ok(Some(id.to_owned())),
            _ => Err(malformed),
        },
        _ => Err(malformed),
    }
}

pub(super) fn nested<'a>(
    object: &'a Value,
    key: &str,
    malformed: Malformed,
) -> Result<Option<&'a Value>, Malformed> {
    present(object, key).map(|value| if value.is_object() { Ok(value) } else { Err(malformed) }).transpose()
}

/// A list inside an object.
#[derive(Default)]
pub(super) struct List<'a> {
    pub(super) entries: &'a [Value],
    /// Whether the list has further entries, which the event does not contain.
    pub(super) cut: bool,
}

pub(super) fn list<'a>(object: &'a Value, key: &str, malformed: Malformed) -> Result<List<'a>, Malformed> {
    let Some(list) = present(object, key) else { return Ok(List::default()) };
    let entries = list.get("data").and_then(Value::as_array).ok_or(malformed)?;
    if !entries.iter().all(Value::is_object) {
        return Err(malformed);
    }
    Ok(List { entries, cut: flag!(list, "has_more")?.unwrap_or(false) })
}

fn present<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// The number in a text of digits, with a `-` in front if it is negative.
fn exact<T: FromStr>(value: &Value) -> Option<T> {
    value.as_str().filter(|text| !text.starts_with('+'))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn absent_null_and_empty_are_none() {
        for object in [json!({}), json!({ "a": null }), json!([]), json!("a"), json!(null)] {
            assert_eq!(text!(&object, "a"), Ok(None));
            assert_eq!(flag!(&object, "a"), Ok(None));
            assert_eq!(integer!(&object, "a"), Ok(None));
            assert_eq!(unsigned!(&object, "a"), Ok(None));
            assert_eq!(time!(&object, "a"), Ok(None));
            assert_eq!(id!(&object, "a"), Ok(None));
            assert_eq!(nested!(&object, "a"), Ok(None));
            assert!(list!(&object, "a").is_ok_and(|list| list.entries.is_empty() && !list.cut));
        }
        assert_eq!(text!(&json!({ "a": "" }), "a"), Ok(None));
        assert_eq!(id!(&json!({ "a": "" }), "a"), Ok(None));
    }

    #[test]
    fn only_exact_integers_are_numbers() {
        for (value, read) in [
            (json!(5), Some(5)),
            (json!("5"), Some(5)),
            (json!("-5"), Some(-5)),
            (json!(i64::MIN.to_string()), Some(i64::MIN)),
            (json!(u64::MAX), None),
            (json!("9223372036854775808"), None),
            (json!("+5"), None),
            (json!(" 5"), None),
            (json!("5.0"), None),
            (json!(5.0), None),
            (json!("1e3"), None),
            (json!(""), None),
            (json!(true), None),
            (json!([5]), None),
        ] {
            let object = json!({ "a": value });
            assert_eq!(integer!(&object, "a").ok(), read.map(Some), "{value}");
        }
        assert_eq!(integer!(&json!({ "a": true }), "a"), Err("`a` is not an integer"));
        assert_eq!(unsigned!(&json!({ "a": "-5" }), "a"), Err("`a` is not an integer of zero or more"));
        assert_eq!(unsigned!(&json!({ "a": u64::MAX.to_string() }), "a"), Ok(Some(u64::MAX)));
    }
}
