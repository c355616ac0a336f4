//! Fuzz target: each statement that the rewriter accepts is verified again from its output text.
#![no_main]

#[path = "../body.rs"]
mod body;
#[path = "../../sql/tests/cases/mod.rs"]
mod cases;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::accepted_reverifies(&body::statement(data));
});
