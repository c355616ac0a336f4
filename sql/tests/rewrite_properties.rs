//! Property tests with the checks of the fuzz targets: no text causes a panic, and every rewritten text has a guard
//! for each tenant table.
#![cfg(feature = "rewrite")]

#[path = "../../fuzz/body.rs"]
mod body;
mod cases;

use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

fn random_words() -> impl Strategy<Value = String> {
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
    fn no_text_panics(sql in ".{0,120}") {
        check(&sql);
    }

    #[test]
    fn no_sequence_of_words_panics(sql in random_words()) {
        check(&sql);
    }
}

/// Statements of the case files with small changes, derived from random bytes as in the fuzz target.
#[test]
fn slightly_changed_statements_are_rejected_or_proven() {
    let accepted = AtomicUsize::new(0);
    let config = ProptestConfig::with_cases(4_000);
    proptest!(config, |(data in prop::collection::vec(any::<u8>(), 2..18))| {
        accepted.fetch_add(check(&body::statement(&data)), Ordering::Relaxed);
    });
    let accepted = accepted.into_inner();
    assert!(accepted > 1_000, "only {accepted} were accepted: the changes break too many statements");
}
