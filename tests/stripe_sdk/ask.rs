#![allow(unreachable_pub, reason = "two test programs share it")]

use std::env;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

const HOW: &str = "run scripts/test, or: npm install --prefix DIR stripe@23 and set TEST_STRIPE_SDK=DIR";

/// Asks Stripe's official SDK: see `sign.mjs` for the question and the answer.
pub fn ask_the_sdk(question: &Value) -> Value {
    let directory =
        env::var("TEST_STRIPE_SDK").unwrap_or_else(|_| panic!("TEST_STRIPE_SDK is not set; {HOW}"));
    let mut node = Command::new("node")
        .args(["--input-type=module", "--eval", include_str!("sign.mjs")])
        .env("TEST_STRIPE_SDK", &directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("node does not start ({error}); install Node.js 20 or later, then {HOW}")
        });
    // A script that fails at once closes its input; what it says then is worth more than the broken pipe.
    let asked = node.stdin.take().unwrap().write_all(question.to_string().as_bytes());
    let output = node.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && asked.is_ok(),
        "the SDK in {directory} does not answer; {HOW}\n{errors}"
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
