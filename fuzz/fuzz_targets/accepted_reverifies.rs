//! Whatever the rewriter accepts is proven again from its text.
#![no_main]

#[path = "../body.rs"]
mod body;
#[path = "../../sql/tests/cases/mod.rs"]
mod cases;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::accepted_reverifies(&body::statement(data));
});
