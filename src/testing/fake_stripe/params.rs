//! [`Params`]: the parameters of a call, from `a[b][0]=c`.

use serde_json::{Map, Value};

use super::failure::Failure;

/// Form-encoded parameters. Every value is a text, and lists have the keys `0`, `1` and so on.
#[derive(Debug, Clone, Default)]
pub(super) struct Params {
    values: Map<String, Value>,
    /// The name of this part in an error, such as `items[0]`.
    at: String,
}

impl Params {
    /// Parses a query or a form.
    pub(super) fn parse(form: &str) -> Result<Self, Failure> {
        let mut params = Self::default();
        for pair in form.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            let keys: Vec<&str> = name.split('[').map(|key| key.trim_end_matches(']')).collect();
            set(&mut params.values, &keys, value)
                .map_err(|()| Failure::invalid(format!("Invalid parameter: {name}")).param(name.as_str()))?;
        }
        Ok(params)
    }

    /// Plain parameters.
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        let values = pairs.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
        Self { values, at: String::new() }
    }

    /// Rejects a parameter that no pattern allows. In a pattern, `#` is any index and `**` is all that follows.
    pub(super) fn allow(&self, patterns: &[&str]) -> Result<(), Failure> {
        let mut found = Vec::new();
        flatten(&self.values, &mut Vec::new(), &mut found);
        for path in found {
            let allowed =
                ["expand", "expand.#"].iter().chain(patterns).any(|pattern| matches(pattern, &path));
            if !allowed {
                let name = bracketed(&path);
                return Err(Failure::invalid(format!("Received unknown parameter: {name}"))
                    .code("parameter_unknown")
                    .param(name));
            }
        }
        Ok(())
    }

    fn name(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}[{key}]", self.at) }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// A text. An empty one means that the field is unset.
    pub(super) fn text(&self, key: &str) -> Result<Option<&str>, Failure> {
        match self.values.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Failure::invalid(format!("Invalid string: {key}")).param(self.name(key))),
        }
    }

    /// A text that is neither absent nor empty.
    pub(super) fn some(&self, key: &str) -> Result<Option<&str>, Failure> {
        Ok(self.text(key)?.filter(|text| !text.is_empty()))
    }

    pub(super) fn required(&self, key: &str) -> Result<&str, Failure> {
        self.some(key)?.ok_or_else(|| Failure::missing(&self.name(key)))
    }

    /// An absolute URL of a web page.
    pub(super) fn url(&self, key: &str) -> Result<Option<&str>, Failure> {
        let Some(url) = self.some(key)? else { return Ok(None) };
        let is_absolute = url.starts_with("http://") || url.starts_with("https://");
        if is_absolute && !url.contains(|letter: char| letter.is_control() || letter == ' ') {
            return Ok(Some(url));
        }
        Err(Failure::invalid("Not a valid URL").code("url_invalid").param(self.name(key)))
    }

    /// One of these texts.
    pub(super) fn one_of(
        &self,
        key: &str,
        allowed: &[&'static str],
    ) -> Result<Option<&'static str>, Failure> {
        let Some(text) = self.some(key)? else { return Ok(None) };
        allowed.iter().find(|one| **one == text).copied().map(Some).ok_or_else(|| {
            let message = format!("Invalid {key}: must be one of {}", allowed.join(", "));
            Failure::invalid(message).param(self.name(key))
        })
    }

    pub(super) fn integer(&self, key: &str) -> Result<Option<i64>, Failure> {
        let Some(text) = self.some(key)? else { return Ok(None) };
        text.parse().map(Some).map_err(|_| {
            Failure::invalid(format!("Invalid integer: {text}"))
                .code("parameter_invalid_integer")
                .param(self.name(key))
        })
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, Failure> {
        match self.some(key)? {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(Failure::invalid(format!("Invalid boolean: {text}")).param(self.name(key))),
        }
    }

    /// The parameters below a key.
    pub(super) fn nested(&self, key: &str) -> Option<Self> {
        let Some(Value::Object(values)) = self.values.get(key) else { return None };
        Some(Self { values: values.clone(), at: self.name(key) })
    }

    /// As [`nested`](Self::nested); absent is empty.
    pub(super) fn part(&self, key: &str) -> Self {
        self.nested(key).unwrap_or_default()
    }

    /// The entries of a list of objects, in their order.
    pub(super) fn list(&self, key: &str) -> Vec<Self> {
        let Some(list) = self.nested(key) else { return Vec::new() };
        sorted(&list.values)
            .into_iter()
            .filter_map(|(index, value)| {
                let values = value.as_object()?.clone();
                Some(Self { values, at: list.name(index) })
            })
            .collect()
    }

    /// The texts of a list, or one text.
    pub(super) fn texts(&self, key: &str) -> Vec<&str> {
        match self.values.get(key) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Object(list)) => {
                sorted(list).into_iter().filter_map(|(_, value)| value.as_str()).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The keys and texts below a key.
    pub(super) fn pairs(&self, key: &str) -> Vec<(String, String)> {
        let values = self.nested(key).unwrap_or_default().values;
        let pair = |(key, value): (String, Value)| Some((key, value.as_str()?.to_owned()));
        values.into_iter().filter_map(pair).collect()
    }

    /// Writes `metadata` into an object: an empty text removes a key, and empty metadata all of them.
    pub(super) fn write_metadata(&self, object: &mut Value) -> Result<(), Failure> {
        if !object["metadata"].is_object() || (self.has("metadata") && self.nested("metadata").is_none()) {
            object["metadata"] = Value::Object(Map::new());
        }
        for (key, value) in self.pairs("metadata") {
            if key.chars().count() > 40 || value.chars().count() > 500 {
                return Err(Failure::invalid(
                    "Metadata has keys of at most 40 characters, and values of at most 500.",
                )
                .param(format!("metadata[{key}]")));
            }
            let metadata = object["metadata"].as_object_mut().expect("it was just written");
            if value.is_empty() {
                metadata.remove(&key);
            } else {
                metadata.insert(key, value.into());
            }
        }
        if object["metadata"].as_object().is_some_and(|metadata| metadata.len() > 50) {
            return Err(Failure::invalid("Metadata has at most 50 keys.").param("metadata"));
        }
        Ok(())
    }

    /// Writes these texts into an object; an empty text becomes `null`.
    pub(super) fn write_texts(&self, object: &mut Value, keys: &[&str]) -> Result<(), Failure> {
        for key in keys {
            if let Some(text) = self.text(key)? {
                object[*key] = if text.is_empty() { Value::Null } else { text.into() };
            }
        }
        Ok(())
    }

    /// The parameters of an item as a change of its subscription.
    pub(super) fn as_item(&self, id: Option<&str>) -> Self {
        let mut item = self.values.clone();
        let mut values = Map::new();
        for key in ["subscription", "expand"] {
            item.remove(key);
        }
        for key in ["proration_behavior", "payment_behavior"] {
            values.extend(item.remove(key).map(|value| (key.to_owned(), value)));
        }
        if let Some(id) = id {
            item.insert("id".to_owned(), id.into());
        }
        values.insert("items".to_owned(), serde_json::json!({ "0": item }));
        Self { values, at: String::new() }
    }

    /// The same parameters in a fixed order, to compare two calls.
    pub(super) fn fingerprint(&self) -> String {
        Value::Object(self.values.clone()).to_string()
    }
}

fn sorted(list: &Map<String, Value>) -> Vec<(&str, &Value)> {
    let mut entries: Vec<_> = list.iter().map(|(key, value)| (key.as_str(), value)).collect();
    entries.sort_by_key(|(key, _)| key.parse::<u32>().unwrap_or(u32::MAX));
    entries
}

/// Writes a value at a path of keys. An empty key appends to a list.
fn set(values: &mut Map<String, Value>, keys: &[&str], value: String) -> Result<(), ()> {
    let (first, rest) = keys.split_first().filter(|_| keys.len() <= 8).ok_or(())?;
    let key = if first.is_empty() { values.len().to_string() } else { (*first).to_owned() };
    if rest.is_empty() {
        values.insert(key, value.into());
        return Ok(());
    }
    let inner = values.entry(key).or_insert_with(|| Value::Object(Map::new()));
    set(inner.as_object_mut().ok_or(())?, rest, value)
}

fn flatten<'a>(values: &'a Map<String, Value>, path: &mut Vec<&'a str>, found: &mut Vec<Vec<String>>) {
    for (key, value) in values {
        path.push(key);
        match value {
            Value::Object(inner) => flatten(inner, path, found),
            _ => found.push(path.iter().map(|key| (*key).to_owned()).collect()),
        }
        path.pop();
    }
}

