//! A key that verifies tokens, bound to one algorithm.

use std::fmt;

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::public_key::PublicKey;
use super::token::{Token, TokenError};

/// A key and its only algorithm, which a token cannot change.
pub(super) struct VerificationKey {
    pub(super) kid: Option<String>,
    algorithm: Algorithm,
    material: DecodingKey,
}

impl VerificationKey {
    /// A shared secret, at least as long as the hash (RFC 7518, section 3.2).
    pub(super) fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, TokenError> {
        let (shortest, short) = match algorithm {
            Algorithm::HS384 => (48, "an HS384 secret has at least 48 bytes; generate one"),
            Algorithm::HS512 => (64, "an HS512 secret has at least 64 bytes; generate one"),
            _ => (32, "an HS256 secret has at least 32 bytes; generate one"),
        };
        if secret.len() < shortest {
            return Err(short);
        }
        if secret.trim_ascii_start().starts_with(b"-----BEGIN ") {
            return Err("a PEM is not a secret: add a public key with `pem`, and its algorithm");
        }
        let material =
            DecodingKey::from_secret(secret).map_err(|_| "a secret is not usable; generate one")?;
        Ok(Self { kid: None, algorithm, material })
    }

    pub(super) fn public(algorithm: Algorithm, key: &PublicKey) -> Result<Self, TokenError> {
        if !key.is_for(algorithm) {
            return Err("the algorithm needs another type of key");
        }
        Ok(Self { kid: None, algorithm, material: key.material() })
    }

    /// Whether a token is signed with this key. A key with a `kid` verifies only tokens with the same `kid`.
    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        self.algorithm == token.algorithm
            && (self.kid.is_none() || self.kid == token.kid)
            && self.verifies_signature(token)
    }

    /// Names the crypto provider: `jsonwebtoken::decode` uses the default one, and panics in a program in which
    /// another crate enables a second provider.
    fn verifies_signature(&self, token: &Token<'_>) -> bool {
        (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm, &self.material)
            .is_ok_and(|verifier| verifier.verify(token.message, &token.signature).is_ok())
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
