//! A token that a lax verifier accepts is rejected, and every rejection looks the same.

use std::net::TcpListener;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tenancy::resolve::{JwtSource, OwnedRequest, Source, SourceOutcome};
use tenancy::tenant::TenantId;

use crate::fixture::{
    AUDIENCE, Answer, ED25519_PUBLIC, Fixture, ISSUER, NOW, OTHER_SECRET, SECRET, bearer, claims, signed,
    signed_ed25519,
};

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

async fn present(fixture: &Fixture, authorization: impl AsRef<[u8]>) -> Answer {
    let value = HeaderValue::from_bytes(authorization.as_ref()).unwrap();
    let request = Request::get("/orders").header("host", "example.com").header("authorization", value);
    fixture.send(request.body(Body::empty()).unwrap()).await
}

/// Valid claims with these changes; `null` removes a claim.
fn with(fixture: &Fixture, changes: &Value) -> String {
    let mut claims = claims(&fixture.acme);
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims.to_string()
}

#[tokio::test]
async fn a_token_reaches_its_own_tenant() {
    let fixture = Fixture::new().await;
    for (tenant, _) in fixture.both_sides() {
        let expected = format!("{} user:ada jwt", tenant.slug());
        let body = claims(tenant).to_string();
        for header in [
            r#"{"alg":"HS256"}"#,
            HS256,
            r#"{"alg":"HS256","typ":"at+jwt"}"#,
            r#"{"alg":"HS256","typ":"at+JWT","kid":"not-ours"}"#,
            r#"{"alg":"HS256","jku":"https://evil.com/keys","x5u":"https://evil.com","jwk":{"kty":"oct"}}"#,
        ] {
            assert_eq!(present(&fixture, signed(header, &body, SECRET)).await.body, expected, "{header}");
        }
        let ed = signed_ed25519(r#"{"alg":"EdDSA","kid":"ed-1"}"#, &body);
        assert_eq!(present(&fixture, ed).await.body, expected);

        // I69: the scheme is compared case-insensitively.
        for scheme in ["bearer", "BEARER"] {
            let token = bearer(tenant).replacen("Bearer", scheme, 1);
            assert_eq!(present(&fixture, token).await.body, expected, "{scheme}");
        }
    }
}

#[tokio::test]
async fn claims_that_are_in_order_are_accepted() {
    let fixture = Fixture::new().await;
    for changes in [
        json!({"aud": [AUDIENCE]}),
        json!({"aud": ["https://other.example.com", AUDIENCE]}),
        json!({"exp": NOW - 29}),
        json!({"exp": 1_900_000_000.5}),
        json!({"nbf": NOW + 30, "iat": NOW + 30}),
        json!({"iat": null}),
        json!({"scope": "a b", "nested": {"tenant_id": "x"}}),
        // Claims that users can edit at some issuers name another tenant.
        json!({"user_metadata": {"tenant_id": fixture.globex.id().to_string()}, "org_id": fixture.globex.id().to_string()}),
        json!({"app_metadata": {"tenant_id": fixture.globex.id().to_string()}, "tenant": "globex", "tid": "globex"}),
    ] {
        let answer = present(&fixture, signed(HS256, &with(&fixture, &changes), SECRET)).await;
        assert_eq!(answer.body, "acme user:ada jwt", "{changes}");
    }
}

#[tokio::test]
async fn every_flaw_is_rejected_and_all_rejections_look_alike() {
    let fixture = Fixture::new().await;
    let mut cases = flawed_headers(&fixture);
    cases.extend(flawed_claims(&fixture));
    cases.extend(flawed_forms(&fixture));
    assert!(cases.len() > 100, "the list of flaws became short: {}", cases.len());
    let expected = present(&fixture, "Bearer a.b.c").await;
    assert_eq!(expected.status, StatusCode::UNAUTHORIZED);
    assert_eq!(expected.code(), "credential-invalid");
    assert_eq!(expected.headers["www-authenticate"], "Bearer");
    for (row, authorization) in cases {
        let answer = present(&fixture, &authorization).await;
        assert_eq!(answer, expected, "{row}: {}", String::from_utf8_lossy(&authorization));
    }
}

/// Wrong keys and algorithms, and headers that change the meaning.
fn flawed_headers(fixture: &Fixture) -> Vec<(&'static str, Vec<u8>)> {
    let good = claims(&fixture.acme).to_string();
    let mut cases = Vec::new();
    let mut case = |row, authorization: String| cases.push((row, authorization.into_bytes()));

    // Keys and algorithms.
    case("I52", signed(r#"{"alg":"HS256","kid":"ed-1"}"#, &good, ED25519_PUBLIC.as_bytes()));
    case("I52", signed(HS256, &good, ED25519_PUBLIC.as_bytes()));
    case("I53", signed(r#"{"alg":"EdDSA","kid":"ed-1"}"#, &good, SECRET));
    case("I53", signed_ed25519(r#"{"alg":"HS256","kid":"ed-1"}"#, &good));
    case("kid", signed_ed25519(r#"{"alg":"EdDSA"}"#, &good));
    case("kid", signed_ed25519(r#"{"alg":"EdDSA","kid":"ed-2"}"#, &good));
    case("signature", signed(HS256, &good, OTHER_SECRET));
    for alg in ["none", "None", "HS384", "HS512", "RS256", "PS256", "ES256", "hs256", ""] {
        case("alg", signed(&json!({ "alg": alg }).to_string(), &good, SECRET));
    }
    case("alg", signed(r#"{"typ":"JWT"}"#, &good, SECRET));
    case("alg", signed(r#"{"alg":"none","alg":"HS256"}"#, &good, SECRET));
    let unsigned =
        format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), URL_SAFE_NO_PAD.encode(&good));
    case("alg none", format!("Bearer {unsigned}"));

    // Headers that change the meaning.
    for typ in [
        json!("ID"),
        json!("logout+jwt"),
        json!("rt+jwt"),
        json!("dpop+jwt"),
        json!(""),
        json!(null),
        json!(7),
    ] {
        case("I58", signed(&json!({"alg": "HS256", "typ": typ}).to_string(), &good, SECRET));
    }
    for crit in [json!(["exp"]), json!(["b64"]), json!([]), json!(null), json!("b64")] {
        case("I65", signed(&json!({"alg": "HS256", "crit": crit}).to_string(), &good, SECRET));
    }
    case("I65", signed(r#"{"alg":"HS256","b64":false}"#, &good, SECRET));
    case("I74", signed(r#"{"alg":"HS256","enc":"A128GCM"}"#, &good, SECRET));
    case("I74", signed(r#"{"alg":"HS256","cty":"JWT"}"#, &bearer(&fixture.acme), SECRET));
    for kid in [json!("k".repeat(129)), json!("a b"), json!("a\nb"), json!("\u{e9}"), json!(1), json!(null)] {
        case("kid", signed(&json!({"alg": "HS256", "kid": kid}).to_string(), &good, SECRET));
    }
    cases
}

/// Claims that are missing, of another type, wrong, or duplicated.
fn flawed_claims(fixture: &Fixture) -> Vec<(&'static str, Vec<u8>)> {
    let good = claims(&fixture.acme).to_string();
    let mut cases = Vec::new();
    let mut case = |row, authorization: String| cases.push((row, authorization.into_bytes()));

    for changes in [
        json!({"aud": null}),
        json!({"aud": "other"}),
        json!({"aud": 7}),
        json!({"aud": []}),
        json!({"aud": {}}),
        json!({"aud": ["other"]}),
        json!({"aud": [AUDIENCE, 7]}),
        json!({"aud": ""}),
        json!({"iss": null}),
        json!({"iss": "https://evil.com"}),
        json!({"iss": [ISSUER]}),
        json!({"iss": 7}),
        json!({"iss": format!("{ISSUER}/")}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": 7}),
        json!({"sub": "a\nb"}),
        json!({"sub": "a".repeat(256)}),
        json!({"exp": null}),
        json!({"exp": NOW - 30}),
        json!({"exp": (NOW + 600).to_string()}),
        json!({"exp": -1}),
        json!({"exp": 1e300}),
        json!({"exp": u64::MAX}),
        json!({"exp": [NOW + 600]}),
        json!({"nbf": NOW + 31}),
        json!({"nbf": NOW.to_string()}),
        json!({"nbf": {}}),
        json!({"iat": NOW + 600}),
        json!({"iat": "yesterday"}),
        json!({"tenant_id": null}),
        json!({"tenant_id": ""}),
        json!({"tenant_id": "*"}),
        json!({"tenant_id": 0}),
        json!({"tenant_id": -1}),
        json!({"tenant_id": 1.5}),
        json!({"tenant_id": true}),
        json!({"tenant_id": [fixture.acme.id().to_string()]}),
        json!({"tenant_id": "acme'--"}),
    ] {
        case("I54 I60 I61 I64", signed(HS256, &with(fixture, &changes), SECRET));
    }
    for twice in ["tenant_id", "sub", "aud", "exp", "iss"] {
        let pair = format!("\"{twice}\":{}", claims(&fixture.globex)[twice]);
        case("I62", signed(HS256, &good.replacen('{', &format!("{{{pair},"), 1), SECRET));
    }
    let escaped = format!(r#"{{"tenant\u005fid":"{}","#, fixture.globex.id());
    case("I62", signed(HS256, &good.replacen('{', &escaped, 1), SECRET));
    cases
}

/// Wrong sizes and formats.
fn flawed_forms(fixture: &Fixture) -> Vec<(&'static str, Vec<u8>)> {
    let good = claims(&fixture.acme).to_string();
    let mut cases = Vec::new();
    let mut case = |row, authorization: String| cases.push((row, authorization.into_bytes()));

    let token = bearer(&fixture.acme);
    case("I68", signed(HS256, &with(fixture, &json!({"padding": "x".repeat(8 * 1024)})), SECRET));
    case("I68", format!("Bearer {}", "a".repeat(100_000)));
    case("I68", signed(HS256, &format!("{}{}", "[".repeat(1000), "]".repeat(1000)), SECRET));
    case("I68", signed(HS256, &format!(r#"{{"a":{}1{}}}"#, "[".repeat(1000), "]".repeat(1000)), SECRET));
    case("I69", format!("{token}, {token}"));
    case("I69", token.replacen(' ', "\t", 1));
    case("I69", token.replacen(' ', "  ", 1));
    case("I69", token.replacen(' ', "", 1));
    case("I69", format!("{token} "));
    case("form", token.replacen("Bearer", "Basic", 1));
    case("form", token.replacen("Bearer", "Token", 1));
    for form in ["", "Bearer", "Bearer ", "Bearer .", "Bearer ..", "Bearer a.b.c", "Bearer a.b.c.d"] {
        case("form", form.to_owned());
    }
    case("form", format!("{token}."));
    case("form", format!("{token}="));
    case("form", format!("{token}.{}", URL_SAFE_NO_PAD.encode("x")));
    for claims in ["", "[]", "null", "\"text\"", "{", &format!("{good}x"), &format!("{good}{good}")] {
        case("form", signed(HS256, claims, SECRET));
    }
    cases.push(("form", b"Bearer \xff\xfe".to_vec()));
    cases
}

#[tokio::test]
async fn two_authorization_headers_are_rejected() {
    let fixture = Fixture::new().await;
    let token = bearer(&fixture.acme);
    for second in [token.clone(), bearer(&fixture.globex), String::new()] {
        let request = Request::get("/orders").header("host", "example.com");
        let request = request.header("authorization", &token).header("authorization", second);
        let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.code(), "credential-invalid", "I69");
    }
}

#[tokio::test]
async fn an_invalid_token_is_rejected_on_a_public_route_too() {
    let fixture = Fixture::new().await;
    let request =
        Request::get("/login").header("host", "acme.example.com").header("authorization", "Bearer a.b.c");
    let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.code(), "credential-invalid");
}

#[tokio::test]
async fn no_request_goes_to_a_key_url_in_a_token() {
    let fixture = Fixture::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let header =
        json!({"alg": "HS256", "jku": url, "x5u": url, "jwk": {"kty": "oct", "k": "AAAA"}, "kid": url});
    let token = signed(&header.to_string(), &claims(&fixture.acme).to_string(), OTHER_SECRET);
    assert_eq!(present(&fixture, token).await.status, StatusCode::UNAUTHORIZED, "I66");
    let nobody = listener.accept().unwrap_err();
    assert_eq!(nobody.kind(), std::io::ErrorKind::WouldBlock, "I66");
}

#[tokio::test]
async fn a_token_for_a_tenant_that_is_not_there_reaches_none() {
    let fixture = Fixture::new().await;
    // I30: an id is never used again, so a token of a deleted tenant reaches no tenant, even if its slug is in use
    // again.
    for id in [TenantId::random().to_string(), "acme".to_owned()] {
        let token = signed(HS256, &with(&fixture, &json!({"tenant_id": id})), SECRET);
        assert_eq!(present(&fixture, &token).await.code(), "tenant-unknown", "{id}");
        // Together with it, an existing host and a missing one produce equal responses.
        for host in ["acme.example.com", "nobody.example.com"] {
            let request = Request::get("/orders").header("host", host).header("authorization", &token);
            let answer = fixture.send(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.code(), "tenant-unknown", "{id} {host}");
        }
    }
}

#[tokio::test]
async fn an_issuer_speaks_only_for_its_own_tenants() {
    let fixture = Fixture::new().await;
    let source = JwtSource::builder().issuer(ISSUER).audience(AUDIENCE).hs256(SECRET);
    let source = source.allowed_tenants([fixture.acme.id().clone()]).build().unwrap();
    let read = |tenant: &tenancy::tenant::Tenant| {
        let mut claims = claims(tenant);
        claims["exp"] = json!(4_000_000_000_i64);
        claims["iat"] = json!(1_000_000_000);
        let token = signed(HS256, &claims.to_string(), SECRET);
        source.read(&OwnedRequest::get("/").with_header("Authorization", token))
    };
    assert!(matches!(read(&fixture.acme), SourceOutcome::Verified { .. }));
    assert!(matches!(read(&fixture.globex), SourceOutcome::Forbidden { .. }), "I56 I57");
}
