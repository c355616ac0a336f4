//! JSON Web Tokens (RFC 7519) as a source of the tenant.

mod algorithm;
mod builder;
mod claim_path;
mod document;
mod issuer;
mod key;
mod public_key;
#[cfg(feature = "jwks")]
mod remote;
mod source;
mod token;

pub use self::algorithm::JwtAlgorithm;
pub use self::builder::JwtSourceBuilder;
pub use self::claim_path::ClaimPath;
#[cfg(feature = "jwks")]
pub use self::remote::RemoteJwks;
pub use self::source::JwtSource;