fn matches(pattern: &str, path: &[String]) -> bool {
    let mut path = path.iter();
    for part in pattern.split('.') {
        match (part, path.next()) {
            ("**", Some(_)) => return true,
            ("#", Some(key)) if key.bytes().all(|byte| byte.is_ascii_digit()) => {}
            (part, Some(key)) if part == key => {}
            _ => return false,
        }
    }
    path.next().is_none()
}

/// A path as Stripe writes it: `items[0][price]`.
fn bracketed(path: &[String]) -> String {
    path.iter()
        .fold(String::new(), |name, key| if name.is_empty() { key.clone() } else { name + "[" + key + "]" })
}

fn decode(text: &str) -> Result<String, Failure> {
    let malformed = || Failure::invalid("The parameters are not form-encoded UTF-8.");
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let (high, low) = high.zip(low).ok_or_else(malformed)?;
                u8::try_from(16 * high + low).map_err(|_| malformed())?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_become_lists_and_objects() {
        let params =
            Params::parse("items[1][price]=b&items[0][price]=a+%C3%A9&types[]=x&types[]=y&m[k]=").unwrap();
        let prices: Vec<_> =
            params.list("items").iter().map(|item| item.required("price").unwrap().to_owned()).collect();
        assert_eq!(prices, ["a é", "b"]);
        assert_eq!(params.texts("types"), ["x", "y"]);
        assert_eq!(params.pairs("m"), [("k".to_owned(), String::new())]);
        assert!(params.allow(&["items.#.price", "types.#", "m.**"]).is_ok());
        let error = params.allow(&["types.#", "m.**"]).unwrap_err().body();
        assert_eq!(error["error"]["code"], "parameter_unknown");
        assert_eq!(error["error"]["param"], "items[0][price]");
    }

    #[test]
    fn what_is_not_a_form_is_rejected() {
        for form in ["a=%zz", "a=%f", "a=%ff", "a=1&a[b]=2", "a[b][c][d][e][f][g][h][i][j]=1"] {
            assert!(Params::parse(form).is_err(), "{form}");
        }
    }
}
