//! [`Format`]: parses a catalog from TOML or JSON, and finds the line of a value by its path.

use std::fmt;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor,
};

#[derive(Debug, Clone, Copy)]
pub(super) enum Format {
    Toml,
    Json,
}

/// What is wrong with a catalog, and the path of the value to blame.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) path: Vec<String>,
    pub(super) text: String,
}

impl Fault {
    pub(super) fn new(path: &[&str], text: impl Into<String>) -> Self {
        Self { path: path.iter().map(|&part| part.to_owned()).collect(), text: text.into() }
    }
}

impl Format {
    /// Parses the text. An error states its line.
    pub(super) fn parse<T: DeserializeOwned>(self, text: &str) -> Result<T, String> {
        match self {
            Self::Toml => toml::from_str(text).map_err(|error| {
                let line = error.span().map_or(1, |span| line_at(text, span.start));
                format!("line {line}: {}", error.message().replace('\n', " "))
            }),
            Self::Json => serde_json::from_str(text).map_err(|error| {
                let message = error.to_string();
                let end = message.rfind(" at line ").unwrap_or(message.len());
                format!("line {}: {}", error.line(), &message[..end])
            }),
        }
    }

    /// The line of the value at a path, from 1. A path that the text lacks has the line of its last known part.
    pub(super) fn line_of(self, text: &str, path: &[String]) -> Option<usize> {
        (1..=path.len()).rev().find_map(|length| {
            let seed = Locate(&path[..length]);
            match self {
                Self::Toml => {
                    let deserializer = toml::Deserializer::parse(text).ok()?;
                    let error = seed.deserialize(deserializer).err()?;
                    error.span().map(|span| line_at(text, span.start))
                }
                Self::Json => {
                    let mut deserializer = serde_json::Deserializer::from_str(text);
                    seed.deserialize(&mut deserializer).err().map(|error| error.line())
                }
            }
        })
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|&&byte| byte == b'\n').count() + 1
}

/// Reads up to the value at the path and fails there, so that the parser reports the position.
#[derive(Clone, Copy)]
struct Locate<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for Locate<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Locate<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value to find")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((wanted, rest)) = self.0.split_first() else { return Err(A::Error::custom("found")) };
        while let Some(key) = map.next_key::<String>()? {
            if key == *wanted {
                map.next_value_seed(Locate(rest))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}
