use std::fmt;

use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::{Algorithm, DecodingKey};

use super::public_key::PublicKey;
use super::token::{Token, TokenError};

/// A key with the one algorithm it is for: a token cannot choose.
pub(super) struct VerificationKey {
    pub(super) kid: Option<String>,
    algorithm: Algorithm,
    material: DecodingKey,
}

impl VerificationKey {
    /// A shared secret, as long as the hash at least (RFC 7518, section 3.2).
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
            return Err("a PEM is no secret: give a public key with `pem`, and its algorithm");
        }
        Ok(Self { kid: None, algorithm, material: DecodingKey::from_secret(secret) })
    }

    pub(super) fn public(algorithm: Algorithm, key: &PublicKey) -> Result<Self, TokenError> {
        if !key.is_for(algorithm) {
            return Err("this key is not of the kind that its algorithm needs");
        }
        Ok(Self { kid: None, algorithm, material: key.material() })
    }

    /// Whether a token is signed with this key. One that has a name is asked only by tokens that name it.
    pub(super) fn verifies(&self, token: &Token<'_>) -> bool {
        self.algorithm == token.algorithm
            && (self.kid.is_none() || self.kid == token.kid)
            && self.signed(token)
    }

    /// Asks its provider by name: `jsonwebtoken::decode` asks for the default one, and panics in a program in
    /// which another crate turned the second one on.
    fn signed(&self, token: &Token<'_>) -> bool {
        (DEFAULT_PROVIDER.verifier_factory)(&self.algorithm, &self.material)
            .is_ok_and(|verifier| verifier.verify(token.message, &token.signature).is_ok())
    }
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}
