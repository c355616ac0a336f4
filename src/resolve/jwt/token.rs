//! Parses tokens strictly: what a lax parser would overlook is rejected. Signatures are verified in `key.rs`.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::super::candidate::{Candidate, Naming};
use super::algorithm::by_name;
use super::claim_path::ClaimPath;
use crate::tenant::TenantId;

/// Why a token is rejected. For the log; the client gets the same error for every reason.
pub(super) type TokenError = &'static str;

const MAX_LENGTH: usize = 8 * 1024;
const LEEWAY: i64 = 30;
const END_OF_TIME: i64 = 253_402_300_799; // the last second of the year 9999

/// Whether a text is accepted as the `kid` of a key.
pub(super) fn is_kid(text: &str) -> bool {
    text.len() <= 128 && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The parts of a token that is not verified yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// The signed text: header and payload as they were sent.
    pub(super) message: &'a [u8],
    pub(super) payload: &'a [u8],
    pub(super) signature: Vec<u8>,
}

impl<'a> Token<'a> {
    /// Splits and decodes a token. The length is checked first.
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, TokenError> {
        if token.len() > MAX_LENGTH {
            return Err("longer than 8 KiB");
        }
        let mut parts = token.split(|b| *b == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err("not three parts");
        };
        let message = &token[..header.len() + 1 + payload.len()];
        let header = Object::decode(header)?;
        for name in ["crit", "b64", "enc", "zip"] {
            if header.get(name).is_some() {
                return Err("a header that changes the meaning of the token");
            }
        }
        match header.get("typ") {
            None => {}
            Some(Value::String(typ))
                if typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("at+jwt") => {}
            Some(_) => return Err("not the type of an access token"),
        }
        let algorithm =
            header.get("alg").and_then(Value::as_str).and_then(by_name).ok_or("not an algorithm")?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) if is_kid(kid) => Some(kid.clone()),
            Some(_) => return Err("not a kid"),
        };
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| "not base64url")?;
        Ok(Self { algorithm, kid, message, payload, signature })
    }
}

/// The claims of a token.
#[derive(Debug)]
pub(super) struct Claims(Object);

impl Claims {
    pub(super) fn parse(payload: &[u8]) -> Result<Self, TokenError> {
        Object::decode(payload).map(Self)
    }

    /// Requires `exp`; checks `nbf` and `iat` if present.
    pub(super) fn check_times(&self, now: i64) -> Result<(), TokenError> {
        if self.time("exp")?.ok_or("no exp")? + LEEWAY <= now {
            return Err("expired");
        }
        for claim in ["nbf", "iat"] {
            if self.time(claim)?.is_some_and(|time| time > now + LEEWAY) {
                return Err("from the future");
            }
        }
        Ok(())
    }

    pub(super) fn issuer(&self) -> Result<&str, TokenError> {
        self.text("iss")
    }

    pub(super) fn check_audience(&self, audiences: &[String]) -> Result<(), TokenError> {
        let is_accepted = |found: &str| audiences.iter().any(|audience| audience == found);
        let found = match self.0.get("aud") {
            Some(Value::String(found)) => is_accepted(found),
            Some(Value::Array(all)) if all.iter().all(Value::is_string) => {
                all.iter().filter_map(Value::as_str).any(is_accepted)
            }
            _ => return Err("no aud, or not text"),
        };
        if found { Ok(()) } else { Err("for another audience") }
    }

    pub(super) fn subject(&self) -> Result<&str, TokenError> {
        let subject = self.text("sub")?;
        if subject.is_empty() || subject.len() > 255 || subject.chars().any(char::is_control) {
            return Err("not a sub");
        }
        Ok(subject)
    }

    pub(super) fn tenant(&self, claim: &ClaimPath, naming: Naming) -> Result<Candidate, TokenError> {
        let candidate = match (claim.find(&self.0.0), naming) {
            (Some(Value::String(text)), _) => naming.parse(text).ok(),
            (Some(Value::Number(number)), Naming::Id) => {
                number.as_i64().and_then(|id| TenantId::from_int(id).ok()).map(Candidate::Id)
            }
            _ => None,
        };
        candidate.ok_or("no tenant claim, or not the name of a tenant")
    }

    fn text(&self, claim: &str) -> Result<&str, TokenError> {
        self.0.get(claim).and_then(Value::as_str).ok_or("a claim is missing, or not text")
    }

    /// A time in whole seconds; fractions are truncated.
    fn time(&self, claim: &str) -> Result<Option<i64>, TokenError> {
        let Some(value) = self.0.get(claim) else { return Ok(None) };
        let whole = value.as_i64().or_else(|| value.as_f64().map(whole_seconds));
        match whole {
            Some(seconds) if (0..=END_OF_TIME).contains(&seconds) => Ok(Some(seconds)),
            _ => Err("a claim is not a time"),
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the cast saturates, and the ends are out of range")]
fn whole_seconds(seconds: f64) -> i64 {
    seconds.floor() as i64
}

/// A JSON object without repeated keys, at any depth. Parsers disagree on which of two values counts.
#[derive(Debug)]
pub(super) struct Object(BTreeMap<String, Value>);

impl Object {
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    fn decode(part: &[u8]) -> Result<Self, TokenError> {
        let json = URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url")?;
        serde_json::from_slice(&json).map_err(|_| "not a JSON object without repeated keys")
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Strict::deserialize(deserializer)?.0 {
            Value::Object(members) => Ok(Self(members.into_iter().collect())),
            _ => Err(D::Error::custom("not an object")),
        }
    }
}

/// A JSON value in which no object has a repeated key.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = serde_json::Map::new();
        while let Some((key, Strict(value))) = map.next_entry::<String, Strict>()? {
            if members.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is repeated"));
            }
        }
        Ok(members.into())
    }
}
