//! Whatever text comes in: no panic, and what comes out names no table of tenants without its guard. What is asked
//! is what the fuzz targets ask.
#![cfg(feature = "rewrite")]

#[path = "../../fuzz/body.rs"]
mod body;
mod cases;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

fn soup() -> impl Strategy<Value = String> {
    let words: Vec<&str> = body::WORDS.split_whitespace().collect();
    prop::collection::vec(prop::sample::select(words), 0..40).prop_map(|words| words.join(" "))
}

fn check(sql: &str) -> usize {
    body::never_panics(sql);
    body::accepted_reverifies(sql)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn any_text_is_answered(sql in ".{0,120}") {
        check(&sql);
    }

    #[test]
    fn any_words_are_answered(sql in soup()) {
        check(&sql);
    }
}

/// Statements of the case files, changed a little: as many as the fuzzer would make of these bytes.
#[test]
fn any_statement_a_little_changed_is_answered() {
    let accepted = AtomicUsize::new(0);
    let config = ProptestConfig::with_cases(4_000);
    proptest!(config, |(data in prop::collection::vec(any::<u8>(), 2..18))| {
        accepted.fetch_add(check(&body::statement(&data)), Ordering::Relaxed);
    });
    let accepted = accepted.into_inner();
    assert!(accepted > 1_000, "only {accepted} were accepted: the changes leave too little");
}
