//! Fuzz target: the rewriter accepts or rejects each input, and never panics.
#![no_main]

#[path = "../body.rs"]
mod body;
#[path = "../../sql/tests/cases/mod.rs"]
mod cases;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::never_panics(&body::statement(data));
});
