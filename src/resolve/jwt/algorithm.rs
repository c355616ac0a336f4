//! The algorithms of signatures.

use jsonwebtoken::Algorithm;

/// A signature algorithm with a public key, for [`JwtSourceBuilder::pem`](super::JwtSourceBuilder::pem).
///
/// ```
/// use tenancy::resolve::{JwtAlgorithm, JwtSource};
/// # let pem = "-----BEGIN PUBLIC KEY-----\n\
/// #   MCowBQYDK2VwAyEA4tlB/L2PepXwo/RgADLYUfXTMj9rRiHXKnyceo6l7mY=\n-----END PUBLIC KEY-----";
/// let source = JwtSource::builder()
///     .issuer("https://login.example.com")
///     .audience("https://api.example.com")
///     .pem(JwtAlgorithm::EdDsa, pem)
///     .build()?;
/// # Ok::<(), tenancy::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JwtAlgorithm {
    /// RSA with PKCS #1 padding, and SHA-256.
    Rs256,
    /// RSA with PKCS #1 padding, and SHA-384.
    Rs384,
    /// RSA with PKCS #1 padding, and SHA-512.
    Rs512,
    /// RSA with PSS padding, and SHA-256.
    Ps256,
    /// RSA with PSS padding, and SHA-384.
    Ps384,
    /// RSA with PSS padding, and SHA-512.
    Ps512,
    /// ECDSA on the curve P-256, and SHA-256.
    Es256,
    /// ECDSA on the curve P-384, and SHA-384.
    Es384,
    /// Ed25519.
    EdDsa,
}

impl From<JwtAlgorithm> for Algorithm {
    fn from(algorithm: JwtAlgorithm) -> Self {
        match algorithm {
            JwtAlgorithm::Rs256 => Self::RS256,
            JwtAlgorithm::Rs384 => Self::RS384,
            JwtAlgorithm::Rs512 => Self::RS512,
            JwtAlgorithm::Ps256 => Self::PS256,
            JwtAlgorithm::Ps384 => Self::PS384,
            JwtAlgorithm::Ps512 => Self::PS512,
            JwtAlgorithm::Es256 => Self::ES256,
            JwtAlgorithm::Es384 => Self::ES384,
            JwtAlgorithm::EdDsa => Self::EdDSA,
        }
    }
}

/// The algorithm with this name in an `alg`. Names are case-sensitive.
pub(super) fn by_name(name: &str) -> Option<Algorithm> {
    Some(match name {
        "HS256" => Algorithm::HS256,
        "HS384" => Algorithm::HS384,
        "HS512" => Algorithm::HS512,
        "RS256" => Algorithm::RS256,
        "RS384" => Algorithm::RS384,
        "RS512" => Algorithm::RS512,
        "PS256" => Algorithm::PS256,
        "PS384" => Algorithm::PS384,
        "PS512" => Algorithm::PS512,
        "ES256" => Algorithm::ES256,
        "ES384" => Algorithm::ES384,
        "EdDSA" => Algorithm::EdDSA,
        _ => return None,
    })
}
