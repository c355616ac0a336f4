//! Tokens, keys and HTTPS from another implementation (node) verify, and tampered ones do not.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tenancy::ErrorKind;
use tenancy::resolve::{JwtAlgorithm, RemoteJwks};
use tenancy::tenant::TenantId;

use crate::tokens::{self, P256, SECRET, builder, claims, judged};

fn node(script: &str) -> Child {
    Command::new("node")
        .args(["--input-type=module", "--eval", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("node does not start ({error}); install Node.js 18 or later"))
}

fn signed_by_node(tenants: &[TenantId]) -> Vec<Value> {
    let mut node = node(include_str!("tokens/sign.mjs"));
    let secret = str::from_utf8(SECRET).unwrap();
    let question = json!({ "claims": tenants.iter().map(claims).collect::<Vec<_>>(), "secret": secret });
    node.stdin.take().unwrap().write_all(question.to_string().as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "node does not answer; install Node.js 18 or later");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn public(alg: &str) -> JwtAlgorithm {
    match alg {
        "RS256" => JwtAlgorithm::Rs256,
        "RS384" => JwtAlgorithm::Rs384,
        "RS512" => JwtAlgorithm::Rs512,
        "PS256" => JwtAlgorithm::Ps256,
        "PS384" => JwtAlgorithm::Ps384,
        "PS512" => JwtAlgorithm::Ps512,
        "ES256" => JwtAlgorithm::Es256,
        "ES384" => JwtAlgorithm::Es384,
        "EdDSA" => JwtAlgorithm::EdDsa,
        other => panic!("{other}"),
    }
}

#[test]
fn what_node_signs_is_accepted_with_the_keys_that_node_writes() {
    let tenants = [TenantId::random(), TenantId::random()];
    let rows = signed_by_node(&tenants);
    assert_eq!(rows.len(), 12);
    let jwks: Vec<&Value> = rows.iter().map(|row| &row["jwk"]).filter(|jwk| !jwk.is_null()).collect();
    assert_eq!(jwks.len(), 9);
    let set = builder().jwks(json!({ "keys": jwks }).to_string()).build().unwrap();
    for row in &rows {
        let alg = row["alg"].as_str().unwrap();
        let own = match alg {
            "HS256" => builder().hs256(SECRET),
            "HS384" => builder().hs384(SECRET),
            "HS512" => builder().hs512(SECRET),
            _ => builder().pem(public(alg), row["pem"].as_str().unwrap()),
        };
        let own = own.build().unwrap();
        for (tenant, token) in tenants.iter().zip(row["tokens"].as_array().unwrap()) {
            let (token, good) = (token.as_str().unwrap(), format!("user:ada of {tenant}"));
            assert_eq!(judged(&own, token), good, "{alg}");
            let by_set = if alg.starts_with("HS") { "credential-invalid" } else { &good };
            assert_eq!(judged(&set, token), by_set, "{alg}");
        }
        let tokens = row["tokens"].as_array().unwrap();
        let [first, second] = [0, 1].map(|n| tokens[n].as_str().unwrap().rsplit_once('.').unwrap());
        let swapped = format!("{}.{}", first.0, second.1);
        assert_eq!(judged(&own, &swapped), "credential-invalid", "{alg}");
        assert_eq!(judged(&set, &swapped), "credential-invalid", "{alg}");
    }
}

const TRUSTED: &str = "TENANCY_TEST_TRUSTED_JWKS";

/// The test runs itself again, as a process whose system trusts the tests' certificate authority.
#[tokio::test]
async fn keys_come_over_https_from_a_server_that_the_system_trusts_and_from_no_other() {
    if let Ok(url) = env::var(TRUSTED) {
        return RemoteJwks::new(&url).unwrap().load().await.expect("the certificate is trusted");
    }
    let mut jwk = tokens::jwk(jsonwebtoken::Algorithm::ES256, P256);
    jwk["kid"] = json!("1");
    let mut node = node(include_str!("tokens/serve.mjs"));
    let (mut input, mut output) = (node.stdin.take().unwrap(), BufReader::new(node.stdout.take().unwrap()));
    let mut number = || {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        line.trim().parse::<u16>().expect("node serves HTTPS")
    };
    let body = json!({ "keys": [jwk] }).to_string();
    let question = json!({ "key": P256, "cert": include_str!("tokens/p256.crt.pem"), "body": body });
    writeln!(input, "{question}").unwrap();
    let port = number();
    let url = format!("https://127.0.0.1:{port}/keys");

    let untrusted = RemoteJwks::new(&url).unwrap().load().await.unwrap_err();
    assert_eq!(untrusted.kind(), ErrorKind::StoreUnavailable);
    assert!(untrusted.to_string().contains("certificate"), "{untrusted}");

    let trusting = |url: &str| {
        let name =
            "jwks_foreign::keys_come_over_https_from_a_server_that_the_system_trusts_and_from_no_other";
        let authority = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/identity/tokens/tls-authority.crt.pem");
        let program = Command::new(env::current_exe().unwrap())
            .args(["--exact", name])
            .env(TRUSTED, url)
            .env("SSL_CERT_FILE", authority)
            .env_remove("SSL_CERT_DIR")
            .output();
        let output = program.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (trusted, text) = trusting(&url);
    assert!(trusted && text.contains("1 passed"), "{text}");
    // The certificate contains the address, not the name.
    let (trusted, text) = trusting(&url.replace("127.0.0.1", "localhost"));
    assert!(!trusted && text.contains("1 failed"), "{text}");

    drop(input);
    assert_eq!(number(), 1, "only the program that trusts it has sent its request");
    node.wait().unwrap();
}
