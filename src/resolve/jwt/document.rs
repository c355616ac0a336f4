//! A JSON Web Key Set (RFC 7517), read strictly: what is not understood is left out, what is ambiguous is refused.

use serde::Deserialize;
use serde_json::Value;
use tracing::{debug, warn};

use super::algorithm::named;
use super::key::VerificationKey;
use super::public_key::PublicKey;
use super::token::{Object, TokenError, is_kid};

const MOST: usize = 64;

#[derive(Deserialize)]
struct Document {
    keys: Vec<Object>,
}

/// The keys of a document that can verify a token; there may be none. Two of one name are both tried: nothing says
/// which one the issuer meant, and both are its own.
pub(super) fn keys(json: &[u8]) -> Result<Vec<VerificationKey>, TokenError> {
    let document: Document =
        serde_json::from_slice(json).map_err(|_| "not a JWKS: `{\"keys\": [..]}`, with every member once")?;
    if document.keys.len() > MOST {
        return Err("a JWKS of more than 64 keys");
    }
    let mut keys = Vec::with_capacity(document.keys.len());
    for (index, jwk) in document.keys.iter().enumerate() {
        match key(jwk) {
            Ok(key) => keys.push(key),
            Err(reason) => debug!(index, reason, "a key of a JWKS is left out"),
        }
    }
    Ok(keys)
}

fn key(jwk: &Object) -> Result<VerificationKey, TokenError> {
    // Everything but public keys: an `oct` key that anybody can read is no secret.
    let public = PublicKey::from_jwk(jwk)?;
    if jwk.get("d").is_some() {
        warn!("a JWKS publishes a private key; it is not used, and must be replaced");
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
        None => public.usual(),
        Some(alg) => alg.as_str().and_then(named).ok_or("an algorithm that is not known")?,
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
