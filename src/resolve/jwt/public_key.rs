//! Parses public keys: PEM (RFC 7468, RFC 5280) and JWK (RFC 7517, RFC 7518, RFC 8037).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::token::{Object, TokenError};

/// The parts of a public key that is strong enough.
#[derive(Debug)]
pub(super) enum PublicKey {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// The point, uncompressed.
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

const NOT_A_PEM: TokenError =
    "this is not the PEM of one public key; it starts with `-----BEGIN PUBLIC KEY-----`";
const OTHER_KIND: TokenError = "this is not a public key of RSA, P-256, P-384 or Ed25519";

impl PublicKey {
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, TokenError> {
        let text = str::from_utf8(pem).map_err(|_| NOT_A_PEM)?.trim_ascii();
        if text.contains("PRIVATE KEY") {
            return Err(
                "this is a private key; configure the public key, and keep the private one with the issuer",
            );
        }
        if text.contains("BEGIN CERTIFICATE") {
            return Err("this is a certificate, and its chain would not be verified; extract its public key");
        }
        let inner = text
            .strip_prefix("-----BEGIN PUBLIC KEY-----")
            .and_then(|inner| inner.strip_suffix("-----END PUBLIC KEY-----"))
            .ok_or(NOT_A_PEM)?;
        let base64: String = inner.split_ascii_whitespace().collect();
        let der = STANDARD.decode(base64).map_err(|_| NOT_A_PEM)?;
        Self::from_der(&der)
    }

    /// A `SubjectPublicKeyInfo`, and nothing after it.
    fn from_der(der: &[u8]) -> Result<Self, TokenError> {
        const SEQUENCE: u8 = 0x30;
        const INTEGER: u8 = 0x02;
        const BIT_STRING: u8 = 0x03;
        // The contents of the `AlgorithmIdentifier`: object identifiers and parameters.
        const RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        const P256: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
        const P384: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
        const ED25519: &[u8] = b"\x06\x03\x2b\x65\x70";

        let read = || {
            let info = only(SEQUENCE, der)?;
            let (kind, rest) = element(SEQUENCE, info)?;
            // The zero byte: no bit of the last byte is unused.
            let key = only(BIT_STRING, rest)?.strip_prefix(&[0])?;
            Some((kind, key))
        };
        let (kind, key) = read().ok_or(NOT_A_PEM)?;
        match kind {
            RSA => {
                let numbers = only(SEQUENCE, key).ok_or(NOT_A_PEM)?;
                let (n, rest) = element(INTEGER, numbers).ok_or(NOT_A_PEM)?;
                Self::rsa(n, only(INTEGER, rest).ok_or(NOT_A_PEM)?)
            }
            P256 => Self::point(key, 32).map(Self::P256),
            P384 => Self::point(key, 48).map(Self::P384),
            ED25519 => Self::ed25519(key.to_vec()),
            _ => Err(OTHER_KIND),
        }
    }

    /// Parses the members of a JWK.
    pub(super) fn from_jwk(jwk: &Object) -> Result<Self, TokenError> {
        let text = |name| jwk.get(name).and_then(Value::as_str);
        let bytes = |name| {
            let text = text(name).ok_or("a part of the key is missing")?;
            URL_SAFE_NO_PAD.decode(text).map_err(|_| "a part of the key is not base64url")
        };
        let point = |width| {
            let (x, y) = (bytes("x")?, bytes("y")?);
            // Each coordinate is checked: a long one must not compensate for a short one.
            if x.len() == width { Self::point(&[&[4], &*x, &*y].concat(), width) } else { Err(OTHER_KIND) }
        };
        match (text("kty"), text("crv")) {
            (Some("RSA"), _) => Self::rsa(&bytes("n")?, &bytes("e")?),
            (Some("EC"), Some("P-256")) => point(32).map(Self::P256),
            (Some("EC"), Some("P-384")) => point(48).map(Self::P384),
            (Some("OKP"), Some("Ed25519")) => Self::ed25519(bytes("x")?),
            _ => Err(OTHER_KIND),
        }
    }

    fn rsa(n: &[u8], e: &[u8]) -> Result<Self, TokenError> {
        let (n, e) = (unsigned(n), unsigned(e));
        let bits = n.len() * 8 - n.first().map_or(0, |first| first.leading_zeros() as usize);
        if bits < 2048 {
            return Err("an RSA key has at least 2048 bits; generate a new one");
        }
        if bits > 8192 {
            return Err("an RSA key has at most 8192 bits");
        }
        // With the exponent one, every text would be its own signature.
        if e.len() > 8
            || e == [1]
            || [n, e].iter().any(|number| number.last().is_none_or(|last| last % 2 == 0))
        {
            return Err("these are not the modulus and exponent of an RSA key");
        }
        Ok(Self::Rsa { n: n.to_vec(), e: e.to_vec() })
    }

    fn point(bytes: &[u8], width: usize) -> Result<Vec<u8>, TokenError> {
        if bytes.len() == 1 + 2 * width && bytes[0] == 4 {
            Ok(bytes.to_vec())
        } else {
            Err("this is not an uncompressed point of its curve")
        }
    }

    fn ed25519(bytes: Vec<u8>) -> Result<Self, TokenError> {
        if bytes.len() == 32 { Ok(Self::Ed25519(bytes)) } else { Err("an Ed25519 key has 32 bytes") }
    }

    /// The algorithm of a JWK without `alg`.
    pub(super) fn default_algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa { .. } => Algorithm::RS256,
            Self::P256(_) => Algorithm::ES256,
            Self::P384(_) => Algorithm::ES384,
            Self::Ed25519(_) => Algorithm::EdDSA,
        }
    }

    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        match self {
            Self::Rsa { .. } => matches!(
                algorithm,
                Algorithm::RS256
                    | Algorithm::RS384
                    | Algorithm::RS512
                    | Algorithm::PS256
                    | Algorithm::PS384
                    | Algorithm::PS512
            ),
            _ => algorithm == self.default_algorithm(),
        }
    }

    pub(super) fn material(&self) -> DecodingKey {
        match self {
            Self::Rsa { n, e } => DecodingKey::from_rsa_raw_components(n, e),
            Self::P256(point) | Self::P384(point) => DecodingKey::from_ec_der(point),
            Self::Ed25519(key) => DecodingKey::from_ed_der(key),
        }
    }
}

/// The contents of a DER element with this tag, and no bytes after it.
fn only(tag: u8, der: &[u8]) -> Option<&[u8]> {
    element(tag, der).filter(|(_, rest)| rest.is_empty()).map(|(contents, _)| contents)
}

/// The contents of the first DER element, which has this tag, and the bytes after it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.split_first()?;
    let (&short, rest) = rest.split_first()?;
    let (length, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 | 0x82 => {
            let (length, rest) = rest.split_at_checked(usize::from(short - 0x80))?;
            (length.iter().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if first == tag { rest.split_at_checked(length) } else { None }
}

/// A number without leading zeros.
fn unsigned(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}
