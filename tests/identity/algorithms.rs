//! A key verifies one algorithm, and a token cannot choose another one.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::json;
use tenancy::ErrorKind;
use tenancy::resolve::{JwtAlgorithm, JwtSource};
use tenancy::tenant::TenantId;

use crate::tokens::{
    ED25519_PUBLIC, P256, P256_PUBLIC, P384_PUBLIC, PAIRS, RSA, RSA_OTHER_PUBLIC, RSA_PUBLIC, SECRET,
    SECRETS, builder, claims, judged, private, signed, token,
};

const INVALID: &str = "credential-invalid";

/// Each algorithm, its signing key, and a source with the verification key for this algorithm only.
fn all() -> Vec<(Algorithm, EncodingKey, JwtSource)> {
    let mut all = Vec::new();
    for (index, algorithm) in SECRETS.into_iter().enumerate() {
        let source = match index {
            0 => builder().hs256(SECRET),
            1 => builder().hs384(SECRET),
            _ => builder().hs512(SECRET),
        };
        all.push((algorithm, EncodingKey::from_secret(SECRET).unwrap(), source.build().unwrap()));
    }
    for (public, algorithm, secret_half, public_half) in PAIRS {
        let source = builder().pem(public, public_half).build().unwrap();
        all.push((algorithm, private(secret_half), source));
    }
    assert_eq!(all.len(), 12);
    all
}

#[test]
fn a_key_verifies_its_own_algorithm_and_no_other() {
    let all = all();
    for tenant in [TenantId::random(), TenantId::random()] {
        let claims = claims(&tenant);
        let mut accepted = 0;
        for (signing, key, _) in &all {
            for (named, ..) in &all {
                let header = json!({ "alg": format!("{named:?}"), "typ": "JWT" });
                let token = signed(*signing, &header, &claims, key);
                for (known, _, source) in &all {
                    let outcome = judged(source, &token);
                    if signing == named && named == known {
                        assert_eq!(outcome, format!("user:ada of {tenant}"), "{known:?}");
                        accepted += 1;
                    } else {
                        let row = format!("I53: signed {signing:?}, says {named:?}, key for {known:?}");
                        assert_eq!(outcome, INVALID, "{row}");
                    }
                }
            }
        }
        assert_eq!(accepted, 12);
    }
}

#[test]
fn one_source_holds_keys_of_many_algorithms_apart() {
    // The RSA key verifies PS256 under its `kid`, and nothing else.
    let source = builder()
        .pem(JwtAlgorithm::Ps256, RSA_PUBLIC)
        .kid("rsa")
        .pem(JwtAlgorithm::Es256, P256_PUBLIC)
        .kid("p256")
        .hs256(SECRET)
        .kid("secret")
        .build()
        .unwrap();
    let tenant = TenantId::random();
    let (claims, rsa, p256) = (claims(&tenant), private(RSA), private(P256));
    let good = format!("user:ada of {tenant}");
    assert_eq!(judged(&source, &token(Algorithm::PS256, Some("rsa"), &claims, &rsa)), good);
    assert_eq!(judged(&source, &token(Algorithm::ES256, Some("p256"), &claims, &p256)), good);
    for algorithm in [Algorithm::RS256, Algorithm::PS384, Algorithm::RS512] {
        assert_eq!(judged(&source, &token(algorithm, Some("rsa"), &claims, &rsa)), INVALID, "I53");
    }
    for kid in [None, Some("p256"), Some("secret"), Some("other")] {
        assert_eq!(judged(&source, &token(Algorithm::PS256, kid, &claims, &rsa)), INVALID, "{kid:?}");
    }
}

#[test]
fn a_public_key_is_no_secret() {
    let tenant = TenantId::random();
    let claims = claims(&tenant);
    for (public, algorithm, secret_half, pem) in PAIRS {
        let source = builder().pem(public, pem).kid("k").build().unwrap();
        let der = pem.lines().filter(|line| !line.starts_with('-')).collect::<String>();
        let der = STANDARD.decode(der).unwrap();
        // The crate itself signs with no empty secret.
        for secret in [pem.as_bytes(), pem.trim().as_bytes(), &der] {
            for hmac in SECRETS {
                for kid in [None, Some("k")] {
                    let forged = token(hmac, kid, &claims, &EncodingKey::from_secret(secret).unwrap());
                    assert_eq!(judged(&source, &forged), INVALID, "I52 {algorithm:?} {hmac:?}");
                }
            }
        }
        let good = token(algorithm, Some("k"), &claims, &private(secret_half));
        assert_eq!(judged(&source, &good), format!("user:ada of {tenant}"));
    }
}

