//! Fixture: keys that only these tests use, and tokens signed with them.
#![allow(dead_code, unreachable_pub, reason = "each test program takes what it needs")]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use std::sync::Arc;
use tenancy::clock::{ManualClock, Timestamp};
use tenancy::resolve::{JwtAlgorithm, JwtSource, JwtSourceBuilder, OwnedRequest, Source, SourceOutcome};
use tenancy::tenant::TenantId;

pub const NOW: i64 = 1_900_000_000;
pub const ISSUER: &str = "https://login.example.com";
pub const AUDIENCE: &str = "https://api.example.com";
/// Long enough for each hash.
pub const SECRET: &[u8] = b"a secret of at least sixty-four bytes, which is as long as SHA-512 is";

pub const RSA: &str = include_str!("rsa.pem");
pub const RSA_PUBLIC: &str = include_str!("rsa.pub.pem");
pub const RSA_OTHER: &str = include_str!("rsa-other.pem");
pub const RSA_OTHER_PUBLIC: &str = include_str!("rsa-other.pub.pem");
pub const P256: &str = include_str!("p256.pem");
pub const P256_PUBLIC: &str = include_str!("p256.pub.pem");
pub const P384: &str = include_str!("p384.pem");
pub const P384_PUBLIC: &str = include_str!("p384.pub.pem");
pub const ED25519: &str = include_str!("ed25519.pem");
pub const ED25519_PUBLIC: &str = include_str!("ed25519.pub.pem");

/// Every algorithm with a public key, with its key pair.
pub const PAIRS: [(JwtAlgorithm, Algorithm, &str, &str); 9] = [
    (JwtAlgorithm::Rs256, Algorithm::RS256, RSA, RSA_PUBLIC),
    (JwtAlgorithm::Rs384, Algorithm::RS384, RSA, RSA_PUBLIC),
    (JwtAlgorithm::Rs512, Algorithm::RS512, RSA, RSA_PUBLIC),
    (JwtAlgorithm::Ps256, Algorithm::PS256, RSA, RSA_PUBLIC),
    (JwtAlgorithm::Ps384, Algorithm::PS384, RSA, RSA_PUBLIC),
    (JwtAlgorithm::Ps512, Algorithm::PS512, RSA, RSA_PUBLIC),
    (JwtAlgorithm::Es256, Algorithm::ES256, P256, P256_PUBLIC),
    (JwtAlgorithm::Es384, Algorithm::ES384, P384, P384_PUBLIC),
    (JwtAlgorithm::EdDsa, Algorithm::EdDSA, ED25519, ED25519_PUBLIC),
];

pub const SECRETS: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

pub fn private(pem: &str) -> EncodingKey {
    let pem = pem.as_bytes();
    EncodingKey::from_rsa_pem(pem)
        .or_else(|_| EncodingKey::from_ec_pem(pem))
        .or_else(|_| EncodingKey::from_ed_pem(pem))
        .unwrap()
}

pub fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::from_seconds(NOW)))
}

pub fn builder() -> JwtSourceBuilder {
    JwtSource::builder().issuer(ISSUER).audience(AUDIENCE).with_clock(clock())
}

/// Valid claims.
pub fn claims(tenant: &TenantId) -> Value {
    json!({
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada",
        "exp": NOW + 100_000,
        "iat": NOW - 5,
        "tenant_id": tenant.to_string(),
    })
}

/// Valid claims of this issuer.
pub fn claims_of(issuer: &str, tenant: &TenantId) -> Value {
    let mut claims = claims(tenant);
    claims["iss"] = json!(issuer);
    claims
}

/// A token with a correct header.
pub fn token(algorithm: Algorithm, kid: Option<&str>, claims: &Value, key: &EncodingKey) -> String {
    let mut header = json!({ "alg": format!("{algorithm:?}"), "typ": "JWT" });
    if let Some(kid) = kid {
        header["kid"] = json!(kid);
    }
    signed(algorithm, &header, claims, key)
}

/// A token with any header.
pub fn signed(algorithm: Algorithm, header: &Value, claims: &Value, key: &EncodingKey) -> String {
    let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

pub fn read(source: &JwtSource, token: &str) -> SourceOutcome {
    source.read(&OwnedRequest::get("/").with_header("Authorization", format!("Bearer {token}")))
}

/// The outcome as a text: the actor and the tenant, or the error.
pub fn outcome(signal: SourceOutcome) -> String {
    use tenancy::resolve::Candidate;
    let name = |candidate| match candidate {
        Candidate::Id(id) => id.to_string(),
        Candidate::Slug(slug) => slug.to_string(),
        other => panic!("{other:?}"),
    };
    match signal {
        SourceOutcome::Absent => "absent".to_owned(),
        SourceOutcome::Verified { candidate, actor } => format!("{actor} of {}", name(candidate)),
        SourceOutcome::VerifiedActor(actor) => format!("{actor}"),
        SourceOutcome::Forbidden { candidate, actor } => format!("denied {actor} of {}", name(candidate)),
        SourceOutcome::Invalid(error) => error.kind().code().to_owned(),
        SourceOutcome::Pending(_) => "pending".to_owned(),
        other => panic!("{other:?}"),
    }
}

pub fn judged(source: &JwtSource, token: &str) -> String {
    outcome(read(source, token))
}

/// The public key as a JWK, without `alg` and `kid`.
pub fn jwk(algorithm: Algorithm, pem: &str) -> Value {
    let jwk = jsonwebtoken::jwk::Jwk::from_encoding_key(&private(pem), algorithm).unwrap();
    let mut jwk = serde_json::to_value(jwk).unwrap();
    jwk.as_object_mut().unwrap().remove("alg");
    jwk
}
