//! Only usable keys of a JWKS document verify tokens, each for its own algorithm.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use tenancy::ErrorKind;
use tenancy::resolve::JwtSource;
use tenancy::tenant::TenantId;

use crate::tokens::{
    ED25519, P256, P384, PAIRS, RSA, RSA_OTHER, SECRET, SECRETS, builder, claims, judged, jwk, private, token,
};

const INVALID: &str = "credential-invalid";

fn with(jwk: &Value, changes: &Value) -> Value {
    let mut jwk = jwk.clone();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => jwk.as_object_mut().unwrap().remove(name),
            value => jwk.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    jwk
}

fn source(keys: &[Value]) -> tenancy::Result<JwtSource> {
    builder().jwks(json!({ "keys": keys }).to_string()).build()
}

#[test]
fn every_kind_of_key_is_read() {
    let (acme, globex) = (TenantId::random(), TenantId::random());
    let mut keys =
        vec![json!({"kty": "unheard-of", "kid": "x"}), json!({"kty": "EC", "crv": "P-521", "kid": "y"})];
    for (_, algorithm, pem, _) in PAIRS {
        let name = format!("{algorithm:?}");
        let named = json!({"alg": name, "kid": name, "use": "sig", "key_ops": ["verify"], "x5t": "ignored"});
        keys.push(with(&jwk(algorithm, pem), &named));
    }
    let source = source(&keys).unwrap();
    for (_, algorithm, pem, _) in PAIRS {
        let name = format!("{algorithm:?}");
        for tenant in [&acme, &globex] {
            let good = token(algorithm, Some(&name), &claims(tenant), &private(pem));
            assert_eq!(judged(&source, &good), format!("user:ada of {tenant}"), "{name}");
        }
        for kid in [None, Some("x"), Some("y"), Some("other")] {
            let token = token(algorithm, kid, &claims(&acme), &private(pem));
            assert_eq!(judged(&source, &token), INVALID, "{name} {kid:?}");
        }
    }
    // One RSA key under six `kid`s: each verifies its own algorithm.
    let crossed = token(Algorithm::RS256, Some("PS256"), &claims(&acme), &private(RSA));
    assert_eq!(judged(&source, &crossed), INVALID, "I53");
}

#[test]
fn a_key_that_names_no_algorithm_has_the_usual_one_of_its_kind() {
    let tenant = TenantId::random();
    for (kind, pem, usual) in [
        (Algorithm::RS256, RSA, Algorithm::RS256),
        (Algorithm::ES256, P256, Algorithm::ES256),
        (Algorithm::ES384, P384, Algorithm::ES384),
        (Algorithm::EdDSA, ED25519, Algorithm::EdDSA),
    ] {
        let source = source(&[jwk(kind, pem)]).unwrap();
        for (_, algorithm, signing, _) in PAIRS {
            // A key without a `kid` is tried for every token.
            for kid in [None, Some("any")] {
                let token = token(algorithm, kid, &claims(&tenant), &private(signing));
                let expected =
                    if algorithm == usual { format!("user:ada of {tenant}") } else { INVALID.to_owned() };
                assert_eq!(judged(&source, &token), expected, "{usual:?} {algorithm:?}");
            }
        }
    }
}