#[test]
fn an_empty_or_plain_signature_is_none() {
    let tenant = TenantId::random();
    for (algorithm, _, source) in all() {
        let claims = URL_SAFE_NO_PAD.encode(claims(&tenant).to_string());
        for alg in [format!("{algorithm:?}"), "none".to_owned()] {
            let header = URL_SAFE_NO_PAD.encode(json!({ "alg": alg }).to_string());
            // CVE-2022-21449: an ECDSA signature of zeros that verifies every message.
            for signature in [vec![], vec![0], vec![0; 64], vec![0; 96], vec![0; 256]] {
                let forged = format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature));
                assert_eq!(judged(&source, &forged), INVALID, "{algorithm:?}");
            }
        }
    }
}

#[test]
fn a_key_that_is_weak_or_of_another_kind_is_rejected_at_the_start() {
    let both = format!("{RSA_PUBLIC}{RSA_OTHER_PUBLIC}");
    let cut = &RSA_PUBLIC[..RSA_PUBLIC.len() / 2];
    let bad = [
        ("I72", builder().hs256("")),
        ("I72", builder().hs256(&SECRET[..31])),
        ("I72", builder().hs384(&SECRET[..47])),
        ("I72", builder().hs512(&SECRET[..63])),
        ("I52", builder().hs256(RSA_PUBLIC)),
        ("I52", builder().hs512(format!("\n{RSA}"))),
        ("weak", builder().pem(JwtAlgorithm::Rs256, include_str!("tokens/rsa-1024.pub.pem"))),
        ("kind", builder().pem(JwtAlgorithm::Es256, include_str!("tokens/secp256k1.pub.pem"))),
        ("kind", builder().pem(JwtAlgorithm::Es384, P256_PUBLIC)),
        ("kind", builder().pem(JwtAlgorithm::Es256, P384_PUBLIC)),
        ("kind", builder().pem(JwtAlgorithm::Es256, RSA_PUBLIC)),
        ("kind", builder().pem(JwtAlgorithm::Rs256, P256_PUBLIC)),
        ("kind", builder().pem(JwtAlgorithm::Ps512, ED25519_PUBLIC)),
        ("kind", builder().eddsa_pem(P256_PUBLIC)),
        ("private", builder().pem(JwtAlgorithm::Rs256, RSA)),
        ("private", builder().pem(JwtAlgorithm::Es256, format!("{P256_PUBLIC}{P256}"))),
        ("certificate", builder().pem(JwtAlgorithm::Es256, include_str!("tokens/p256.crt.pem"))),
        ("form", builder().pem(JwtAlgorithm::Rs256, include_str!("tokens/rsa-pkcs1.pub.pem"))),
        ("form", builder().pem(JwtAlgorithm::Rs256, both)),
        ("form", builder().pem(JwtAlgorithm::Rs256, cut)),
        ("form", builder().pem(JwtAlgorithm::Rs256, "")),
        ("form", builder().pem(JwtAlgorithm::Rs256, [0xff, 0xfe])),
        ("form", builder().pem(JwtAlgorithm::Rs256, RSA_PUBLIC.replace("MIIB", "MIIC"))),
        ("form", builder().pem(JwtAlgorithm::EdDsa, ED25519_PUBLIC.replace("MCow", "MCsw"))),
    ];
    for (index, (row, builder)) in bad.into_iter().enumerate() {
        let error = builder.build().expect_err(&format!("{row} {index}"));
        assert_eq!(error.kind(), ErrorKind::Misconfigured, "{row} {index}");
        let text = error.to_string();
        assert!(text.len() > 20 && !text.contains("MII") && !text.contains("MCow"), "{row} {index}: {text}");
    }
    let crlf = builder().pem(JwtAlgorithm::Rs256, format!("\n{}\n", RSA_PUBLIC.replace('\n', "\r\n")));
    crlf.build().expect("line ends and blank lines are no fault");
}

#[test]
fn a_token_of_which_one_bit_is_changed_is_rejected() {
    let tenant = TenantId::random();
    let mut tried = 0;
    for (algorithm, key, source) in all() {
        let token = token(algorithm, None, &claims(&tenant), &key);
        assert_eq!(judged(&source, &token), format!("user:ada of {tenant}"));
        for at in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let changed = String::from_utf8(bytes).unwrap();
                assert_eq!(judged(&source, &changed), INVALID, "{algorithm:?}: byte {at}, bit {bit}");
                tried += 1;
            }
        }
        for changed in [&token[1..], &token[..token.len() - 1], &format!("{token}A"), &format!("{token}=")] {
            assert_eq!(judged(&source, changed), INVALID, "{algorithm:?}");
        }
    }
    assert!(tried > 20_000, "only {tried} changes were tried");
}
