//! Parses a JSON Web Key Set (RFC 7517) strictly: unknown keys are skipped, ambiguous documents rejected.

use serde::Deserialize;
use serde_json::Value;
use tracing::{debug, warn};

use super::algorithm::by_name;
use super::key::VerificationKey;
use super::public_key::PublicKey;
use super::token::{Object, TokenError, is_kid};

const MAX_KEYS: usize = 64;

#[derive(Deserialize)]
struct Document {
    keys: Vec<Object>,
}

/// The keys of a document that can verify a token; the list may be empty. Two keys with the same `kid` are both
/// tried: both belong to the issuer.
pub(super) fn keys(json: &[u8]) -> Result<Vec<VerificationKey>, TokenError> {
    let document: Document = serde_json::from_slice(json)
        .map_err(|_| "not a JWKS: `{\"keys\": [..]}`, without repeated members")?;
    if document.keys.len() > MAX_KEYS {
        return Err("a JWKS with over 64 keys");
    }
    let mut keys = Vec::with_capacity(document.keys.len());
    for (index, jwk) in document.keys.iter().enumerate() {
        match key(jwk) {
            Ok(key) => keys.push(key),
            Err(reason) => debug!(index, reason, "a key of a JWKS is skipped"),
        }
    }
    Ok(keys)
}

fn key(jwk: &Object) -> Result<VerificationKey, TokenError> {
    // Public keys only: a published `oct` key is not a secret.
    let public = PublicKey::from_jwk(jwk)?;
    if jwk.get("d").is_some() {
        warn!("a JWKS contains a private key; it is not used, and must be replaced");
        return Err("a private key");
    }
    if jwk.get("use").is_some_and(|purpose| purpose != "sig") {
        return Err("not for signatures");
    }
    if let Some(operations) = jwk.get("key_ops") {
        let verifies = operations.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"));
        if !verifies {
            return Err("not for verifying");
        }
    }
    let algorithm = match jwk.get("alg") {
        None => public.default_algorithm(),
        Some(alg) => alg.as_str().and_then(by_name).ok_or("an unknown algorithm")?,
    };
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) if is_kid(kid) => Some(kid.clone()),
        Some(_) => return Err("not a kid"),
    };
    let mut key = VerificationKey::public(algorithm, &public)?;
    key.kid = kid;
    Ok(key)
}