#[test]
fn what_is_weak_secret_or_for_something_else_is_left_out() {
    let (rsa, p256) = (jwk(Algorithm::RS256, RSA), jwk(Algorithm::ES256, P256));
    let ed = jwk(Algorithm::EdDSA, ED25519);
    let (x, y) = (p256["x"].as_str().unwrap(), p256["y"].as_str().unwrap());
    let n = rsa["n"].as_str().unwrap();
    let point = [x, y].map(|half| URL_SAFE_NO_PAD.decode(half).unwrap()).concat();
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let left_out = [
        json!({"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "alg": "HS256"}),
        with(&rsa, &json!({"kty": "oct", "k": n})),
        with(&rsa, &json!({"use": "enc"})),
        with(&rsa, &json!({"use": ["sig"]})),
        with(&rsa, &json!({"key_ops": ["encrypt", "wrapKey"]})),
        with(&rsa, &json!({"key_ops": []})),
        with(&rsa, &json!({"key_ops": "verify"})),
        with(&rsa, &json!({"alg": "ES256"})),
        with(&rsa, &json!({"alg": "HS256"})),
        with(&rsa, &json!({"alg": "RSA-OAEP"})),
        with(&rsa, &json!({"alg": "none"})),
        with(&rsa, &json!({"alg": "rs256"})),
        with(&rsa, &json!({"alg": ["RS256"]})),
        with(&rsa, &json!({"alg": 7})),
        with(&rsa, &json!({"kid": 7})),
        with(&rsa, &json!({"kid": "k".repeat(129)})),
        with(&rsa, &json!({"kid": "a b"})),
        with(&rsa, &json!({"d": "AQAB"})),
        with(&rsa, &json!({"kty": null})),
        with(&rsa, &json!({"kty": "rsa"})),
        with(&rsa, &json!({"n": null})),
        with(&rsa, &json!({"n": ""})),
        with(&rsa, &json!({"n": format!("{n}==")})),
        with(&rsa, &json!({"n": &n[..170]})),
        with(&rsa, &json!({"n": format!("AAAA{}", &n[..170])})),
        with(&rsa, &json!({"n": n.repeat(5)})),
        with(&rsa, &json!({"e": "AQ"})),
        with(&rsa, &json!({"e": "AAAB"})),
        with(&rsa, &json!({"e": "Ag"})),
        with(&rsa, &json!({"e": "AA"})),
        with(&rsa, &json!({"e": ""})),
        with(&rsa, &json!({"e": 65537})),
        with(&rsa, &json!({"e": "AQABAQABAQABAQAB"})),
        with(&p256, &json!({"crv": "P-384"})),
        with(&p256, &json!({"crv": "secp256k1"})),
        with(&p256, &json!({"crv": null})),
        with(&p256, &json!({"alg": "ES384"})),
        with(&p256, &json!({"y": null})),
        with(&p256, &json!({"x": format!("{x}AA")})),
        with(&p256, &json!({"x": &x[..40], "y": format!("{y}AAAA")})),
        // The same point, split at another offset.
        with(&p256, &json!({"x": encode(&point[..30]), "y": encode(&point[30..])})),
        with(&p256, &json!({"d": "AAAA"})),
        with(&ed, &json!({"crv": "Ed448"})),
        with(&ed, &json!({"crv": "X25519"})),
        with(&ed, &json!({"x": "AAAA"})),
        with(&ed, &json!({"alg": "ES256"})),
        json!({}),
    ];
    let tenant = TenantId::random();
    let good = token(Algorithm::ES256, None, &claims(&tenant), &private(P256));
    let forgeries: Vec<String> = SECRETS
        .iter()
        .map(|hmac| token(*hmac, None, &claims(&tenant), &EncodingKey::from_secret(&[0; 32]).unwrap()))
        .chain([token(Algorithm::RS256, None, &claims(&tenant), &private(RSA))])
        .collect();
    for (index, key) in left_out.iter().enumerate() {
        let error = source(std::slice::from_ref(key)).expect_err(&format!("{index}: {key}"));
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{index}: {key}");
        // Together with a valid key, it has no effect.
        if index < left_out.len() - 1 {
            let beside = source(&[key.clone(), p256.clone()]).unwrap();
            assert_eq!(judged(&beside, &good), format!("user:ada of {tenant}"), "{index}: {key}");
            for forged in &forgeries {
                assert_eq!(judged(&beside, forged), INVALID, "{index}: {key}");
            }
        }
    }
}

#[test]
fn of_two_keys_with_one_name_both_are_tried() {
    let named = |pem| with(&jwk(Algorithm::RS256, pem), &json!({"kid": "same"}));
    let source = source(&[named(RSA), named(RSA_OTHER)]).unwrap();
    let tenant = TenantId::random();
    for pem in [RSA, RSA_OTHER] {
        let good = token(Algorithm::RS256, Some("same"), &claims(&tenant), &private(pem));
        assert_eq!(judged(&source, &good), format!("user:ada of {tenant}"));
    }
}

#[test]
fn an_invalid_document_is_rejected() {
    let key = jwk(Algorithm::ES256, P256).to_string();
    let many = vec![key.as_str(); 65].join(",");
    let twice = key.replacen('{', r#"{"kty":"RSA","#, 1);
    let bad = [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("[{key}]"),
        key.clone(),
        "{}".to_owned(),
        r#"{"keys": {}}"#.to_owned(),
        r#"{"keys": []}"#.to_owned(),
        r#"{"keys": [7]}"#.to_owned(),
        r#"{"keys": ["#.to_owned(),
        format!(r#"{{"keys": [{key}, "text"]}}"#),
        format!(r#"{{"keys": [{key}]}}{{}}"#),
        format!(r#"{{"keys": [{key}], "keys": [{key}]}}"#),
        format!(r#"{{"keys": [{twice}]}}"#),
        format!(r#"{{"keys": [{many}]}}"#),
        format!(r#"{{"keys": {}{}}}"#, "[".repeat(1000), "]".repeat(1000)),
        "<html>".to_owned(),
    ];
    for json in bad {
        let error = builder().jwks(&json).build().expect_err(&json);
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{json}");
    }
    let most = vec![key.as_str(); 64].join(",");
    builder().jwks(format!(r#"{{"keys": [{most}], "more": true}}"#)).build().unwrap();
    let named_late = builder().hs256(SECRET).jwks(format!(r#"{{"keys": [{key}]}}"#)).kid("late");
    assert_eq!(named_late.build().unwrap_err().kind(), ErrorKind::Misconfigured);
}
